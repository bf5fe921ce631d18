// tokenizer_config.json, as far as chat templates need it (llm/chat_template.h).

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "llm/chat_template.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string& folder = *new std::string(kvp::MakeInputFolder());
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  kvp::WriteInput(absl::StrCat(folder, "/tokenizer_config.json"), input);
  kvp::ChatTemplate::Load(folder).status().IgnoreError();
  return 0;
}
