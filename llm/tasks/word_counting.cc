#include "llm/tasks/word_counting.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "llm/tasks/word_lists.h"
#include "util/split_mix64.h"

namespace kvp {
namespace {

// zeta(2) = pi^2 / 6.
constexpr double kZeta2 = 1.6449340668482264;
constexpr int kCodedLetters = 6;
constexpr int kFrequentWords = 3;

// "1. word 2. word …"
std::string Numbered(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", i + 1, ". ", words[i]);
  }
  return text;
}

void AppendRepeated(const std::string& word, int64_t times, std::vector<std::string>* words) {
  for (int64_t i = 0; i < times; ++i) words->push_back(word);
}

// The template with a list of `size` different words.
TaskPrompt ListPrompt(int64_t size, int common_repeats, int other_repeats, SplitMix64* random) {
  std::vector<std::string> words =
      size <= static_cast<int64_t>(PlainWords().size()) ? PlainWords() : SyllableWords();
  random->Shuffle(&words);
  std::vector<std::string> list;
  for (int64_t i = 0; i < size; ++i) {
    AppendRepeated(words[i], i < kCommonWords ? common_repeats : other_repeats, &list);
  }
  random->Shuffle(&list);
  TaskPrompt prompt;
  prompt.references.assign(words.begin(), words.begin() + kCommonWords);
  prompt.input = absl::StrCat(
      "Below is a numbered list of words. In these words, some appear more often than others. "
      "Memorize the ones that appear most often.\n",
      Numbered(list), "\nQuestion: What are the 10 most common words in the above list?");
  prompt.answer_prefix = " Answer: The top 10 words that appear most often in the list are:";
  prompt.answer = absl::StrCat(" ", Numbered(prompt.references));
  prompt.metric = TaskMetric::kAllReferences;
  prompt.max_new_tokens = 120;
  return prompt;
}

}  // namespace

CommonWordsTask CommonWordsTaskFor(int64_t sequence_tokens) {
  CommonWordsTask task;
  if (sequence_tokens < 4096) {
    task.common_repeats = 6;
    task.other_repeats = 1;
    task.example_common_repeats = 3;
    task.example_other_repeats = 1;
    task.example_words = 20;
  }
  return task;
}

TaskPrompt CommonWordsPrompt(const CommonWordsTask& task, uint64_t seed, int64_t size) {
  SplitMix64 seeds(seed);
  SplitMix64 example_random(seeds.Next());
  SplitMix64 random(seeds.Next());
  const TaskPrompt example = ListPrompt(task.example_words, task.example_common_repeats,
                                        task.example_other_repeats, &example_random);
  TaskPrompt prompt = ListPrompt(size, task.common_repeats, task.other_repeats, &random);
  prompt.input = absl::StrCat(example.PromptText(), example.answer, "\n", std::move(prompt.input));
  return prompt;
}

int64_t MaxCommonWordsSize() { return static_cast<int64_t>(SyllableWords().size()); }

TaskPrompt FrequentWordsPrompt(int64_t vocabulary, uint64_t seed, int64_t size) {
  SplitMix64 seeds(seed);
  SplitMix64 letters(seeds.Next());
  SplitMix64 order(seeds.Next());
  std::vector<std::string> words = {"..."};
  absl::flat_hash_set<std::string> used;
  while (static_cast<int64_t>(words.size()) < vocabulary) {
    std::string word;
    for (int i = 0; i < kCodedLetters; ++i) word += static_cast<char>('a' + letters.Below(26));
    if (used.insert(word).second) words.push_back(std::move(word));
  }
  std::vector<std::string> text;
  for (size_t rank = 1; rank <= words.size(); ++rank) {
    const double share = 1.0 / static_cast<double>(rank * rank) / kZeta2;
    AppendRepeated(words[rank - 1], static_cast<int64_t>(static_cast<double>(size) * share), &text);
  }
  order.Shuffle(&text);

  TaskPrompt prompt;
  prompt.input = absl::StrCat(
      "Read the following coded text and track the frequency of each coded word. Find the three "
      "most frequently appeared coded words. ",
      absl::StrJoin(text, " "),
      "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the "
      "three most frequently appeared words in the above coded text?");
  prompt.answer_prefix =
      " Answer: According to the coded text above, the three most frequently appeared words are:";
  prompt.references.assign(words.begin() + 1, words.begin() + 1 + kFrequentWords);
  prompt.answer = absl::StrCat(" ", absl::StrJoin(prompt.references, ", "));
  prompt.metric = TaskMetric::kAllReferences;
  prompt.max_new_tokens = 50;
  return prompt;
}

}  // namespace kvp
