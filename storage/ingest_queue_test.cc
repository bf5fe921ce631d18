#include "storage/ingest_queue.h"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/test_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Keeps what the queue tells it.
class RecordingSource : public IngestSource {
 public:
  void OnApplied(uint64_t sequence, const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    applied_.push_back(sequence);
    statuses_.push_back(status);
  }
  void OnHeld(absl::StatusOr<HeldBlocks> held) override {
    absl::MutexLock lock(&mutex_);
    applied_.push_back(0);
    statuses_.push_back(held.status());
    if (held.ok()) held_ = *std::move(held);
  }
  void OnRoom() override {
    absl::MutexLock lock(&mutex_);
    ++rooms_;
  }

  void WaitForApplied(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&] { return applied_.size() >= count; };
    mutex_.Await(absl::Condition(&enough));
  }
  void WaitForRoom() {
    absl::MutexLock lock(&mutex_);
    const auto room = [&] { return rooms_ > 0; };
    mutex_.Await(absl::Condition(&room));
  }
  std::vector<uint64_t> applied() {
    absl::MutexLock lock(&mutex_);
    return applied_;
  }
  std::vector<absl::Status> statuses() {
    absl::MutexLock lock(&mutex_);
    return statuses_;
  }
  HeldBlocks held() {
    absl::MutexLock lock(&mutex_);
    return held_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<uint64_t> applied_;
  std::vector<absl::Status> statuses_;
  HeldBlocks held_;
  int rooms_ = 0;
};

class IngestQueueTest : public testing::Test {
 protected:
  void SetUp() override {
    Shard::Options options;
    options.dir = absl::StrCat(testing::TempDir(), "/",
                               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(options.dir);
    std::filesystem::create_directories(options.dir);
    absl::StatusOr<std::unique_ptr<Shard>> shard = Shard::Open(options);
    ASSERT_OK(shard);
    shard_ = *std::move(shard);
    ASSERT_OK(shard_->Hello(TestModel(), 0, 1));
  }

  IngestItem Item(std::unique_ptr<IngestRequest> request) {
    IngestItem item;
    item.source = source_;
    item.request = std::move(request);
    item.request->set_sequence(++sequence_);
    if (item.request->kind_case() == IngestRequest::kBlock) {
      item.block = ParseHeadBlock(item.request->block()).value();
    }
    return item;
  }
  IngestItem BlockItem(const HeadBlock& block) {
    auto request = std::make_unique<IngestRequest>();
    request->set_block(EncodeHeadBlock(block).value());
    return Item(std::move(request));
  }
  IngestItem CommitItem(uint32_t number, int32_t tokens, int32_t blocks) {
    auto request = std::make_unique<IngestRequest>();
    *request->mutable_commit() = TestRecord(number, tokens, "train");
    request->mutable_commit()->set_blocks(blocks);
    return Item(std::move(request));
  }

  std::unique_ptr<Shard> shard_;
  std::shared_ptr<RecordingSource> source_ = std::make_shared<RecordingSource>();
  uint64_t sequence_ = 0;
};

TEST_F(IngestQueueTest, AppliesInOrderAndCommitsAfterTheBlocks) {
  IngestQueue queue(shard_.get(), IngestQueue::Options());
  for (const uint32_t number : {1, 2}) {
    for (const HeadBlock& block : TestBlocks(number, 4, 4)) {
      EXPECT_TRUE(queue.Push(BlockItem(block)));
    }
    EXPECT_TRUE(queue.Push(CommitItem(number, 4, 6)));
  }
  source_->WaitForApplied(14);
  EXPECT_THAT(source_->applied(), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14));
  EXPECT_THAT(source_->statuses(), testing::Each(IsOk()));
  EXPECT_EQ(shard_->committed_traces(), 2);
}

TEST_F(IngestQueueTest, FullQueueAsksForAPauseAndGivesRoomAgain) {
  IngestQueue::Options options;
  options.capacity_bytes = 1;
  options.batch_bytes = 1;
  IngestQueue queue(shard_.get(), options);
  EXPECT_FALSE(queue.Push(BlockItem(TestBlocks(1, 4, 4)[0])));
  source_->WaitForRoom();
  source_->WaitForApplied(1);
}

TEST_F(IngestQueueTest, RefusalsComeBackForTheItemAlone) {
  IngestQueue queue(shard_.get(), IngestQueue::Options());
  queue.Push(BlockItem(TestBlocks(1, 8, 4)[0]));
  queue.Push(BlockItem(TestBlocks(1, 8, 8)[0]));
  queue.Push(CommitItem(1, 8, 12));
  queue.Push(BlockItem(TestBlocks(1, 8, 4)[1]));
  source_->WaitForApplied(4);
  const std::vector<absl::Status> statuses = source_->statuses();
  EXPECT_OK(statuses[0]);
  EXPECT_THAT(statuses[1], StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("already")));
  EXPECT_THAT(statuses[2],
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("tokens here")));
  EXPECT_OK(statuses[3]);
}

TEST_F(IngestQueueTest, AResumeIsAnsweredWithWhatCameBeforeIt) {
  IngestQueue queue(shard_.get(), IngestQueue::Options());
  const std::vector<HeadBlock> blocks = TestBlocks(1, 10, 4);
  // Head 0 whole; of head 1 blocks 0 and 2 only.
  for (const int i : {0, 1, 2, 3, 5}) queue.Push(BlockItem(blocks[i]));
  queue.Push(BlockItem(TestBlocks(2, 10, 4)[0]));
  auto request = std::make_unique<IngestRequest>();
  request->set_resume(TestRecord(1, 10, "train").trace_id());
  queue.Push(Item(std::move(request)));
  source_->WaitForApplied(7);
  EXPECT_THAT(source_->applied(), ElementsAre(1, 2, 3, 4, 5, 6, 0));
  const HeldBlocks held = source_->held();
  EXPECT_EQ(held.trace_id(), TestRecord(1, 10, "train").trace_id());
  ASSERT_EQ(held.heads_size(), 2);
  EXPECT_EQ(held.heads(0).layer(), 0);
  EXPECT_EQ(held.heads(0).kv_head(), 0);
  EXPECT_THAT(held.heads(0).tokens(), ElementsAre(4, 4, 2));
  EXPECT_EQ(held.heads(1).kv_head(), 1);
  EXPECT_THAT(held.heads(1).tokens(), ElementsAre(4));
  // What would make the message too large is left out.
  EXPECT_LT(shard_->Held(TestTraceId(1), 100)->heads_size(), 2);
}

TEST_F(IngestQueueTest, DestructionAppliesWhatIsQueued) {
  {
    IngestQueue queue(shard_.get(), IngestQueue::Options());
    for (const HeadBlock& block : TestBlocks(1, 40, 4)) queue.Push(BlockItem(block));
  }
  EXPECT_EQ(source_->applied().size(), 60u);
}

}  // namespace
}  // namespace kvp
