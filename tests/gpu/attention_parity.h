// Whether a device's attention is attention: the kernels that llm/attention.h chooses there, by
// themselves, against softmax(Q K^T) V written out.

#ifndef KVP_TESTS_GPU_ATTENTION_PARITY_H_
#define KVP_TESTS_GPU_ATTENTION_PARITY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

// Attention of `tokens` queries over `past` entries and their own. Errors are ||a - b|| / ||b||.
struct AttentionResult {
  std::string dtype;
  int64_t tokens = 0;
  int64_t past = 0;
  int64_t window = 0;  // 0: none
  double tolerance = 0;
  double output_error = 0;
  // Of what the observer is told; -1 where it isn't told.
  double log_sum_exp_error = -1;

  bool ok() const { return output_error <= tolerance && log_sum_exp_error <= tolerance; }
};

// Prefills from the start and behind a past, single tokens, with a window and without, in fp32 and
// in bf16, with grouped query heads. Errors of the device.
absl::StatusOr<std::vector<AttentionResult>> CheckAttention(const std::string& device);

}  // namespace kvp

#endif  // KVP_TESTS_GPU_ATTENTION_PARITY_H_
