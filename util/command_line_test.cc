#include "util/command_line.h"

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

ABSL_FLAG(std::string, model_path, "", "A path.");
ABSL_FLAG(int32_t, count, 3, "A number.");
ABSL_FLAG(bool, verbose, false, "A switch.");

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SetFlagsTest, TakesDashesUnderscoresAndBothWaysOfGivingAValue) {
  ASSERT_OK_AND_ASSIGN(auto positional,
                       SetFlags({"--model-path", "a/b", "first", "--count=5", "--verbose"}));
  EXPECT_THAT(positional, ElementsAre("first"));
  EXPECT_EQ(absl::GetFlag(FLAGS_model_path), "a/b");
  EXPECT_EQ(absl::GetFlag(FLAGS_count), 5);
  EXPECT_TRUE(absl::GetFlag(FLAGS_verbose));
  ASSERT_OK(SetFlags({"--model_path=c", "--noverbose"}));
  EXPECT_EQ(absl::GetFlag(FLAGS_model_path), "c");
  EXPECT_FALSE(absl::GetFlag(FLAGS_verbose));
}

TEST(SetFlagsTest, TwoDashesEndTheFlags) {
  EXPECT_THAT(*SetFlags({"a", "--", "--count", "-x"}), ElementsAre("a", "--count", "-x"));
}

TEST(SetFlagsTest, NamesTheFlagAndTheValueThatAreWrong) {
  EXPECT_THAT(SetFlags({"--cuont=5"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--cuont")));
  EXPECT_THAT(SetFlags({"--count=many"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--count: value \"many\"")));
  EXPECT_THAT(SetFlags({"--count"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--count needs a value")));
}

TEST(FlagsTest, AFlagThatDoesNotApplyIsNamed) {
  const absl::FlagSaver saver;
  ASSERT_OK(SetFlags({"--model-path=", "--count=3", "--noverbose"}));
  EXPECT_FALSE(IsFlagSet("count"));
  EXPECT_EQ(MisplacedFlag({"model_path", "count"}, "to x"), "");
  ASSERT_OK(SetFlags({"--model-path", "a"}));
  EXPECT_TRUE(IsFlagSet("model-path"));
  EXPECT_EQ(MisplacedFlag({"count", "model_path"}, "to x"), "flag --model-path doesn't apply to x");
}

TEST(FlagsTest, AFieldIsSpelledAsItsFlagIs) {
  EXPECT_EQ(FlagMessage("model_path is empty"), "flag --model-path is empty");
  EXPECT_EQ(FlagMessage("count=0: too few"), "flag --count=0: too few");
  EXPECT_EQ(FlagMessage("other_field is 0"), "other_field is 0");
}

TEST(OutputPathsTest, AreCheckedWithoutWriting) {
  const std::string folder = testing::TempDir();
  EXPECT_OK(CheckOutputPaths({"", folder + "/new.json", "beside.json"}));
  EXPECT_FALSE(std::filesystem::exists(folder + "/new.json"));
  EXPECT_THAT(CheckOutputPaths({folder + "/new.json", "/nowhere/x.json"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.json: its folder")));
  EXPECT_THAT(CheckOutputPaths({folder}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a folder")));
}

TEST(ExitStatusTest, TellsDoneFromFailed) {
  EXPECT_EQ(ExitStatus(absl::OkStatus()), 0);
  EXPECT_EQ(ExitStatus(absl::InternalError("x")), kExitFailed);
  EXPECT_EQ(UsageError("x"), kExitUsage);
}

}  // namespace
}  // namespace kvp
