#include "tests/gpu/prefill.h"

#include <memory>
#include <random>
#include <vector>

#include "ATen/ATen.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "collector/capture.h"
#include "llm/decoder.h"
#include "llm/kv_cache.h"
#include "tests/gpu/device_memory.h"
#include "util/median.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

TokenizedPrompt RandomPrompt(int64_t tokens, int64_t vocab_size) {
  std::mt19937_64 random(tokens);
  TokenizedPrompt prompt;
  prompt.origin = absl::StrCat("random:", tokens);
  for (int64_t i = 0; i < tokens; ++i) {
    std::vector<int32_t>& part =
        i < tokens - kContinuationTokens ? prompt.prompt : prompt.continuation;
    part.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size)));
  }
  return prompt;
}

// Runs what Capture runs and records nothing. Returns when the device is done.
absl::Status RunPlain(const Decoder& decoder, const TokenizedPrompt& prompt, int64_t chunk_tokens) {
  KvCache cache = decoder.NewCache();
  Decoder::ForwardOptions forward;
  forward.logits = Decoder::Logits::kNone;
  forward.chunk_tokens = chunk_tokens;
  std::vector<int32_t> tokens = prompt.prompt;
  tokens.insert(tokens.end(), prompt.continuation.begin(), prompt.continuation.end());
  RETURN_IF_ERROR(decoder.Forward(tokens, cache, forward).status());
  // A copy to the host waits for all before it.
  cache.values(decoder.config().layers - 1, 0)[-1].to(at::kCPU);
  return absl::OkStatus();
}

absl::Status RunCapture(const Decoder& decoder, const ModelInfo& model,
                        const TokenizedPrompt& prompt, int64_t chunk_tokens, int64_t cuts) {
  CaptureOptions options;
  options.chunk_tokens = chunk_tokens;
  options.cuts = cuts;
  return Capture(decoder, model, prompt, options).status();
}

absl::StatusOr<double> Seconds(absl::FunctionRef<absl::Status()> run) {
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(run());
  return absl::ToDoubleSeconds(absl::Now() - start);
}

absl::StatusOr<PrefillResult> MeasureLength(const Decoder& decoder, const ModelInfo& model,
                                            const PrefillOptions& options, int64_t tokens) {
  const TokenizedPrompt prompt = RandomPrompt(tokens, decoder.config().vocab_size);
  const auto plain = [&] { return RunPlain(decoder, prompt, options.chunk_tokens); };
  const auto task = [&] { return RunCapture(decoder, model, prompt, options.chunk_tokens, 1); };
  const auto dialogue = [&] {
    return RunCapture(decoder, model, prompt, options.chunk_tokens, kDialogueCuts);
  };
  PrefillResult result;
  result.tokens = tokens;
  // The runs that don't count tell of memory.
  ResetPeakDeviceBytes(options.devices[0]);
  RETURN_IF_ERROR(plain());
  result.peak_bytes = PeakDeviceBytes(options.devices[0]);
  ResetPeakDeviceBytes(options.devices[0]);
  RETURN_IF_ERROR(dialogue());
  result.capture_peak_bytes = PeakDeviceBytes(options.devices[0]);
  RETURN_IF_ERROR(task());

  std::vector<double> plain_seconds, task_seconds, dialogue_seconds;
  for (int i = 0; i < options.repeats; ++i) {
    ASSIGN_OR_RETURN(plain_seconds.emplace_back(), Seconds(plain));
    ASSIGN_OR_RETURN(task_seconds.emplace_back(), Seconds(task));
    ASSIGN_OR_RETURN(dialogue_seconds.emplace_back(), Seconds(dialogue));
  }
  result.seconds = Median(plain_seconds);
  result.tokens_per_second = static_cast<double>(tokens) / result.seconds;
  result.task_capture_ratio = Median(task_seconds) / result.seconds;
  result.dialogue_capture_ratio = Median(dialogue_seconds) / result.seconds;
  return result;
}

}  // namespace

absl::StatusOr<std::vector<PrefillResult>> MeasurePrefill(const PrefillOptions& options) {
  for (const int64_t tokens : options.lengths) {
    if (tokens < 2 * kContinuationTokens) {
      return absl::InvalidArgumentError(
          absl::StrCat("length ", tokens, " is below ", 2 * kContinuationTokens));
    }
  }
  Decoder::Options load;
  load.devices = options.devices;
  load.dtype = options.dtype;
  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder, Decoder::Load(options.model, load));
  const ModelInfo model = ModelInfoOf(*decoder, options.model);
  std::vector<PrefillResult> results;
  for (const int64_t tokens : options.lengths) {
    ASSIGN_OR_RETURN(results.emplace_back(), MeasureLength(*decoder, model, options, tokens));
  }
  return results;
}

}  // namespace kvp
