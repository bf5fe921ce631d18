// Bytes that arrive piece by piece, turned into whole UTF-8 characters.

#ifndef KVP_LLM_UTF8_STREAM_H_
#define KVP_LLM_UTF8_STREAM_H_

#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

// Tokens of a byte-level vocabulary may end within a character: what is returned never does. Bytes
// that can't be part of any character become U+FFFD, one for each maximal invalid part (Unicode 15,
// section 3.9). Not thread-safe.
class Utf8Stream {
 public:
  // What is complete so far and wasn't returned before.
  std::string Push(absl::string_view bytes);
  // What is left at the end: U+FFFD for a character that was never finished, else nothing.
  std::string Finish();

 private:
  std::string pending_;  // the begin of a character, valid so far
};

}  // namespace kvp

#endif  // KVP_LLM_UTF8_STREAM_H_
