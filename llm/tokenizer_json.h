// tokenizer.json, parsed and checked: what the tokenizer is made of.

#ifndef KVP_LLM_TOKENIZER_JSON_H_
#define KVP_LLM_TOKENIZER_JSON_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/added_tokens.h"
#include "llm/bpe_model.h"
#include "llm/normalizer.h"
#include "llm/post_processor.h"
#include "llm/pre_tokenizer.h"
#include "llm/token_decoder.h"

namespace kvp {

struct TokenizerParts {
  // A token as the file spells it; an id in a gap of the vocabulary has none.
  struct Token {
    std::string spelling;
    bool is_known = false;
    bool is_added = false;
  };

  std::vector<Token> tokens;  // by id
  std::vector<AddedToken> added;
  std::unique_ptr<Normalizer> normalizer;       // or null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // or null
  BpeModel model;
  PostProcessor post_processor;
  TokenDecoder decoder;
};

// Errors as Tokenizer::Parse's.
absl::StatusOr<TokenizerParts> ParseTokenizerJson(absl::string_view text, const std::string& path);

}  // namespace kvp

#endif  // KVP_LLM_TOKENIZER_JSON_H_
