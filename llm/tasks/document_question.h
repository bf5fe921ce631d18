// RULER's question answering (qa): the documents that a question comes with among others.

#ifndef KVP_LLM_TASKS_DOCUMENT_QUESTION_H_
#define KVP_LLM_TASKS_DOCUMENT_QUESTION_H_

#include <cstddef>
#include <cstdint>

#include "llm/tasks/question_set.h"
#include "llm/tasks/task_prompt.h"

namespace kvp {

// The prompt with `size` documents in random order: the question's own, then related ones, then any
// others; where the set has no more, all of them, repeated. size >= the question's own documents.
// Sets everything but task and origin.
TaskPrompt DocumentQuestionPrompt(const QuestionSet& set, size_t question, uint64_t seed,
                                  int64_t size);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_DOCUMENT_QUESTION_H_
