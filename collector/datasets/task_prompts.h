// Benchmark tasks (llm/tasks/) as prompts for traces: the cut is the prompt's end, answer prefix
// included, and the continuation the right answer.

#ifndef KVP_COLLECTOR_DATASETS_TASK_PROMPTS_H_
#define KVP_COLLECTOR_DATASETS_TASK_PROMPTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "collector/prompt_source.h"
#include "llm/tasks/ruler.h"
#include "llm/tokenizer.h"

namespace kvp {

// `count` prompts of RULER; each prompt's task is its own, the source's "ruler". `tokenizer` isn't
// owned and must outlive the source. INVALID_ARGUMENT as of RulerGenerator, also where the first
// prompt of a task can't be made.
absl::StatusOr<std::unique_ptr<PromptSource>> RulerPrompts(RulerOptions options, int64_t count,
                                                           const Tokenizer* tokenizer);

// The benchmarks whose prompts are in a file: "boolq", "arc_challenge", "passage_retrieval",
// "gov_report".
const std::vector<std::string>& TaskFileBenchmarks();

struct TaskFileOptions {
  // The file's first so many; 0: all.
  int64_t count = 0;
  // Tokens of a prompt. From a longer one the middle is left out, as in LongBench: its first half
  // and its last stay. 0: as many as max_positions leaves beside the answer.
  int64_t context_tokens = 0;
  // Of the model.
  int64_t max_positions = 0;
};

// INVALID_ARGUMENT as of the benchmark's reader, for one that isn't among TaskFileBenchmarks, and
// where the file has fewer than `count` prompts.
absl::StatusOr<std::unique_ptr<PromptSource>> TaskFilePrompts(absl::string_view benchmark,
                                                              const std::string& path,
                                                              const TaskFileOptions& options,
                                                              const Tokenizer* tokenizer);

}  // namespace kvp

#endif  // KVP_COLLECTOR_DATASETS_TASK_PROMPTS_H_
