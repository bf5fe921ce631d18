#include "storage/commit_list.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "storage/test_traces.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CommitListTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = absl::StrCat(testing::TempDir(), "/",
                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }

  // What a list that is opened anew says.
  CommitList::Contents Read() {
    const auto contents = CommitList(rocksdb::Env::Default(), dir_).Read();
    EXPECT_OK(contents);
    EXPECT_TRUE(contents->has_value());
    return **contents;
  }

  void Overwrite(const std::string& bytes) {
    ASSERT_OK(WriteFileAtomically(dir_ + "/commits", {bytes}));
  }

  std::string dir_;
};

TEST_F(CommitListTest, HoldsWhatWasPutAndAppended) {
  CommitList list(rocksdb::Env::Default(), dir_);
  ASSERT_OK_AND_ASSIGN(const auto none, list.Read());
  EXPECT_FALSE(none.has_value());
  EXPECT_THAT(list.Append({TestTraceId(1)}),
              StatusIs(absl::StatusCode::kFailedPrecondition, testing::HasSubstr("commits")));
  ASSERT_OK(list.Replace({}));
  EXPECT_THAT(Read().ids, IsEmpty());
  ASSERT_OK(list.Append({TestTraceId(3), TestTraceId(1)}));
  ASSERT_OK(list.Append({TestTraceId(2)}));
  EXPECT_THAT(Read().ids, ElementsAre(TestTraceId(3), TestTraceId(1), TestTraceId(2)));
  ASSERT_OK(list.Replace({TestTraceId(7)}));
  ASSERT_OK(list.Append({TestTraceId(8)}));
  EXPECT_THAT(Read().ids, ElementsAre(TestTraceId(7), TestTraceId(8)));
  EXPECT_EQ(Read().damaged, 0);
}

TEST_F(CommitListTest, FileIsAsDocumented) {
  CommitList list(rocksdb::Env::Default(), dir_);
  TraceId id;
  for (size_t i = 0; i < id.size(); ++i) id[i] = static_cast<uint8_t>(i);
  ASSERT_OK(list.Replace({id}));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(dir_ + "/commits"));
  // The checksum, 0xd9c908eb, is of a bit-by-bit CRC32C of bytes 0 … 15.
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "4b56504301000000"
            "000102030405060708090a0b0c0d0e0f"
            "eb08c9d9");
}

TEST_F(CommitListTest, ACutEndIsLeftOutAndDamageCostsItsEntryAlone) {
  CommitList list(rocksdb::Env::Default(), dir_);
  ASSERT_OK(list.Replace({TestTraceId(1), TestTraceId(2), TestTraceId(3)}));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(dir_ + "/commits"));
  for (size_t size = bytes.size() - 19; size < bytes.size(); ++size) {
    Overwrite(bytes.substr(0, size));
    EXPECT_THAT(Read().ids, ElementsAre(TestTraceId(1), TestTraceId(2)));
    EXPECT_EQ(Read().damaged, 0);
  }
  for (size_t offset = 28; offset < 48; ++offset) {
    std::string damaged = bytes;
    damaged[offset] = static_cast<char>(damaged[offset] ^ 16);
    Overwrite(damaged);
    EXPECT_THAT(Read().ids, ElementsAre(TestTraceId(1), TestTraceId(3)));
    EXPECT_EQ(Read().damaged, 1);
  }
  std::string damaged = bytes;
  damaged[4] = 2;
  Overwrite(damaged);
  EXPECT_THAT(Read().ids, IsEmpty());
  EXPECT_EQ(Read().damaged, 1);
}

}  // namespace
}  // namespace kvp
