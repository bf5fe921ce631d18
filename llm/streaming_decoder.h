// Text from tokens that come one at a time, as a model generates them.

#ifndef KVP_LLM_STREAMING_DECODER_H_
#define KVP_LLM_STREAMING_DECODER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "llm/tokenizer.h"
#include "llm/utf8_stream.h"

namespace kvp {

// What it returns is always UTF-8 in whole characters: a character that is spread over several
// tokens comes with its last one, and bytes that can't be part of any become U+FFFD (see
// Utf8Stream). All of it together is what Tokenizer::Decode or DecodeContinuation gives for all
// tokens at once, but for that replacement. Not thread-safe.
class StreamingDecoder {
 public:
  // `tokenizer` isn't owned and must outlive it. With `continues` the tokens follow others, as a
  // prompt's: a space before the first one is kept.
  StreamingDecoder(const Tokenizer* tokenizer, bool continues)
      : tokenizer_(*tokenizer), is_first_(!continues) {}

  // The text that is complete with `id` and wasn't returned before. OUT_OF_RANGE for an id outside
  // the vocabulary; the decoder then goes on as if it hadn't come.
  absl::StatusOr<std::string> Push(int32_t id);
  // What is left at the end: U+FFFD for a character that was never finished, else nothing.
  std::string Finish() { return characters_.Finish(); }

 private:
  const Tokenizer& tokenizer_;
  bool is_first_;
  Utf8Stream characters_;
};

}  // namespace kvp

#endif  // KVP_LLM_STREAMING_DECODER_H_
