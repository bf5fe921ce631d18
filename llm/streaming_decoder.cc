#include "llm/streaming_decoder.h"

#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::string> StreamingDecoder::Push(int32_t id) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   is_first_ ? tokenizer_.Decode({id}) : tokenizer_.DecodeContinuation({id}));
  is_first_ = false;
  return characters_.Push(bytes);
}

}  // namespace kvp
