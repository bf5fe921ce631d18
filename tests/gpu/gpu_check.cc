// Checks the decoder and the capture on a device against the CPU, and measures their speed.

#include <iostream>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "ATen/Parallel.h"
#include "absl/flags/flag.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "llm/fused_attention.h"
#include "nlohmann/json.hpp"
#include "tests/gpu/attention_parity.h"
#include "tests/gpu/llama_8b.h"
#include "tests/gpu/parity.h"
#include "tests/gpu/prefill.h"
#include "torch/csrc/api/include/torch/version.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"

ABSL_FLAG(std::vector<std::string>, devices, {"cuda"},
          "Devices under test: cpu, cuda or cuda:N; of several, each gets a part of the layers.");
ABSL_FLAG(bool, tiny, false, "A tiny model instead of one with the geometry of Llama-3.1-8B.");
ABSL_FLAG(bool, parity, true, "Compare with the CPU.");
ABSL_FLAG(bool, speed, true, "Measure prefill and capture.");
ABSL_FLAG(std::vector<std::string>, lengths, std::vector<std::string>({"4096", "32768"}),
          "Tokens of the sequences that are timed.");
ABSL_FLAG(int64_t, chunk_tokens, 2048, "Tokens that go through a layer at once.");
ABSL_FLAG(int, repeats, 3, "Timed runs of each kind.");
ABSL_FLAG(std::string, directory, "",
          "Folder for the models, some 16 GB without --tiny; a model that is there is used.");
ABSL_FLAG(std::string, json, "", "File for the results; empty: none.");

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr char kUsage[] =
    "gpu_check: holds the decoder and the capture on a device against the CPU and measures them.\n"
    "Exits with 1 where an error is above its tolerance.\n\n"
    "Examples:\n"
    "  gpu_check --directory=/tmp/models --json=gpu.json\n"
    "  gpu_check --devices=cpu --tiny --lengths=512 --directory=/tmp/models";

Json JsonOf(const ParityErrors& errors) {
  return {{"logits", errors.logits},     {"keys", errors.keys},
          {"values", errors.values},     {"labels", errors.labels},
          {"captured", errors.captured}, {"same_continuations", errors.same_continuations}};
}

Json JsonOf(const ParityResult& result) {
  return {{"family", result.family},          {"dtype", result.dtype},
          {"tolerance", result.tolerance},    {"errors", JsonOf(result.device)},
          {"cpu_errors", JsonOf(result.cpu)}, {"ok", result.ok()}};
}

Json JsonOf(const AttentionResult& result) {
  return {{"dtype", result.dtype},
          {"tokens", result.tokens},
          {"past", result.past},
          {"window", result.window},
          {"tolerance", result.tolerance},
          {"output_error", result.output_error},
          {"log_sum_exp_error", result.log_sum_exp_error},
          {"ok", result.ok()}};
}

Json JsonOf(const PrefillResult& result) {
  return {{"tokens", result.tokens},
          {"seconds", result.seconds},
          {"tokens_per_second", result.tokens_per_second},
          {"task_capture_ratio", result.task_capture_ratio},
          {"dialogue_capture_ratio", result.dialogue_capture_ratio},
          {"peak_bytes", result.peak_bytes},
          {"capture_peak_bytes", result.capture_peak_bytes}};
}

bool UsesFusedAttention() {
  const at::TensorOptions options =
      at::TensorOptions().dtype(at::kBFloat16).device(absl::GetFlag(FLAGS_devices)[0]);
  return CanAttendFused(at::zeros({1, 1, LlamaGeometry().head_dim}, options), /*window=*/0);
}

// Both return how many results are not right.
absl::StatusOr<int> Attention(Json& report) {
  ASSIGN_OR_RETURN(const std::vector<AttentionResult> results,
                   CheckAttention(absl::GetFlag(FLAGS_devices)[0]));
  int wrong = 0;
  for (const AttentionResult& result : results) {
    std::cout << absl::StreamFormat(
                     "attention of %3d tokens after %3d, window %3d, %-8s output %.1e  "
                     "log-sum-exp %s  %s",
                     result.tokens, result.past, result.window, result.dtype, result.output_error,
                     result.log_sum_exp_error < 0
                         ? "not given"
                         : absl::StrFormat("%.1e", result.log_sum_exp_error),
                     result.ok() ? "ok" : "WRONG")
              << std::endl;
    if (!result.ok()) ++wrong;
    report["attention"].push_back(JsonOf(result));
  }
  return wrong;
}

absl::StatusOr<int> Parity(const std::string& directory, Json& report) {
  ASSIGN_OR_RETURN(const std::vector<ParityResult> results,
                   CheckParity(directory, absl::GetFlag(FLAGS_devices)));
  int wrong = 0;
  for (const ParityResult& result : results) {
    const auto pair = [](double device, double cpu) {
      return absl::StrFormat("%.1e (%.1e)", device, cpu);
    };
    std::cout << absl::StreamFormat(
                     "%-14s %-8s logits %s  K %s  V %s  labels %s  captured %.1e%s  %s",
                     result.family, result.dtype, pair(result.device.logits, result.cpu.logits),
                     pair(result.device.keys, result.cpu.keys),
                     pair(result.device.values, result.cpu.values),
                     pair(result.device.labels, result.cpu.labels), result.device.captured,
                     result.device.same_continuations ? "" : "  other continuations",
                     result.ok() ? "ok" : "WRONG")
              << std::endl;
    if (!result.ok()) ++wrong;
    report["parity"].push_back(JsonOf(result));
  }
  return wrong;
}

absl::Status Speed(const std::string& directory, Json& report) {
  PrefillOptions options;
  options.model = absl::StrCat(directory, absl::GetFlag(FLAGS_tiny) ? "/tiny" : "/llama_8b");
  options.devices = absl::GetFlag(FLAGS_devices);
  options.chunk_tokens = absl::GetFlag(FLAGS_chunk_tokens);
  options.repeats = absl::GetFlag(FLAGS_repeats);
  for (const std::string& text : absl::GetFlag(FLAGS_lengths)) {
    if (!absl::SimpleAtoi(text, &options.lengths.emplace_back())) {
      return absl::InvalidArgumentError(absl::StrCat("--lengths: \"", text, "\" is not a number"));
    }
  }
  // config.json is written last.
  if (!ReadFile(absl::StrCat(options.model, "/config.json")).ok()) {
    std::cout << "writing " << options.model << std::endl;
    RETURN_IF_ERROR(WriteRandomLlama(
        options.model, absl::GetFlag(FLAGS_tiny) ? TinyLlamaGeometry() : LlamaGeometry()));
  }
  ASSIGN_OR_RETURN(const std::vector<PrefillResult> results, MeasurePrefill(options));
  for (const PrefillResult& result : results) {
    std::cout << absl::StreamFormat(
        "%6d tokens: %.3f s, %.0f tokens/s; capture takes x %.3f (task), x %.3f "
        "(dialogue)",
        result.tokens, result.seconds, result.tokens_per_second, result.task_capture_ratio,
        result.dialogue_capture_ratio);
    if (result.peak_bytes >= 0) {
      std::cout << absl::StreamFormat("; at most %.2f GB, %.2f GB with capture",
                                      result.peak_bytes / 1e9, result.capture_peak_bytes / 1e9);
    }
    std::cout << std::endl;
    report["prefill"].push_back(JsonOf(result));
  }
  return absl::OkStatus();
}

absl::Status Run() {
  const std::string directory = absl::GetFlag(FLAGS_directory);
  if (directory.empty()) return absl::InvalidArgumentError("--directory is needed");
  Json report = {
      {"libtorch",
       absl::StrCat(TORCH_VERSION_MAJOR, ".", TORCH_VERSION_MINOR, ".", TORCH_VERSION_PATCH)},
      {"devices", absl::StrJoin(absl::GetFlag(FLAGS_devices), ",")},
      {"threads", at::get_num_threads()},
  };
  std::cout << report.dump() << std::endl;
  int wrong = 0;
  if (absl::GetFlag(FLAGS_parity)) {
    ASSIGN_OR_RETURN(const int wrong_attention, Attention(report));
    std::cout << "distances from the CPU's fp32 (in brackets: the CPU's own, in this dtype)"
              << std::endl;
    ASSIGN_OR_RETURN(const int wrong_models, Parity(directory, report));
    wrong = wrong_attention + wrong_models;
  }
  if (absl::GetFlag(FLAGS_speed)) RETURN_IF_ERROR(Speed(directory, report));
  report["fused_attention"] = UsesFusedAttention();
  std::cout << "fused attention: " << report["fused_attention"] << std::endl;
  if (const std::string path = absl::GetFlag(FLAGS_json); !path.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(path, {report.dump(2), "\n"}));
  }
  if (wrong == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(wrong, " checks are above their tolerance"));
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::ParseCommandLine(argc, argv, kvp::kUsage);
  return kvp::ExitStatus(kvp::Run());
}
