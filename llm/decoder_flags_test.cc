#include "llm/decoder_flags.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/command_line.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

TEST(DecoderFlagsTest, AValueThatNoModelTakesIsNamedWithItsFlag) {
  const auto problem = [](const std::vector<std::string>& flags) {
    EXPECT_OK(SetFlags({"--device=cpu", "--devices=", "--dtype=float32", "--max-model-len=0"}));
    EXPECT_EQ(DecoderUsageProblem(), "");
    EXPECT_OK(SetFlags(flags));
    return DecoderUsageProblem();
  };
  EXPECT_THAT(problem({"--dtype=int4"}), AllOf(HasSubstr("--dtype"), HasSubstr("\"int4\"")));
  EXPECT_THAT(problem({"--device=gpu"}), AllOf(HasSubstr("--device:"), HasSubstr("\"gpu\"")));
  EXPECT_THAT(problem({"--device=meta"}), HasSubstr("\"meta\""));
  EXPECT_THAT(problem({"--devices=cpu,tpu"}), AllOf(HasSubstr("--devices:"), HasSubstr("\"tpu\"")));
  EXPECT_THAT(problem({"--max-model-len=-1"}),
              AllOf(HasSubstr("--max-model-len"), HasSubstr("\"-1\"")));
}

}  // namespace
}  // namespace kvp
