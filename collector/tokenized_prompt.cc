#include "collector/tokenized_prompt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kvp {

absl::Status CheckLength(const TokenizedPrompt& prompt, int64_t max_model_len) {
  const int64_t tokens = static_cast<int64_t>(prompt.prompt.size());
  const int64_t continuation = static_cast<int64_t>(prompt.continuation.size());
  if (tokens + std::max<int64_t>(1, continuation) <= max_model_len) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      prompt.origin, ": ", tokens, " prompt and ", continuation,
      " answer tokens don't fit the model's longest sequence, --max-model-len=", max_model_len));
}

}  // namespace kvp
