// Decoding for a long time within a fixed budget: what a token takes, and what memory there is.

#ifndef KVP_TESTS_BENCHMARKS_STEADY_DECODE_H_
#define KVP_TESTS_BENCHMARKS_STEADY_DECODE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/decoder.h"
#include "policy/policy.h"

namespace kvp {

// One of the equal parts into which the tokens behind the budget are taken apart.
struct DecodeSegment {
  double ms_per_token = 0;  // median over the segment's tokens
  // The same of the process's CPU time, which doesn't grow with what else runs on the machine.
  double cpu_ms_per_token = 0;
  int64_t resident_bytes = 0;  // of the process, at its end
  int64_t cache_bytes = 0;     // at its end, room for more entries included
};

// Generates `tokens` tokens one by one from one token on, each the likeliest but for a random one
// every 16 so that the text doesn't repeat itself; entries beyond `budget_tokens` leave by
// `policy`. Returns `segments` segments of what came after the budget was reached and a warm-up of
// as many tokens. INVALID_ARGUMENT where the tokens don't suffice; errors of the decoder and of
// FixedBudget.
absl::StatusOr<std::vector<DecodeSegment>> MeasureSteadyDecode(const Decoder& decoder,
                                                               const Policy& policy,
                                                               int64_t budget_tokens,
                                                               int64_t tokens, int64_t segments);

// Writes agents for `decoder` that nobody trained: scoring with them is the work of trained ones.
absl::Status SaveUntrainedAgents(const Decoder& decoder, const std::string& path);

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_STEADY_DECODE_H_
