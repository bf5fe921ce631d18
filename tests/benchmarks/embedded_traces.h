// Traces of the embedded model, for measurements of training.

#ifndef KVP_TESTS_BENCHMARKS_EMBEDDED_TRACES_H_
#define KVP_TESTS_BENCHMARKS_EMBEDDED_TRACES_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/benchmarks/store.h"

namespace kvp {

// A file of the build, from the workspace or from beside the running binary. NOT_FOUND.
absl::StatusOr<std::string> BuiltFile(const std::string& path);

struct EmbeddedTraces {
  // Contexts of the training and the held-out split (different prompts of different texts), and
  // their tokens.
  int64_t train = 64;
  int64_t train_tokens = 240;
  int64_t held_out = 16;
  int64_t held_out_tokens = 240;
  uint64_t seed = 1;
};

// Runs the embedded model over retrieval prompts (the embedded job's kind: 28 needles and 8
// questions in 960 tokens, in proportion in shorter ones) into a fresh store. Contexts beyond the
// 1,024 tokens that the model was trained on run with its rotary encoding as it is, which has no
// end.
absl::StatusOr<std::unique_ptr<BenchStore>> CollectEmbeddedTraces(const EmbeddedTraces& traces);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_EMBEDDED_TRACES_H_
