// Head blocks (storage/head_block.h): as they are stored, sent and read.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/block_quantization.h"
#include "storage/head_block.h"
#include "tests/fuzz/block_checksums.h"
#include "tests/fuzz/check.h"

namespace kvp {
namespace {

void CheckBlock(absl::string_view encoded) {
  const absl::StatusOr<HeadBlock> block = DecodeHeadBlock(encoded);
  FUZZ_CHECK(block.ok() == ParseHeadBlock(encoded).ok());
  if (!block.ok()) return;
  // Every byte of an encoding means something.
  const absl::StatusOr<std::string> again = EncodeHeadBlock(*block);
  FUZZ_CHECK(again.ok() && *again == encoded);
  const absl::StatusOr<HeadBlock> wide = DequantizeToBf16(*block);
  FUZZ_CHECK(wide.ok() && EncodeHeadBlock(*wide).ok());
  const absl::StatusOr<HeadBlock> narrow = QuantizeToFloat8(*wide);
  FUZZ_CHECK(narrow.ok() && EncodeHeadBlock(*narrow).ok());
}

}  // namespace
}  // namespace kvp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  kvp::CheckBlock(input);
  kvp::CheckBlock(kvp::WithChecksums(input));
  return 0;
}
