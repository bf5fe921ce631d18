// safetensors files (util/safetensors.h).

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input_file.h"
#include "util/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const kvp::InputFile file(input);
  const auto opened = kvp::SafetensorsFile::Open(file.path());
  if (!opened.ok()) return 0;
  uint64_t sum = 0;
  for (const auto& [name, entry] : (*opened)->entries()) {
    FUZZ_CHECK(entry.bytes.size() <= size);
    const int64_t element_bytes = kvp::SafetensorsElementBytes(entry.dtype);
    FUZZ_CHECK(element_bytes > 0 && entry.bytes.size() % element_bytes == 0);
    for (const char byte : entry.bytes) sum += static_cast<uint8_t>(byte);
    (*opened)->ReleasePages(entry);
    FUZZ_CHECK((*opened)->Find(name).ok());
  }
  FUZZ_CHECK(sum <= 255 * size * (1 + (*opened)->entries().size()));
  return 0;
}
