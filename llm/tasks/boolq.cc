#include "llm/tasks/boolq.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "llm/json_fields.h"
#include "llm/tasks/json_lines.h"
#include "nlohmann/json.hpp"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::vector<TaskPrompt>> ReadBoolQ(const std::string& path) {
  std::vector<TaskPrompt> prompts;
  RETURN_IF_ERROR(ForEachJsonLine(
      path, [&](const nlohmann::json& object, const std::string& place) -> absl::Status {
        const JsonFields fields(object, place);
        ASSIGN_OR_RETURN(const std::string question, NonEmptyString(fields, "question"));
        ASSIGN_OR_RETURN(const std::string passage, NonEmptyString(fields, "passage"));
        ASSIGN_OR_RETURN(const bool answer, fields.Bool("answer"));
        TaskPrompt prompt;
        prompt.task = "boolq";
        prompt.origin = place;
        prompt.input = absl::StrCat(passage, "\nQuestion: ", question, "?");
        prompt.answer_prefix = "\nAnswer:";
        prompt.answer = answer ? " yes" : " no";
        prompt.references = {answer ? "yes" : "no"};
        prompt.metric = TaskMetric::kFirstWord;
        prompt.max_new_tokens = 4;
        prompts.push_back(std::move(prompt));
        return absl::OkStatus();
      }));
  return prompts;
}

}  // namespace kvp
