#include "collector/datasets/dialogue.h"

#include "absl/strings/str_cat.h"

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

}  // namespace kvp
