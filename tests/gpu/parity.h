// Whether a device computes what the CPU computes: small random models of every family, whole and
// in batches.

#ifndef KVP_TESTS_GPU_PARITY_H_
#define KVP_TESTS_GPU_PARITY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

// Largest allowed norm of a difference, relative to the norm of what is right.
constexpr double kFloatTolerance = 1e-4;
constexpr double kHalfTolerance = 1e-2;

// A device and dtype held against the CPU. Errors are ||a - b|| / ||b|| over all numbers of a
// sequence, of the worst sequence.
struct ParityResult {
  std::string family;
  std::string dtype;
  double tolerance = 0;
  double logits_error = 0;
  double keys_error = 0;
  double values_error = 0;
  double labels_error = 0;
  // The continuations of greedy decoding are the same; asked for in fp32 only, where there are no
  // ties.
  bool same_continuations = false;

  bool ok() const;
};

// Writes the models to `directory` and runs prompts of different lengths in one batch on `devices`,
// in fp32 and in bf16; and each alone on the CPU in the same dtype, which is what must come out:
// the numbers of a tiny model's bf16 are further from those of its fp32 than the tolerance. Errors
// of writing, loading and running.
absl::StatusOr<std::vector<ParityResult>> CheckParity(const std::string& directory,
                                                      const std::vector<std::string>& devices);

}  // namespace kvp

#endif  // KVP_TESTS_GPU_PARITY_H_
