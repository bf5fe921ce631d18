#include "tests/benchmarks/steady_decode.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "util/math_threads.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr int64_t kBudget = 512;
constexpr int64_t kTokens = 20000;

TEST(SteadyDecodeTest, TwentyThousandTokensTakeConstantMemoryAndTime) {
  SetMathThreads(1);
  Decoder::Options options;
  options.max_model_len = kTokens;
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load("llm/embedded/model", options));
  const std::string agents = testing::TempDir() + "/agents.safetensors";
  ASSERT_OK(SaveUntrainedAgents(*decoder, agents));
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("kvp", {agents, ""}));
  ASSERT_OK_AND_ASSIGN(const std::vector<DecodeSegment> segments,
                       MeasureSteadyDecode(*decoder, *policy, kBudget, kTokens, 10));
  ASSERT_EQ(segments.size(), 10);
  const DecodeSegment& first = segments.front();
  double fastest = first.cpu_ms_per_token;
  for (const DecodeSegment& segment : segments) {
    EXPECT_EQ(segment.cache_bytes, first.cache_bytes);
    EXPECT_NEAR(
        static_cast<double>(segment.resident_bytes) / static_cast<double>(first.resident_bytes), 1,
        0.02);
    fastest = std::min(fastest, segment.cpu_ms_per_token);
  }
  // Medians of 1,900 tokens; caches that others on the machine fill make the rest of the
  // difference.
  EXPECT_LT(segments.back().cpu_ms_per_token, 1.5 * fastest);
}

TEST(SteadyDecodeTest, TooFewTokensAreRefused) {
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load("llm/embedded/model", {}));
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("k_norm"));
  EXPECT_THAT(MeasureSteadyDecode(*decoder, *policy, 64, 130, 3),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("130 tokens")));
}

}  // namespace
}  // namespace kvp
