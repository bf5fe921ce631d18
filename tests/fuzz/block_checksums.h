// Head blocks with right checksums, which no fuzzer finds by itself.

#ifndef KVP_TESTS_FUZZ_BLOCK_CHECKSUMS_H_
#define KVP_TESTS_FUZZ_BLOCK_CHECKSUMS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

// The bytes, as long as a block's header at least, with the checksums of a head block
// (storage/head_block.cc) put right.
std::string WithChecksums(absl::string_view block);

}  // namespace kvp

#endif  // KVP_TESTS_FUZZ_BLOCK_CHECKSUMS_H_
