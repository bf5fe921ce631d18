#include "llm/decoder_flags.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/command_line.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;

TEST(DecoderFlagsTest, DefaultsAreTheOptions) {
  const Decoder::Options options = DecoderOptionsFromFlags();
  EXPECT_EQ(options.devices, Decoder::Options().devices);
  EXPECT_EQ(options.dtype, Decoder::Options().dtype);
  EXPECT_EQ(options.max_model_len, 0);
}

TEST(DecoderFlagsTest, SetEveryOption) {
  ASSERT_OK(SetFlags({"--device", "cuda:1", "--dtype=bfloat16", "--max-model-len", "4096"}));
  Decoder::Options options = DecoderOptionsFromFlags();
  EXPECT_THAT(options.devices, ElementsAre("cuda:1"));
  EXPECT_EQ(options.dtype, "bfloat16");
  EXPECT_EQ(options.max_model_len, 4096);
  ASSERT_OK(SetFlags({"--devices", "cuda:0,cuda:1"}));
  EXPECT_THAT(DecoderOptionsFromFlags().devices, ElementsAre("cuda:0", "cuda:1"));
}

}  // namespace
}  // namespace kvp
