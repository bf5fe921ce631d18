// Files of trained agents (policy/agent_file.h).

#include <cstdint>

#include "absl/strings/string_view.h"
#include "policy/agent_file.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const kvp::InputFile file(absl::string_view(reinterpret_cast<const char*>(data), size));
  const auto agents = kvp::LoadAgents(file.path());
  if (!agents.ok()) return 0;
  FUZZ_CHECK(agents->layers >= 1 && agents->kv_heads >= 1);
  for (const auto& [name, tensor] : agents->parameters) {
    FUZZ_CHECK(tensor.size(0) == agents->layers * agents->kv_heads);
  }
  return 0;
}
