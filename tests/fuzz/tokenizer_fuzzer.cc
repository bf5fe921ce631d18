// tokenizer.json (llm/tokenizer.h), and texts through what it makes.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "llm/tokenizer.h"
#include "tests/fuzz/check.h"

namespace kvp {
namespace {

constexpr size_t kTextBytes = 48;

void CheckText(const Tokenizer& tokenizer, absl::string_view text) {
  for (const std::vector<int32_t>& ids : {tokenizer.Encode(text), tokenizer.EncodeSequence(text),
                                          tokenizer.EncodeContinuation(text)}) {
    for (const int32_t id : ids) FUZZ_CHECK(id >= 0 && id < tokenizer.vocab_size());
    FUZZ_CHECK(tokenizer.Decode(ids).ok());
    FUZZ_CHECK(tokenizer.DecodeContinuation(ids).ok());
  }
}

}  // namespace
}  // namespace kvp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = kvp::Tokenizer::Parse(input, "tokenizer.json");
  if (!tokenizer.ok()) return 0;
  for (const absl::string_view text :
       {absl::string_view("the the\n\n  \xe2\x96\x81 \xef\xac\x81 12 <s>\xff <s> x"),
        input.substr(0, kvp::kTextBytes), input.substr(input.size() / 2, kvp::kTextBytes)}) {
    kvp::CheckText(**tokenizer, text);
  }
  return 0;
}
