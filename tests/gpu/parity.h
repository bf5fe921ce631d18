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
// Where bf16 on the CPU is itself further from fp32, so many times that distance is allowed: each
// way to round is as good as another, but none may lose more.
constexpr double kRoundingFactor = 1.5;

// Distances from the CPU's fp32: ||a - b|| / ||b|| over all numbers of a sequence, of the worst
// sequence.
struct ParityErrors {
  double logits = 0;
  double keys = 0;
  double values = 0;
  double labels = 0;
  // Of K, V and labels as the collector stores them, in 16 bits, from the CPU's in the same dtype:
  // the worst trace of a batch with forced continuations and, in fp32, generated ones.
  double captured = 0;
  // The continuations of greedy decoding are the same.
  bool same_continuations = true;
};

struct ParityResult {
  std::string family;
  std::string dtype;
  double tolerance = 0;
  ParityErrors device;  // of the devices under test, in dtype
  ParityErrors cpu;     // of the CPU, in dtype

  // Continuations count in fp32 only, where there are no ties.
  bool ok() const;
};

// Writes the models to `directory` and runs prompts of different lengths in one batch and in small
// chunks on `devices`, in fp32 and in bf16; and each alone and in one piece on the CPU in fp32,
// which is what must come out. Errors of writing, loading and running.
absl::StatusOr<std::vector<ParityResult>> CheckParity(const std::string& directory,
                                                      const std::vector<std::string>& devices);

}  // namespace kvp

#endif  // KVP_TESTS_GPU_PARITY_H_
