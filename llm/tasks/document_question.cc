#include "llm/tasks/document_question.h"

#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "util/split_mix64.h"

namespace kvp {
namespace {

constexpr char kInstruction[] =
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words.";

// Numbers of the prompt's documents, before they are shuffled.
std::vector<size_t> ChooseDocuments(const QuestionSet& set, const QuestionSet::Question& question,
                                    size_t size, SplitMix64* random) {
  std::vector<size_t> chosen = question.documents;
  if (size >= set.documents.size()) {
    chosen.clear();
    for (size_t i = 0; i < size; ++i) chosen.push_back(i % set.documents.size());
    return chosen;
  }
  std::vector<size_t> related = question.related;
  random->Shuffle(&related);
  for (const size_t document : related) {
    if (chosen.size() < size) chosen.push_back(document);
  }
  if (chosen.size() == size) return chosen;
  const absl::flat_hash_set<size_t> there(chosen.begin(), chosen.end());
  std::vector<size_t> others;
  for (size_t i = 0; i < set.documents.size(); ++i) {
    if (!there.contains(i)) others.push_back(i);
  }
  random->Shuffle(&others);
  chosen.insert(chosen.end(), others.begin(), others.begin() + (size - chosen.size()));
  return chosen;
}

}  // namespace

TaskPrompt DocumentQuestionPrompt(const QuestionSet& set, size_t question, uint64_t seed,
                                  int64_t size) {
  const QuestionSet::Question& asked = set.questions[question];
  SplitMix64 seeds(seed);
  SplitMix64 random(seeds.Next());
  SplitMix64 order(seeds.Next());
  std::vector<size_t> documents = ChooseDocuments(set, asked, size, &random);
  order.Shuffle(&documents);
  std::string context;
  for (size_t i = 0; i < documents.size(); ++i) {
    absl::StrAppend(&context, i == 0 ? "" : "\n\n", "Document ", i + 1, ":\n",
                    set.documents[documents[i]]);
  }
  TaskPrompt prompt;
  prompt.input = absl::StrCat(kInstruction, "\n\nThe following are given documents.\n\n", context,
                              "\n\n", kInstruction, "\n\nQuestion: ", asked.text);
  prompt.answer_prefix = " Answer:";
  prompt.answer = absl::StrCat(" ", asked.answers[0]);
  prompt.references = asked.answers;
  prompt.metric = TaskMetric::kAnyReference;
  prompt.max_new_tokens = 32;
  return prompt;
}

}  // namespace kvp
