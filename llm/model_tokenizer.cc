#include "llm/model_tokenizer.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadModelTokenizer(const std::string& directory,
                                                              const ModelConfig& config) {
  const std::string path = directory + "/tokenizer.json";
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(path));
  if (tokenizer->vocab_size() <= config.vocab_size) return tokenizer;
  const int32_t last = static_cast<int32_t>(tokenizer->vocab_size() - 1);
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": token ", last, ", \"", tokenizer->Decode({last}).value_or(""),
                   "\", is outside of config.json's vocab_size, ", config.vocab_size,
                   ": the two aren't of the same model"));
}

}  // namespace kvp
