#include "collector/prompt.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr size_t kMaxShownBytes = 60;

std::string Shown(absl::string_view text) { return Excerpt(text, kMaxShownBytes); }

std::string ShownValue(const nlohmann::json& value) {
  return Shown(
      value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace));
}

// The text of a field that must be a string with something in it.
absl::StatusOr<std::string> TextField(const nlohmann::json& value, absl::string_view name,
                                      absl::string_view place) {
  if (!value.is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": field ", name, " is ", ShownValue(value), ": it must be a string"));
  }
  std::string text = value.get<std::string>();
  if (text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": field ", name, " is \"\": it must not be empty"));
  }
  return text;
}

// [{"role": TEXT, "content": TEXT}, …]
absl::StatusOr<std::vector<ChatMessage>> Messages(const nlohmann::json& value,
                                                  absl::string_view place) {
  if (!value.is_array() || value.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": field messages is ", ShownValue(value),
                                                   ": it must be a list with messages in it"));
  }
  std::vector<ChatMessage> messages;
  for (const nlohmann::json& json : value) {
    const std::string name = absl::StrCat("messages[", messages.size(), "]");
    if (!json.is_object() || json.size() != 2 || !json.contains("role") ||
        !json.contains("content")) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": field ", name, " is ", ShownValue(json),
                       ": it must be {\"role\": \"…\", \"content\": \"…\"}"));
    }
    ChatMessage& message = messages.emplace_back();
    ASSIGN_OR_RETURN(message.role, TextField(json["role"], name + ".role", place));
    ASSIGN_OR_RETURN(message.content, TextField(json["content"], name + ".content", place));
  }
  return messages;
}

// What fields there must be, and which have no place beside each other.
absl::Status CheckFields(const Prompt& prompt, const nlohmann::json& object,
                         absl::string_view place) {
  if (prompt.text.empty() && prompt.messages.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": field prompt is missing in ", ShownValue(object)));
  }
  if (!prompt.text.empty() && !prompt.messages.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": field prompt is ", Shown(prompt.text),
                                                   ": there are messages instead of it"));
  }
  if (prompt.messages.empty() || prompt.messages.back().role != "assistant") {
    return absl::OkStatus();
  }
  if (prompt.answer.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": field answer is ", Shown(*prompt.answer),
                     ": the last message is the assistant's already"));
  }
  if (prompt.messages.size() == 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": field messages is ", ShownValue(object["messages"]),
                     ": the assistant's answer needs a message before it"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Prompt> ParsePrompt(absl::string_view json, const std::string& path, int64_t line) {
  const std::string place = absl::StrCat(path, ":", line);
  const absl::StatusOr<nlohmann::json> parsed = ParseJson(json, place);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(parsed.status().message(), ": ", Shown(json)));
  }
  const nlohmann::json& object = *parsed;
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        place, ": ", ShownValue(object), " is no object: {\"prompt\": \"…\", \"answer\": \"…\"}"));
  }
  Prompt prompt;
  prompt.line = line;
  for (const auto& [name, value] : object.items()) {
    if (name == "prompt") {
      ASSIGN_OR_RETURN(prompt.text, TextField(value, name, place));
    } else if (name == "messages") {
      ASSIGN_OR_RETURN(prompt.messages, Messages(value, place));
    } else if (name == "answer") {
      if (value.is_null()) continue;
      ASSIGN_OR_RETURN(prompt.answer, TextField(value, name, place));
    } else {
      return absl::InvalidArgumentError(absl::StrCat(place, ": unknown field ", Shown(name), " = ",
                                                     ShownValue(value),
                                                     "; known are prompt, messages and answer"));
    }
  }
  RETURN_IF_ERROR(CheckFields(prompt, object, place));
  return prompt;
}

absl::StatusOr<std::vector<Prompt>> ReadPrompts(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<Prompt> prompts;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    ASSIGN_OR_RETURN(Prompt prompt, ParsePrompt(line, path, number));
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no prompts in the file"));
  }
  return prompts;
}

}  // namespace kvp
