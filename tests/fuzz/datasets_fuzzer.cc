// Published datasets' files: each input is read as every one of them.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "collector/datasets/oasst2.h"
#include "llm/tasks/arc.h"
#include "llm/tasks/boolq.h"
#include "llm/tasks/longbench.h"
#include "llm/tasks/question_set.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input_file.h"

namespace kvp {
namespace {

void CheckPrompts(const absl::StatusOr<std::vector<TaskPrompt>>& prompts) {
  if (!prompts.ok()) return;
  FUZZ_CHECK(!prompts->empty());
  for (const TaskPrompt& prompt : *prompts) {
    FUZZ_CHECK(!prompt.input.empty() && !prompt.references.empty());
  }
}

void CheckQuestions(const absl::StatusOr<QuestionSet>& set) {
  if (!set.ok()) return;
  for (const QuestionSet::Question& question : set->questions) {
    FUZZ_CHECK(!question.answers.empty());
    for (const size_t document : question.documents) FUZZ_CHECK(document < set->documents.size());
    for (const size_t document : question.related) FUZZ_CHECK(document < set->documents.size());
  }
}

void CheckConversations(const absl::StatusOr<std::vector<Conversation>>& conversations) {
  if (!conversations.ok()) return;
  for (const Conversation& conversation : *conversations) {
    FUZZ_CHECK(conversation.turns.size() >= 2 && conversation.turns.size() % 2 == 0);
  }
}

}  // namespace
}  // namespace kvp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const kvp::InputFile file(absl::string_view(reinterpret_cast<const char*>(data), size));
  kvp::CheckConversations(kvp::ReadOasst2(file.path()));
  kvp::CheckPrompts(kvp::ReadBoolQ(file.path()));
  kvp::CheckPrompts(kvp::ReadArcChallenge(file.path()));
  kvp::CheckPrompts(kvp::ReadPassageRetrieval(file.path()));
  kvp::CheckPrompts(kvp::ReadGovReport(file.path()));
  kvp::CheckQuestions(kvp::ReadQuestionSet(file.path()));
  return 0;
}
