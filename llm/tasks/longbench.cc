#include "llm/tasks/longbench.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "llm/json_fields.h"
#include "llm/tasks/json_lines.h"
#include "nlohmann/json.hpp"
#include "util/status_macros.h"

namespace kvp {
namespace {

struct Sample {
  std::string input;
  std::string context;
  std::vector<std::string> answers;
};

absl::Status CheckDataset(const JsonFields& fields, const std::string& dataset) {
  ASSIGN_OR_RETURN(const std::string name, fields.String("dataset"));
  if (name == dataset || name == dataset + "_e") return absl::OkStatus();
  return fields.Invalid("dataset", absl::StrCat("it must be \"", dataset, "\""));
}

// Makes a prompt of every line by `make`, which needn't set origin and references.
absl::StatusOr<std::vector<TaskPrompt>> ReadSamples(
    const std::string& path, const std::string& dataset, bool needs_input,
    const std::function<TaskPrompt(const Sample& sample)>& make) {
  std::vector<TaskPrompt> prompts;
  RETURN_IF_ERROR(ForEachJsonLine(
      path, [&](const nlohmann::json& object, const std::string& place) -> absl::Status {
        const JsonFields fields(object, place);
        RETURN_IF_ERROR(CheckDataset(fields, dataset));
        Sample sample;
        if (needs_input) {
          ASSIGN_OR_RETURN(sample.input, NonEmptyString(fields, "input"));
        }
        ASSIGN_OR_RETURN(sample.context, NonEmptyString(fields, "context"));
        ASSIGN_OR_RETURN(sample.answers, NonEmptyStrings(fields, "answers"));
        TaskPrompt prompt = make(sample);
        prompt.origin = place;
        prompt.references = std::move(sample.answers);
        prompts.push_back(std::move(prompt));
        return absl::OkStatus();
      }));
  return prompts;
}

}  // namespace

absl::StatusOr<std::vector<TaskPrompt>> ReadPassageRetrieval(const std::string& path) {
  return ReadSamples(path, "passage_retrieval_en", /*needs_input=*/true, [](const Sample& sample) {
    TaskPrompt prompt;
    prompt.task = "passage_retrieval";
    prompt.input = absl::StrCat(
        "Here are 30 paragraphs from Wikipedia, along with an abstract. Please determine which "
        "paragraph the abstract is from.\n\n",
        sample.context, "\n\nThe following is an abstract.\n\n", sample.input,
        "\n\nPlease enter the number of the paragraph that the abstract is from. The answer format "
        "must be like \"Paragraph 1\", \"Paragraph 2\", etc.");
    prompt.answer_prefix = "\n\nThe answer is: ";
    prompt.answer = sample.answers[0];
    prompt.metric = TaskMetric::kParagraphNumber;
    prompt.max_new_tokens = 32;
    return prompt;
  });
}

absl::StatusOr<std::vector<TaskPrompt>> ReadGovReport(const std::string& path) {
  return ReadSamples(path, "gov_report", /*needs_input=*/false, [](const Sample& sample) {
    TaskPrompt prompt;
    prompt.task = "gov_report";
    prompt.input = absl::StrCat(
        "You are given a report by a government agency. Write a one-page summary of the report."
        "\n\nReport:\n",
        sample.context, "\n\nNow, write a one-page summary of the report.");
    prompt.answer_prefix = "\n\nSummary:";
    prompt.answer = absl::StrCat(" ", sample.answers[0]);
    prompt.metric = TaskMetric::kRougeL;
    prompt.max_new_tokens = 512;
    return prompt;
  });
}

}  // namespace kvp
