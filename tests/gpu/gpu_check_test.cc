#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/decoder.h"
#include "llm/model_config.h"
#include "tests/gpu/attention_parity.h"
#include "tests/gpu/llama_8b.h"
#include "tests/gpu/parity.h"
#include "tests/gpu/prefill.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

TEST(ParityTest, TwoDevicesOfKindCpuComputeInABatchWhatOneComputesAlone) {
  const auto results = CheckParity(testing::TempDir() + "/parity", {"cpu", "cpu"});
  ASSERT_OK(results);
  EXPECT_FALSE(results->empty());
  for (const ParityResult& result : *results) {
    EXPECT_TRUE(result.ok()) << result.family << " " << result.dtype << ": logits "
                             << result.device.logits << ", K " << result.device.keys << ", V "
                             << result.device.values << ", labels " << result.device.labels
                             << ", captured " << result.device.captured;
  }
}

TEST(ParityTest, ACapturedTraceThatIsNotTheCpusIsWrong) {
  ParityResult result;
  result.dtype = "float32";
  result.tolerance = 1e-4;
  result.device.captured = 9e-3;
  EXPECT_TRUE(result.ok());
  result.device.captured = 2e-2;
  EXPECT_FALSE(result.ok());
  // Two of bf16's roundings lie between them.
  result.dtype = "bfloat16";
  result.cpu.values = 1e-2;
  EXPECT_TRUE(result.ok());
  result.device.captured = 3e-2;
  EXPECT_FALSE(result.ok());
}

TEST(ParityTest, EachErrorAboveToleranceAndRoundingIsWrong) {
  ParityResult right;
  right.dtype = "bfloat16";
  right.tolerance = 1e-2;
  EXPECT_TRUE(right.ok());
  for (double ParityErrors::*error :
       {&ParityErrors::logits, &ParityErrors::keys, &ParityErrors::values, &ParityErrors::labels}) {
    ParityResult result = right;
    result.device.*error = 2e-2;
    EXPECT_FALSE(result.ok());
    result.cpu.*error = 1.9e-2;
    EXPECT_TRUE(result.ok());
    result.device.*error = 3e-2;
    EXPECT_FALSE(result.ok());
    result.device.*error = HUGE_VAL;
    EXPECT_FALSE(result.ok());
  }
}

TEST(ParityTest, OtherContinuationsAreWrongInFloatOnly) {
  ParityResult result;
  result.tolerance = 1e-4;
  result.device.same_continuations = false;
  result.dtype = "bfloat16";
  EXPECT_TRUE(result.ok());
  result.dtype = "float32";
  EXPECT_FALSE(result.ok());
}

TEST(AttentionParityTest, TheCpuAgreesWithPlainAttention) {
  const auto results = CheckAttention("cpu");
  ASSERT_OK(results);
  EXPECT_FALSE(results->empty());
  for (const AttentionResult& result : *results) {
    EXPECT_TRUE(result.ok()) << result.tokens << " tokens after " << result.past << ", window "
                             << result.window << ", " << result.dtype << ": "
                             << result.output_error;
  }
}

TEST(AttentionParityTest, EachErrorAboveTheToleranceIsWrong) {
  AttentionResult result;
  result.tolerance = 1e-2;
  EXPECT_TRUE(result.ok());
  result.log_sum_exp_error = 2e-2;
  EXPECT_FALSE(result.ok());
  result.log_sum_exp_error = -1;
  result.output_error = 2e-2;
  EXPECT_FALSE(result.ok());
}

TEST(PrefillTest, ATinyModelIsTimedWithAndWithoutCapture) {
  const std::string model = testing::TempDir() + "/prefill";
  ASSERT_OK(WriteRandomLlama(model, TinyLlamaGeometry()));
  PrefillOptions options;
  options.model = model;
  options.devices = {"cpu"};
  options.dtype = "float32";
  options.lengths = {256, 384};
  options.repeats = 1;
  const auto results = MeasurePrefill(options);
  ASSERT_OK(results);
  ASSERT_EQ(results->size(), 2u);
  EXPECT_EQ((*results)[1].tokens, 384);
  EXPECT_DOUBLE_EQ((*results)[1].tokens_per_second, 384 / (*results)[1].seconds);
  EXPECT_GT((*results)[1].task_capture_ratio, 0);
  EXPECT_GT((*results)[1].dialogue_capture_ratio, 0);
  EXPECT_EQ((*results)[1].peak_bytes, -1);

  options.lengths = {255};
  EXPECT_THAT(MeasurePrefill(options).status().message(), HasSubstr("length 255 is below 256"));
}

TEST(RandomLlamaTest, HasTheSizesOfLlama31) {
  const std::string model = testing::TempDir() + "/sizes";
  LlamaGeometry geometry;
  // Two files' worth of layers, narrow ones.
  geometry.num_hidden_layers = 9;
  geometry.vocab_size = 512;
  geometry.hidden_size = 64;
  geometry.intermediate_size = 96;
  ASSERT_OK(WriteRandomLlama(model, geometry));
  const auto decoder = Decoder::Load(model, {});
  ASSERT_OK(decoder);
  const ModelConfig& config = (*decoder)->config();
  EXPECT_EQ(config.layers, 9);
  EXPECT_EQ(config.query_heads, 32);
  EXPECT_EQ(config.kv_heads, 8);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_GE((*decoder)->max_model_len(), 32768);
}

}  // namespace
}  // namespace kvp
