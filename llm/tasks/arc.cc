#include "llm/tasks/arc.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "llm/json_fields.h"
#include "llm/tasks/json_lines.h"
#include "nlohmann/json.hpp"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::StatusOr<TaskPrompt> ArcPrompt(const nlohmann::json& object, const std::string& place) {
  const JsonFields fields(object, place);
  const nlohmann::json* question = fields.Find("question");
  if (question == nullptr || !question->is_object()) {
    return fields.Invalid("question", "an object with stem and choices is needed");
  }
  const JsonFields question_fields(*question, place, "question.");
  ASSIGN_OR_RETURN(const std::string stem, NonEmptyString(question_fields, "stem"));
  ASSIGN_OR_RETURN(const nlohmann::json* choices, ObjectArray(question_fields, "choices"));
  ASSIGN_OR_RETURN(const std::string key, NonEmptyString(fields, "answerKey"));

  TaskPrompt prompt;
  prompt.task = "arc_challenge";
  prompt.origin = place;
  prompt.input = absl::StrCat("Question: ", stem);
  std::set<std::string> labels;
  for (size_t i = 0; i < choices->size(); ++i) {
    const JsonFields choice((*choices)[i], place, absl::StrCat("question.choices[", i, "]."));
    ASSIGN_OR_RETURN(const std::string label, NonEmptyString(choice, "label"));
    ASSIGN_OR_RETURN(const std::string text, NonEmptyString(choice, "text"));
    if (!labels.insert(label).second) return choice.Invalid("label", "another choice has it");
    absl::StrAppend(&prompt.input, "\n", label, ". ", text);
  }
  if (labels.count(key) == 0) return fields.Invalid("answerKey", "no choice has this label");
  prompt.answer_prefix = "\nAnswer:";
  prompt.answer = absl::StrCat(" ", key);
  prompt.references = {key};
  prompt.metric = TaskMetric::kFirstWord;
  prompt.max_new_tokens = 4;
  return prompt;
}

}  // namespace

absl::StatusOr<std::vector<TaskPrompt>> ReadArcChallenge(const std::string& path) {
  std::vector<TaskPrompt> prompts;
  RETURN_IF_ERROR(ForEachJsonLine(
      path, [&](const nlohmann::json& object, const std::string& place) -> absl::Status {
        ASSIGN_OR_RETURN(TaskPrompt prompt, ArcPrompt(object, place));
        prompts.push_back(std::move(prompt));
        return absl::OkStatus();
      }));
  return prompts;
}

}  // namespace kvp
