// config.json and generation_config.json (llm/model_config.h, launcher/model_geometry.h).

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "launcher/model_geometry.h"
#include "llm/model_config.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input_file.h"

namespace {

void CheckConfig(const kvp::ModelConfig& config) {
  FUZZ_CHECK(config.vocab_size > 0 && config.layers > 0 && config.head_dim > 0);
  FUZZ_CHECK(config.query_heads % config.kv_heads == 0);
  FUZZ_CHECK(config.rope.rotary_dim > 0 && config.rope.rotary_dim <= config.head_dim);
  FUZZ_CHECK(config.windows.empty() || config.windows.size() == static_cast<size_t>(config.layers));
  for (const int64_t id : config.eos_token_ids) FUZZ_CHECK(id >= 0 && id < config.vocab_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string& folder = *new std::string(kvp::MakeInputFolder());
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const auto config = kvp::ParseModelConfig(input, "config.json");
  // The same text as both files.
  kvp::WriteInput(absl::StrCat(folder, "/config.json"), input);
  kvp::WriteInput(absl::StrCat(folder, "/generation_config.json"), input);
  const auto loaded = kvp::LoadModelConfig(folder);
  FUZZ_CHECK(config.ok() == loaded.ok());
  if (config.ok()) CheckConfig(*config);
  const auto geometry = kvp::ReadModelGeometry(folder);
  if (geometry.ok()) FUZZ_CHECK(geometry->layers > 0 && geometry->kv_heads > 0);
  return 0;
}
