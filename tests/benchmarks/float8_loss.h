// What K and V in float8 cost the agents.

#ifndef KVP_TESTS_BENCHMARKS_FLOAT8_LOSS_H_
#define KVP_TESTS_BENCHMARKS_FLOAT8_LOSS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "collector/prompt_source.h"
#include "llm/decoder.h"
#include "proto/trace.pb.h"

namespace kvp {

struct Float8Loss {
  // Mean over the heads of the cost on held-out traces, each in the dtype that was trained on.
  double bf16_cost = 0;
  double float8_cost = 0;
  // As sent.
  double bf16_bytes_per_token_head = 0;
  double float8_bytes_per_token_head = 0;
};

// Trains small agents twice, from the same seed, on traces of the same prompts: in bf16 and in
// float8.
absl::StatusOr<Float8Loss> MeasureFloat8Loss(const Decoder& decoder, const ModelInfo& model,
                                             const PromptSource& train,
                                             const PromptSource& held_out, int64_t steps);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_FLOAT8_LOSS_H_
