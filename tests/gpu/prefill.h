// How fast prompts run through a model, with and without capture.

#ifndef KVP_TESTS_GPU_PREFILL_H_
#define KVP_TESTS_GPU_PREFILL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

struct PrefillOptions {
  std::string model;  // directory
  std::vector<std::string> devices;
  std::string dtype = "bfloat16";
  // Tokens of a sequence, of which the last kContinuationTokens are a forced continuation.
  std::vector<int64_t> lengths;
  int64_t chunk_tokens = 2048;
  // Runs of each kind, taken in turns after one that doesn't count.
  int repeats = 3;
};

constexpr int64_t kContinuationTokens = 128;
// Cuts of a dialogue: labels then look at most of the sequence, where one cut at the prompt's end
// has them look at the continuation alone.
constexpr int64_t kDialogueCuts = 4;

// Medians over the repeats, of one length.
struct PrefillResult {
  int64_t tokens = 0;
  double seconds = 0;  // K and V of all tokens in the cache, nothing recorded
  double tokens_per_second = 0;
  // Time with everything that a trace takes, K, V and labels on the host, over `seconds`.
  double task_capture_ratio = 0;
  double dialogue_capture_ratio = 0;
  // Largest memory allocated on the first device, weights included; -1 where LibTorch can't say or
  // it is the CPU.
  int64_t peak_bytes = -1;          // nothing recorded
  int64_t capture_peak_bytes = -1;  // the dialogue
};

// INVALID_ARGUMENT naming a length that is too short; errors of loading and running.
absl::StatusOr<std::vector<PrefillResult>> MeasurePrefill(const PrefillOptions& options);

}  // namespace kvp

#endif  // KVP_TESTS_GPU_PREFILL_H_
