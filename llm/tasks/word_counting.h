// RULER's two tasks of counting words: common words extraction (cwe), frequent words extraction
// (fwe).

#ifndef KVP_LLM_TASKS_WORD_COUNTING_H_
#define KVP_LLM_TASKS_WORD_COUNTING_H_

#include <cstdint>

#include "llm/tasks/task_prompt.h"

namespace kvp {

inline constexpr int kCommonWords = 10;

struct CommonWordsTask {
  // How often each of the ten common words comes, and each other word.
  int common_repeats = 30;
  int other_repeats = 3;
  // The same for the solved example before the list, and its number of different words.
  int example_common_repeats = 10;
  int example_other_repeats = 3;
  int example_words = 40;
};

// RULER's parameters for prompt and answer of `sequence_tokens` together.
CommonWordsTask CommonWordsTaskFor(int64_t sequence_tokens);

// A numbered list of `size` different words, shuffled; the question asks for the ten common ones.
// The answer looks as in the example: numbered. size > kCommonWords. Sets everything but task and
// origin.
TaskPrompt CommonWordsPrompt(const CommonWordsTask& task, uint64_t seed, int64_t size);

int64_t MaxCommonWordsSize();

// Coded words of six letters whose frequencies follow Zipf's law: of `vocabulary` words, the one of
// rank k comes floor(size k^-2 / zeta(2)) times, shuffled. Rank 1 is "..."; the question asks for
// the next three, which are the answer in the order of their ranks. vocabulary >= 4. Sets
// everything but task and origin.
TaskPrompt FrequentWordsPrompt(int64_t vocabulary, uint64_t seed, int64_t size);

// Below this size the words asked for wouldn't be more frequent than the others.
inline constexpr int64_t kMinFrequentWordsSize = 100;

}  // namespace kvp

#endif  // KVP_LLM_TASKS_WORD_COUNTING_H_
