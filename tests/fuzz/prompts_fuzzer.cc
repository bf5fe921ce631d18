// Prompt files (collector/prompt.h).

#include <cstdint>

#include "absl/strings/string_view.h"
#include "collector/prompt.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const kvp::InputFile file(input);
  const auto prompts = kvp::ReadPrompts(file.path());
  if (!prompts.ok()) return 0;
  for (const kvp::Prompt& prompt : *prompts) {
    FUZZ_CHECK(prompt.text.empty() != prompt.messages.empty());
    FUZZ_CHECK(!prompt.answer.has_value() || !prompt.answer->empty());
    FUZZ_CHECK(prompt.line >= 1);
  }
  return 0;
}
