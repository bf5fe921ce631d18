// One prompt of a benchmark task: what the model reads, what it should say, and how that is scored.

#ifndef KVP_LLM_TASKS_TASK_PROMPT_H_
#define KVP_LLM_TASKS_TASK_PROMPT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace kvp {

// How the benchmark holds an output against the references. Case doesn't matter in the first three.
enum class TaskMetric {
  // The share of the references that occur in the output (RULER's string_match_all).
  kAllReferences,
  // 1 where any reference occurs in the output (RULER's string_match_part).
  kAnyReference,
  // 1 where the output's first word is a reference.
  kFirstWord,
  // The share of the numbers in the output that are the reference's (LongBench's retrieval_score).
  kParagraphNumber,
  // ROUGE-L's F1, the best over the references.
  kRougeL,
};

struct TaskPrompt {
  std::string task;  // "niah_single_1", "boolq"
  // Where it is from, for messages: "boolq.jsonl:12".
  std::string origin;
  std::string input;
  // How the answer begins. It is part of the prompt: with a chat template it opens the assistant's
  // turn, without one it follows the input.
  std::string answer_prefix;
  // The right answer as the prompt's continuation, with what separates it from the prompt; tokenise
  // it with Tokenizer::EncodeContinuation.
  std::string answer;
  // What an output is scored against; never empty.
  std::vector<std::string> references;
  TaskMetric metric = TaskMetric::kAllReferences;
  // How many tokens the benchmark lets a model generate.
  int64_t max_new_tokens = 0;

  // The prompt without a chat template.
  std::string PromptText() const { return input + answer_prefix; }
};

// Number of tokens of a prompt's text under the model's tokenizer, with what stands around a
// sequence. Called from the threads that make prompts.
using CountTokens = std::function<size_t(absl::string_view)>;

}  // namespace kvp

#endif  // KVP_LLM_TASKS_TASK_PROMPT_H_
