// ARC, the AI2 Reasoning Challenge (Clark et al. 2018): science questions with choices, from its
// published JSON lines (ARC-Challenge-Test.jsonl):
//
//   {"id": "…", "question": {"stem": "…", "choices": [{"text": "…", "label": "A"}, …]},
//    "answerKey": "C"}

#ifndef KVP_LLM_TASKS_ARC_H_
#define KVP_LLM_TASKS_ARC_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llm/tasks/task_prompt.h"

namespace kvp {

// The prompt is "Question: …", then the choices as "A. …", each on a line of its own, then
// "Answer:"; the answer is the label, as in " C". (Harnesses that rank the choices by likelihood
// don't list them; that needs no answer to be generated.) Fields that aren't named above are
// ignored. Errors as of ForEachJsonLine; INVALID_ARGUMENT naming file, line, field and value, also
// for an answerKey that no choice has and for a label that two have.
absl::StatusOr<std::vector<TaskPrompt>> ReadArcChallenge(const std::string& path);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_ARC_H_
