// RULER's 13 tasks at any length: Hsieh et al., "RULER: What's the Real Context Size of Your
// Long-Context Language Models?", 2024 (arXiv 2404.06654). Parameters, prompt templates, answer
// prefixes and scoring are those that were published with it (github.com/NVIDIA/RULER).
//
//   niah_single_1     noise, a word's number          niah_multikey_1  essay, 4 keys, one asked for
//   niah_single_2     essay, a word's number          niah_multikey_2  all lines are needles
//   niah_single_3     essay, a word's UUID            niah_multikey_3  the same, UUID for UUID
//   niah_multivalue   essay, a key's 4 values         niah_multiquery  essay, 4 keys asked for
//   vt                a chain of 4 hops in noise      cwe              the 10 most common words
//   fwe               3 most frequent coded words     qa_1, qa_2       SQuAD, HotpotQA
//
// What differs from the published generator, besides the random numbers:
//   - words are from other lists (llm/tasks/word_lists.h);
//   - an essay begins at a random sentence of the text, not always at its first, so that many
//     prompts of a long text don't all have the same haystack;
//   - keys, values asked for and variables are all different, not just most probably so;
//   - lengths are fitted for each prompt, to 1/256 or one line, document or word;
//   - vt's solved example is shorter than 500 tokens where that is over a quarter of the prompt;
//   - cwe's parameters for short sequences (below 4,096 tokens) go by prompt and answer together,
//     as RULER's do by its maximal sequence length;
//   - teacher-forced answers, which RULER has none of, look as in vt's and cwe's solved examples,
//     and are separated by ", " elsewhere.
//
// RULER's maximal sequence length is the prompt's tokens and the answer's max_new_tokens together.

#ifndef KVP_LLM_TASKS_RULER_H_
#define KVP_LLM_TASKS_RULER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/tasks/essay.h"
#include "llm/tasks/question_set.h"
#include "llm/tasks/task_prompt.h"

namespace kvp {

// All 13, in the order above, line by line.
const std::vector<std::string>& RulerTasks();

// Which of the user's files a task is made from.
enum class RulerInput { kNone, kText, kSquad, kHotpotQa };

// INVALID_ARGUMENT that lists the tasks where there is none of that name.
absl::StatusOr<RulerInput> RulerInputOf(absl::string_view task);

// How many tokens RULER lets a model answer a task with, at most, over `tasks`.
int64_t RulerAnswerTokens(const std::vector<std::string>& tasks);

struct RulerOptions {
  // Taken in turn: prompt i is of task i mod their number.
  std::vector<std::string> tasks;
  // Different seeds give different prompts.
  uint64_t seed = 0;
  // Tokens of a prompt, at most; with the tokens around a sequence and the answer prefix, without
  // the answer.
  int64_t context_tokens = 0;
  // The haystack of tasks with essays. May be empty where no task needs it.
  std::string text;
  // One of each format that a task needs.
  std::vector<QuestionSet> question_sets;
};

// Immutable; thread-safe, if `count_tokens` is.
class RulerGenerator {
 public:
  // INVALID_ARGUMENT, naming option and value, where tasks are unknown or missing, or an input of
  // theirs is.
  static absl::StatusOr<std::unique_ptr<RulerGenerator>> Create(RulerOptions options,
                                                                CountTokens count_tokens);

  // Prompt `index` >= 0. The same options, tokenizer and index give the same prompt on every
  // machine. qa tasks go through all questions of their set, in an order that the seed decides,
  // before one comes again. INVALID_ARGUMENT, naming the task, where it doesn't fit context_tokens
  // or can't fill them.
  absl::StatusOr<TaskPrompt> Generate(int64_t index) const;

 private:
  struct Questions {
    QuestionSet set;
    std::vector<size_t> order;
  };

  RulerGenerator(RulerOptions options, CountTokens count_tokens);

  absl::Status TakeInputs();
  const Questions* QuestionsFor(RulerInput input) const;
  absl::StatusOr<TaskPrompt> Fitted(const std::string& task, int64_t index) const;

  const RulerOptions options_;
  const CountTokens count_tokens_;
  std::optional<Essay> essay_;
  std::vector<Questions> questions_;
  int64_t example_lines_ = 0;  // of vt's solved example
};

}  // namespace kvp

#endif  // KVP_LLM_TASKS_RULER_H_
