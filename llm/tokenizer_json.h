// tokenizer.json, parsed and checked: what the tokenizer is made of.

#ifndef KVP_LLM_TOKENIZER_JSON_H_
#define KVP_LLM_TOKENIZER_JSON_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/bpe_model.h"
#include "llm/regex_splitter.h"

namespace kvp {

// A token that is matched in the text itself, before pre-tokenization.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  // Matched in the normalized text; else in the text as it is.
  bool normalized = false;
};

struct TokenizerParts {
  BpeModel model;
  // The bytes of every id; an id in a gap of the vocabulary has none, and `known` says so.
  std::vector<std::string> bytes;
  std::vector<bool> known;
  std::vector<AddedToken> added;
  bool nfc = false;
  // Applied one after another, each to every piece of the one before.
  std::vector<std::unique_ptr<RegexSplitter>> splitters;
  // Whether text that doesn't begin with a space gets one, after the first `prefix_space_after`
  // splitters.
  bool add_prefix_space = false;
  size_t prefix_space_after = 0;
  // Ids that the post-processor puts before and after a text.
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

// Errors as Tokenizer::Parse's.
absl::StatusOr<TokenizerParts> ParseTokenizerJson(absl::string_view text, const std::string& path);

}  // namespace kvp

#endif  // KVP_LLM_TOKENIZER_JSON_H_
