// Conversations as the prompts that a chat model was trained on: the model's own chat template,
// rendered.
//
// Families differ in everything but the idea: ChatML (Qwen 2, 2.5 and 3) has "<|im_start|>user\n…
// <|im_end|>\n" and, in Qwen 2.5, a system prompt of its own; Llama 3 has headers; Phi-3 and Phi-4
// "<|user|>"; Mistral and Llama 2 "[INST] … [/INST]". All of them say so in a template in Jinja's
// language, and that template is what is rendered here (llm/jinja/template.h), as Hugging Face's
// transformers does: with its variables messages, add_generation_prompt, the special tokens by name
// (bos_token, eos_token, …) and tools and documents, which are none. What a template would say
// about today's date (`strftime_now`) isn't defined, so that the same conversation always gives the
// same prompt: templates have a fixed date for that case.
//
// The text is then encoded with Tokenizer::Encode, not EncodeSequence: templates put the
// begin-of-sequence token themselves. Special tokens that somebody has written in a message become
// special tokens of the prompt, as in transformers: who doesn't trust the messages must filter
// them.

#ifndef KVP_LLM_CHAT_TEMPLATE_H_
#define KVP_LLM_CHAT_TEMPLATE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace kvp {

namespace jinja {
class Template;
}

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant" in all families
  std::string content;
};

// Immutable; thread-safe.
class ChatTemplate {
 public:
  // Reads the template of a model's directory: chat_template.jinja, or chat_template of
  // tokenizer_config.json (of several named ones, "default"). NOT_FOUND where there is none;
  // INVALID_ARGUMENT or UNIMPLEMENTED where it is malformed or uses what isn't supported. Each of
  // them names the file and says how to do without: with plain prompts.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Load(const std::string& model_directory);

  ~ChatTemplate();

  // The conversation as text; with `add_generation_prompt`, up to where the assistant's answer
  // begins. INVALID_ARGUMENT, with what the template says, for a conversation that it refuses (as
  // one whose roles don't alternate); UNIMPLEMENTED as above.
  absl::StatusOr<std::string> Render(absl::Span<const ChatMessage> messages,
                                     bool add_generation_prompt) const;

 private:
  ChatTemplate(std::string path, std::unique_ptr<jinja::Template> jinja,
               nlohmann::json special_tokens);

  const std::string path_;  // of the template, for messages
  const std::unique_ptr<jinja::Template> jinja_;
  const nlohmann::json special_tokens_;
};

}  // namespace kvp

#endif  // KVP_LLM_CHAT_TEMPLATE_H_
