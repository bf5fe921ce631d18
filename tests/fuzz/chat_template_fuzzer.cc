// Chat templates in Jinja's language (llm/jinja/template.h).

#include <cstdint>

#include "absl/strings/string_view.h"
#include "llm/jinja/template.h"
#include "nlohmann/json.hpp"
#include "tests/fuzz/check.h"

namespace {

// Small enough for many inputs a second.
constexpr int64_t kMaxWorkBytes = 1 << 18;

nlohmann::json Variables() {
  return {{"messages",
           {{{"role", "system"}, {"content", "Be brief.\n"}},
            {{"role", "user"}, {"content", " \"Why\"\xc3\xa9? {{ x }} "}},
            {{"role", "assistant"}, {"content", "<think>\nso\n</think>\n\nYes."}}}},
          {"add_generation_prompt", true},
          {"bos_token", "<s>"},
          {"eos_token", "</s>"},
          {"tools", nullptr},
          {"documents", nullptr}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const nlohmann::json& variables = *new nlohmann::json(Variables());
  const absl::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = kvp::jinja::Template::Parse(source);
  if (!parsed.ok()) return 0;
  const auto text = (*parsed)->RenderWithin(kMaxWorkBytes, variables);
  FUZZ_CHECK(!text.ok() || text->size() <= 2 * kMaxWorkBytes);
  return 0;
}
