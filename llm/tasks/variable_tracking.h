// RULER's variable tracking (vt): one chain of assignments, hidden in noise; the question asks for
// all variables that have the value.
//
//   VAR QXMTA = 27193
//   VAR OPLRE = VAR QXMTA

#ifndef KVP_LLM_TASKS_VARIABLE_TRACKING_H_
#define KVP_LLM_TASKS_VARIABLE_TRACKING_H_

#include <cstdint>

#include "llm/tasks/task_prompt.h"

namespace kvp {

// Assignments after the first.
inline constexpr int kVariableHops = 4;
// Least lines of noise, in the question and in the example.
inline constexpr int64_t kMinVariableLines = kVariableHops + 1;

// The prompt with `size` lines of noise; before it stands a solved example with `example_lines` of
// them, whose variables have three letters in place of five. No variable and no value is in both.
// The answer looks as in the example: the variables in the order of the chain, between spaces. Sets
// everything but task and origin.
TaskPrompt VariableTrackingPrompt(int64_t example_lines, uint64_t seed, int64_t size);

// The example alone, without its answer: to find how many lines it may have.
TaskPrompt VariableTrackingExample(uint64_t seed, int64_t size);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_VARIABLE_TRACKING_H_
