// Conversations, and the seam to what turns them into tokens.

#ifndef KVP_COLLECTOR_DATASETS_DIALOGUE_H_
#define KVP_COLLECTOR_DATASETS_DIALOGUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llm/chat_template.h"
#include "llm/tokenizer.h"

namespace kvp {

struct DialogueTurn {
  std::string role;  // "user" or "assistant", in turns; the user begins
  std::string content;
};

// Tokens of a whole conversation as the model reads it, with its begin-of-sequence token where it
// has one. Called from the threads that make prompts.
using EncodeDialogue =
    std::function<absl::StatusOr<std::vector<int32_t>>(const std::vector<DialogueTurn>& turns)>;

// For models without a chat template: "User: …" and "Assistant: …", an empty line after each.
// `tokenizer` isn't owned and must outlive the function.
EncodeDialogue PlainDialogue(const Tokenizer* tokenizer);

// Through the model's chat template, which fails as ChatTemplate::Render does. `tokenizer` isn't
// owned and must outlive the function.
EncodeDialogue ChatDialogue(const Tokenizer* tokenizer,
                            std::shared_ptr<const ChatTemplate> chat_template);

}  // namespace kvp

#endif  // KVP_COLLECTOR_DATASETS_DIALOGUE_H_
