// Tokens that are found in the text itself, before it is pre-tokenized: special tokens such as
// <|im_start|>, and words added to a vocabulary.

#ifndef KVP_LLM_ADDED_TOKENS_H_
#define KVP_LLM_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace kvp {

struct AddedToken {
  std::string content;  // not empty
  int32_t id = 0;
  // Matched in the normalized text; else in the text as it is.
  bool normalized = false;
  // Whether the token takes the white space before or behind it along.
  bool lstrip = false;
  bool rstrip = false;
  // Whether it is no match with a word character directly before or behind it.
  bool single_word = false;
};

// Immutable after the last Add; thread-safe.
class AddedTokenFinder {
 public:
  // Looks for `content`, which may be the token's normalized.
  void Add(const AddedToken& token, absl::string_view content);

  // Calls `between` for the stretches of text without a token and `token` for the tokens, in the
  // text's order. Of tokens that overlap, the one that begins first counts, and of those the
  // longest, as Hugging Face's `tokenizers` has it: also where that one is then no single word. A
  // token in white space that the one before took counts too, unless with lstrip nothing is left.
  void Split(absl::string_view text, absl::FunctionRef<void(absl::string_view text)> between,
             absl::FunctionRef<void(int32_t id)> token) const;

 private:
  struct Match {
    size_t end = 0;
    const AddedToken* token = nullptr;
  };

  Match At(absl::string_view text, size_t begin) const;

  // A trie over the contents: (node, byte) -> node. Node 0 is the root.
  absl::flat_hash_map<uint64_t, int32_t> children_;
  std::vector<int32_t> token_at_;  // of each node: an index into tokens_, or -1
  std::vector<AddedToken> tokens_;
  std::array<bool, 256> begins_token_{};
};

}  // namespace kvp

#endif  // KVP_LLM_ADDED_TOKENS_H_
