#include "trainer/checkpoint.h"

#include <filesystem>
#include <fstream>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "trainer/communicator.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::map<std::string, std::string> kSettings = {{"batch", "8"}, {"seed", "1"}};

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest()
      : dir_(absl::StrCat(testing::TempDir(), "/",
                          testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(dir_);
  }

  CheckpointFolder Folder(std::vector<HeadRange> groups = {{0, 4}, {4, 6}}) {
    return CheckpointFolder(dir_, std::move(groups), true, alone_.get());
  }

  static Checkpoint At(int64_t step) {
    Checkpoint checkpoint;
    checkpoint.step = step;
    checkpoint.settings = kSettings;
    checkpoint.run = {{"seconds", 1.5 * static_cast<double>(step)}};
    for (const HeadRange group : {HeadRange{0, 4}, HeadRange{4, 6}}) {
      checkpoint.groups[group.begin] = {
          {"parameters", at::full({group.size(), 3}, static_cast<double>(step + group.begin))},
          {"kept.steps", at::full({group.size()}, step, at::kLong)}};
    }
    return checkpoint;
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string Path(const std::string& file) const { return absl::StrCat(dir_, "/", file); }

  // Flips a bit of the file's middle byte.
  void Damage(const std::string& file) const {
    std::fstream stream(Path(file), std::ios::in | std::ios::out | std::ios::binary);
    const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(Path(file)) / 2);
    stream.seekg(middle);
    const int byte = stream.get();
    stream.seekp(middle);
    stream.put(static_cast<char>(byte ^ 4));
    ASSERT_TRUE(stream.good());
  }

  const std::unique_ptr<Communicator> alone_ = NewSingleCommunicator();
  const std::string dir_;
};

TEST_F(CheckpointTest, ComesBackAsItWasSavedForWhicheverGroupsARankHas) {
  CheckpointFolder folder = Folder();
  ASSERT_OK(folder.Begin(true));
  EXPECT_EQ(folder.Load(kSettings).value(), std::nullopt);
  ASSERT_OK(folder.Save(At(20)));
  // Another number of ranks.
  CheckpointFolder second = Folder({{4, 6}});
  ASSERT_OK(second.Begin(true));
  ASSERT_OK_AND_ASSIGN(const std::optional<Checkpoint> loaded, second.Load(kSettings));
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->step, 20);
  EXPECT_EQ(loaded->settings, kSettings);
  EXPECT_EQ(loaded->run.at("seconds"), 30);
  ASSERT_EQ(loaded->groups.size(), 1u);
  const NamedTensors expected = At(20).groups.at(4);
  ASSERT_EQ(loaded->groups.at(4).size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    EXPECT_TRUE(at::equal(loaded->groups.at(4).at(name), tensor));
    EXPECT_EQ(loaded->groups.at(4).at(name).scalar_type(), tensor.scalar_type());
  }
}

TEST_F(CheckpointTest, TheLastTwoAreKept) {
  CheckpointFolder folder = Folder();
  ASSERT_OK(folder.Begin(false));
  for (const int64_t step : {5, 900, 1000}) ASSERT_OK(folder.Save(At(step)));
  EXPECT_THAT(Names(), ElementsAre("step-000000000900", "step-000000001000"));
  ASSERT_OK_AND_ASSIGN(const std::optional<Checkpoint> loaded, folder.Load(kSettings));
  EXPECT_EQ(loaded->step, 1000);
}

TEST_F(CheckpointTest, AnyDamageToTheNewestIsSeenAndTheOneBeforeIsTaken) {
  for (const char* file :
       {"manifest.json", "heads-00000-00004.safetensors", "heads-00004-00006.safetensors"}) {
    for (const bool removed : {false, true}) {
      std::filesystem::remove_all(dir_);
      CheckpointFolder folder = Folder();
      ASSERT_OK(folder.Begin(false));
      ASSERT_OK(folder.Save(At(10)));
      ASSERT_OK(folder.Save(At(20)));
      const std::string path = absl::StrCat("step-000000000020/", file);
      if (removed) {
        std::filesystem::remove(Path(path));
      } else {
        Damage(path);
      }
      ASSERT_OK(folder.Begin(true));
      ASSERT_OK_AND_ASSIGN(const std::optional<Checkpoint> loaded, folder.Load(kSettings));
      EXPECT_EQ(loaded->step, 10) << path << (removed ? " removed" : " damaged");
      // The damaged one is gone, so that the next ones don't push out the good one.
      EXPECT_THAT(Names(), ElementsAre("step-000000000010"));
    }
  }
}

TEST_F(CheckpointTest, WithoutAWholeOneNothingBegins) {
  CheckpointFolder folder = Folder();
  ASSERT_OK(folder.Begin(false));
  ASSERT_OK(folder.Save(At(10)));
  Damage("step-000000000010/heads-00000-00004.safetensors");
  EXPECT_THAT(folder.Load(kSettings).status(),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr(dir_), HasSubstr("heads-00000-00004"))));
}

TEST_F(CheckpointTest, WhatAKilledRunWasWritingIsNoCheckpoint) {
  std::filesystem::create_directories(Path("step-000000000030.unfinished"));
  ASSERT_OK(WriteFileAtomically(Path("step-000000000030.unfinished/manifest.json"), {"{"}));
  CheckpointFolder folder = Folder();
  ASSERT_OK(folder.Begin(true));
  EXPECT_EQ(folder.Load(kSettings).value(), std::nullopt);
  EXPECT_THAT(Names(), ElementsAre());
}

TEST_F(CheckpointTest, OtherSettingsAreRefusedByField) {
  CheckpointFolder folder = Folder();
  ASSERT_OK(folder.Begin(false));
  ASSERT_OK(folder.Save(At(10)));
  ASSERT_OK(folder.Save(At(20)));
  std::map<std::string, std::string> settings = kSettings;
  settings["batch"] = "4";
  EXPECT_THAT(folder.Load(settings).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("step-000000000020"),
                             HasSubstr("batch is \"8\" there, and \"4\" here"))));
  settings = kSettings;
  settings["width"] = "64";
  EXPECT_THAT(folder.Load(settings).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("width is unset there, and \"64\" here")));
  // Neither is touched.
  EXPECT_EQ(folder.Load(kSettings).value()->step, 20);
}

TEST_F(CheckpointTest, CheckpointsOfAnotherRunAreNotOverwritten) {
  CheckpointFolder folder = Folder();
  ASSERT_OK(folder.Begin(false));
  ASSERT_OK(folder.Save(At(10)));
  EXPECT_THAT(folder.Begin(false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("step-000000000010"), HasSubstr("--resume"))));
}

TEST_F(CheckpointTest, AnotherFormatVersionIsRefused) {
  CheckpointFolder folder = Folder();
  ASSERT_OK(folder.Begin(false));
  ASSERT_OK(folder.Save(At(10)));
  // As a later program would write it, checksum included.
  const std::string manifest = Path("step-000000000010/manifest.json");
  ASSERT_OK(WriteFileAtomically(
      manifest, {"{\"content\":{\"format_version\":2},\"sha256\":\""
                 "01656518fbdc75569e8ad75e741ba0c36d6a05a7a48519753d1a47518a37f01d\"}"}));
  EXPECT_THAT(folder.Load(kSettings).status(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                        HasSubstr("format_version is 2, not 1")));
}

TEST_F(CheckpointTest, AFolderThatCannotBeWrittenIsNamed) {
  CheckpointFolder folder("/proc/nowhere", {{0, 4}}, true, alone_.get());
  EXPECT_THAT(folder.Begin(false).message(), HasSubstr("/proc/nowhere"));
}

}  // namespace
}  // namespace kvp
