// model.safetensors.index.json (llm/checkpoint.h), beside one file of weights.

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "llm/checkpoint.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input_file.h"
#include "util/safetensors.h"

namespace {

const std::string& Folder() {
  static const std::string& folder = *new std::string([] {
    std::string made = kvp::MakeInputFolder();
    const std::string bytes(24, '\x3f');
    FUZZ_CHECK(kvp::WriteSafetensors(absl::StrCat(made, "/w.safetensors"),
                                     {{"a", {"F32", {2, 3}, bytes}}, {"b", {"I64", {3}, bytes}}},
                                     {})
                   .ok());
    return made;
  }());
  return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  kvp::WriteInput(absl::StrCat(Folder(), "/model.safetensors.index.json"), input);
  const auto checkpoint = kvp::Checkpoint::Open(Folder());
  if (!checkpoint.ok()) {
    FUZZ_CHECK(!checkpoint.status().message().empty());
    return 0;
  }
  const auto tensor = (*checkpoint)->Get("a", {2, 3});
  FUZZ_CHECK(tensor.ok() == (*checkpoint)->has("a"));
  if (tensor.ok()) (*checkpoint)->Release("a");
  // It is of whole numbers.
  FUZZ_CHECK(!(*checkpoint)->Get("b", {3}).ok());
  FUZZ_CHECK((*checkpoint)->CheckAllUsed().ok());
  FUZZ_CHECK((*checkpoint)->Fingerprint(input).size() == 64);
  return 0;
}
