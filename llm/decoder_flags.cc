#include "llm/decoder_flags.h"

#include <cstdint>
#include <string>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "llm/devices.h"

ABSL_FLAG(std::string, device, "cpu", "Where the model runs: cpu, cuda or cuda:N.");
ABSL_FLAG(std::string, devices, "",
          "Several devices, the layers spread over them in order, as even as can be: "
          "cuda:0,cuda:1. Overrides --device.");
ABSL_FLAG(std::string, dtype, "float32",
          "What the model computes in: float32, bfloat16 or float16.");
ABSL_FLAG(int64_t, max_model_len, 0,
          "The longest sequence, in tokens; beyond the original length, longrope's long factors "
          "are used for all. 0: the model's max_position_embeddings, with longrope its original "
          "length.");

namespace kvp {
namespace {

// Far above what any model takes; below what positions are counted in.
constexpr int64_t kLongestSequence = int64_t{1} << 30;

}  // namespace

Decoder::Options DecoderOptionsFromFlags() {
  const std::string devices = absl::GetFlag(FLAGS_devices);
  Decoder::Options options;
  options.devices = absl::StrSplit(devices.empty() ? absl::GetFlag(FLAGS_device) : devices, ',');
  options.dtype = absl::GetFlag(FLAGS_dtype);
  options.max_model_len = absl::GetFlag(FLAGS_max_model_len);
  return options;
}

std::string DecoderUsageProblem() {
  const Decoder::Options options = DecoderOptionsFromFlags();
  const auto problem = [](absl::string_view flag, const absl::Status& status) {
    return absl::StrCat("flag --", flag, ": ", status.message());
  };
  if (const auto dtype = ParseDtype(options.dtype); !dtype.ok()) {
    return problem("dtype", dtype.status());
  }
  for (const std::string& name : options.devices) {
    // Nothing can be computed there: it is for tests of where tensors go.
    const absl::Status status =
        name == "meta"
            ? absl::InvalidArgumentError("device is \"meta\": cpu, cuda or cuda:N is needed")
            : ParseDevice(name).status();
    if (!absl::IsInvalidArgument(status)) continue;
    return problem(absl::GetFlag(FLAGS_devices).empty() ? "device" : "devices", status);
  }
  if (options.max_model_len < 0 || options.max_model_len > kLongestSequence) {
    return absl::StrCat("flag --max-model-len: value \"", options.max_model_len,
                        "\": it must be in [0, ", kLongestSequence, "]");
  }
  return "";
}

}  // namespace kvp
