#include "collector/datasets/dialogue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {

EncodeDialogue PlainDialogue(const Tokenizer* tokenizer) {
  return [tokenizer](
             const std::vector<DialogueTurn>& turns) -> absl::StatusOr<std::vector<int32_t>> {
    std::string text;
    for (const DialogueTurn& turn : turns) {
      absl::StrAppend(&text, turn.role == "user" ? "User: " : "Assistant: ", turn.content, "\n\n");
    }
    return tokenizer->EncodeSequence(text);
  };
}

EncodeDialogue ChatDialogue(const Tokenizer* tokenizer,
                            std::shared_ptr<const ChatTemplate> chat_template) {
  return [tokenizer, chat_template = std::move(chat_template)](
             const std::vector<DialogueTurn>& turns) -> absl::StatusOr<std::vector<int32_t>> {
    std::vector<ChatMessage> messages;
    for (const DialogueTurn& turn : turns) messages.push_back({turn.role, turn.content});
    ASSIGN_OR_RETURN(const std::string text,
                     chat_template->Render(messages, /*add_generation_prompt=*/false));
    // The template has put what belongs before a text.
    return tokenizer->Encode(text);
  };
}

}  // namespace kvp
