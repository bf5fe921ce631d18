#include "llm/chat_template.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "llm/jinja/template.h"
#include "llm/json_fields.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr char kHowToDoWithout[] =
    "render the conversations elsewhere and give them as plain prompts, {\"prompt\": \"…\"}";

absl::Status WithAdvice(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": chat template: ", status.message(), "; ",
                                                  kHowToDoWithout));
}

// The file's text; empty where there is no such file.
absl::StatusOr<std::string> ReadIfThere(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return "";
  return text;
}

// "<s>", or {"content": "<s>", …}.
Json SpecialTokens(const Json& config) {
  Json tokens = Json::object();
  for (const auto& [name, value] : config.items()) {
    if (!absl::EndsWith(name, "_token")) continue;
    if (value.is_string()) tokens[name] = value;
    if (value.is_object() && value.contains("content") && value["content"].is_string()) {
      tokens[name] = value["content"];
    }
  }
  return tokens;
}

// A string, or [{"name": NAME, "template": STRING}, …]; empty where there is none.
absl::StatusOr<std::string> TemplateText(const JsonFields& fields) {
  const Json* value = fields.Find("chat_template");
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  if (value->is_array()) {
    for (const Json& entry : *value) {
      const bool is_default = entry.is_object() && entry.contains("name") &&
                              entry["name"] == "default" && entry.contains("template") &&
                              entry["template"].is_string();
      if (is_default) return entry["template"].get<std::string>();
    }
  }
  return fields.Invalid("chat_template", "a string, or a list with a \"default\", is needed");
}

}  // namespace

ChatTemplate::ChatTemplate(std::string path, std::unique_ptr<jinja::Template> jinja,
                           nlohmann::json special_tokens)
    : path_(std::move(path)),
      jinja_(std::move(jinja)),
      special_tokens_(std::move(special_tokens)) {}

ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(
    const std::string& model_directory) {
  const std::string config_path = absl::StrCat(model_directory, "/tokenizer_config.json");
  ASSIGN_OR_RETURN(const std::string config_text, ReadIfThere(config_path));
  Json config = Json::object();
  if (!config_text.empty()) {
    ASSIGN_OR_RETURN(config, ParseJsonObject(config_text, config_path));
  }
  std::string path = absl::StrCat(model_directory, "/chat_template.jinja");
  ASSIGN_OR_RETURN(std::string source, ReadIfThere(path));
  if (source.empty()) {
    path = config_path;
    ASSIGN_OR_RETURN(source, TemplateText(JsonFields(config, config_path)));
  }
  if (source.empty()) {
    return absl::NotFoundError(absl::StrCat(
        model_directory, ": no chat template, neither chat_template.jinja nor chat_template in ",
        "tokenizer_config.json; ", kHowToDoWithout));
  }
  absl::StatusOr<std::unique_ptr<jinja::Template>> parsed = jinja::Template::Parse(source);
  if (!parsed.ok()) return WithAdvice(path, parsed.status());
  return std::unique_ptr<ChatTemplate>(
      new ChatTemplate(std::move(path), *std::move(parsed), SpecialTokens(config)));
}

absl::StatusOr<std::string> ChatTemplate::Render(absl::Span<const ChatMessage> messages,
                                                 bool add_generation_prompt) const {
  Json variables = special_tokens_;
  variables["messages"] = Json::array();
  for (const ChatMessage& message : messages) {
    variables["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  variables["add_generation_prompt"] = add_generation_prompt;
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  absl::StatusOr<std::string> text = jinja_->Render(variables);
  if (!text.ok()) return WithAdvice(path_, text.status());
  return text;
}

}  // namespace kvp
