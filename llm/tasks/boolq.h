// BoolQ (Clark et al. 2019): yes/no questions about a passage, from its published JSON lines:
//
//   {"question": "…", "title": "…", "answer": true, "passage": "…"}

#ifndef KVP_LLM_TASKS_BOOLQ_H_
#define KVP_LLM_TASKS_BOOLQ_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llm/tasks/task_prompt.h"

namespace kvp {

// The prompt is the passage, "Question: …?" and "Answer:" on lines of their own, as EleutherAI's
// evaluation harness has it; the answer " yes" or " no". Fields that aren't named above are
// ignored, and title may be missing. Errors as of ForEachJsonLine; INVALID_ARGUMENT naming file,
// line, field and value.
absl::StatusOr<std::vector<TaskPrompt>> ReadBoolQ(const std::string& path);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_BOOLQ_H_
