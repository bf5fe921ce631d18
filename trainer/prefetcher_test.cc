#include "trainer/prefetcher.h"

#include <thread>

#include "ATen/ATen.h"
#include "absl/time/clock.h"
#include "trainer/batch_order.h"
#include "trainer/communicator.h"
#include "trainer/synthetic_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kHeads = 4;

class PrefetcherTest : public testing::Test {
 protected:
  PrefetcherTest() {
    spec_.traces = 6;
    store_ = SyntheticStore(spec_);
    traces_ = TraceSet::List(*store_, "train", *alone_);
    order_ = std::make_unique<BatchOrder>(*traces_, 4, 1);
  }

  // Two groups, batch by batch.
  std::unique_ptr<Prefetcher> Make(TraceCache* cache, FetchThreads* threads, int64_t ahead_bytes,
                                   int64_t first = 0) {
    Prefetcher::Options options;
    options.ahead_bytes = ahead_bytes;
    return std::make_unique<Prefetcher>(
        store_.get(), &*traces_, std::vector<HeadRange>{{0, 2}, {2, 4}},
        [this](int64_t number) {
          return Portion{number % 2, order_->Batch(number / 2)};
        },
        first, cache, threads, options);
  }

  int64_t BytesOfAll() const {
    int64_t bytes = 0;
    for (int64_t i = 0; i < traces_->size(); ++i) {
      bytes += HeadGroupTensors::Bytes(traces_->trace(i), {0, kHeads}, spec_.head_dim);
    }
    return bytes;
  }

  SyntheticTraceSpec spec_;
  const std::unique_ptr<Communicator> alone_ = NewSingleCommunicator();
  std::unique_ptr<MemoryTraceReader> store_;
  absl::StatusOr<TraceSet> traces_ = absl::UnknownError("");
  std::unique_ptr<BatchOrder> order_;
};

// All that comes out, as one tensor for each number.
std::vector<at::Tensor> Contents(Prefetcher& prefetcher, int portions) {
  std::vector<at::Tensor> contents;
  for (int i = 0; i < portions; ++i) {
    const absl::StatusOr<LoadedPortion> loaded = prefetcher.Next();
    EXPECT_OK(loaded);
    std::vector<at::Tensor> parts = {at::full({1}, double(loaded->portion.group))};
    for (size_t context = 0; context < loaded->tensors.size(); ++context) {
      const ContextTensors tensors = loaded->Load(context, at::kCPU);
      parts.push_back(tensors.keys.flatten());
      parts.push_back(tensors.importance.flatten());
    }
    contents.push_back(at::cat(parts));
  }
  return contents;
}

TEST_F(PrefetcherTest, WhatComesDependsOnNeitherCacheNorThreadsNorWindow) {
  constexpr int kPortions = 14;
  std::vector<at::Tensor> expected;
  for (const int64_t cache_bytes : {int64_t{0}, BytesOfAll() / 3, BytesOfAll()}) {
    for (const int thread_count : {1, 3}) {
      for (const int64_t ahead_bytes : {int64_t{0}, BytesOfAll() / 2, int64_t{1} << 30}) {
        TraceCache cache(cache_bytes);
        FetchThreads threads(thread_count);
        const auto prefetcher = Make(&cache, &threads, ahead_bytes);
        const std::vector<at::Tensor> contents = Contents(*prefetcher, kPortions);
        if (expected.empty()) expected = contents;
        for (int i = 0; i < kPortions; ++i) EXPECT_TRUE(at::equal(contents[i], expected[i])) << i;
        EXPECT_LE(cache.bytes(), cache_bytes);
      }
    }
  }
}

TEST_F(PrefetcherTest, GoesOnInTheMiddle) {
  TraceCache cache(0);
  FetchThreads threads(2);
  const std::vector<at::Tensor> all = Contents(*Make(&cache, &threads, 1000), 10);
  const std::vector<at::Tensor> rest = Contents(*Make(&cache, &threads, 1000, 6), 4);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(at::equal(rest[i], all[6 + i]));
}

TEST_F(PrefetcherTest, LaterEpochsReadMemoryAlone) {
  TraceCache cache(BytesOfAll());
  FetchThreads threads(2);
  const auto prefetcher = Make(&cache, &threads, 1 << 20);
  // Three epochs of six traces: 4.5 batches, of two groups.
  Contents(*prefetcher, 10);
  EXPECT_EQ(store_->reads(), 6 * kHeads);
  EXPECT_EQ(cache.bytes(), BytesOfAll());
}

TEST_F(PrefetcherTest, WhatTheCacheHasNoRoomForIsReadAgainAndNothingElseIs) {
  // About half of it.
  TraceCache cache(BytesOfAll() / 2);
  FetchThreads threads(2);
  const auto prefetcher = Make(&cache, &threads, 0);
  Contents(*prefetcher, 3 * 2);  // two epochs
  const int64_t before = store_->reads();
  EXPECT_GT(cache.bytes(), 0);
  Contents(*prefetcher, 6 * 3 * 2);  // twelve more
  const double share = static_cast<double>(cache.bytes()) / static_cast<double>(BytesOfAll());
  const double reads_of_epoch = static_cast<double>(store_->reads() - before) / 12;
  EXPECT_NEAR(reads_of_epoch, 6 * kHeads * (1 - share), 4);
}

TEST_F(PrefetcherTest, ReadsAheadWhileNobodyAsks) {
  store_->set_delay(absl::Milliseconds(20));
  TraceCache cache(0);
  FetchThreads threads(4);
  const auto prefetcher = Make(&cache, &threads, 1 << 30);
  prefetcher->ReadAhead();
  // Of 64 portions, with 4 heads and 6 traces in the window: a few reads.
  absl::SleepFor(absl::Seconds(1));
  Contents(*prefetcher, 8);
  EXPECT_LT(prefetcher->waited(), absl::Milliseconds(200));
}

TEST_F(PrefetcherTest, TimeThatIsWaitedIsCounted) {
  store_->set_delay(absl::Milliseconds(100));
  TraceCache cache(0);
  FetchThreads threads(2);
  const auto prefetcher = Make(&cache, &threads, 0);
  Contents(*prefetcher, 1);
  EXPECT_GE(prefetcher->waited(), absl::Milliseconds(100));
}

TEST_F(PrefetcherTest, AFailedReadIsTheNextPortionsError) {
  TraceCache cache(0);
  FetchThreads threads(2);
  const auto prefetcher = Make(&cache, &threads, 0);
  ASSERT_OK(prefetcher->Next());
  store_->set_failing(true);
  absl::Status status;
  for (int i = 0; i < 3 && status.ok(); ++i) status = prefetcher->Next().status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the store is away")));
}

TEST_F(PrefetcherTest, LostBlocksAreCountedOnceAndLeaveTheirHeadOut) {
  std::vector<SyntheticTrace> traces = MakeSyntheticTraces(spec_);
  auto& blocks = traces[2].blocks;
  blocks.erase(std::remove_if(blocks.begin(), blocks.end(),
                              [](const HeadBlock& block) {
                                return block.key.head == HeadId{1, 0} && block.key.block == 1;
                              }),
               blocks.end());
  MemoryTraceReader damaged(traces);
  store_ = std::make_unique<MemoryTraceReader>(traces);
  TraceCache cache(0);
  FetchThreads threads(2);
  const auto prefetcher = Make(&cache, &threads, 1000);
  int64_t incomplete_contexts = 0;
  for (int i = 0; i < 12; ++i) {
    ASSERT_OK_AND_ASSIGN(const LoadedPortion loaded, prefetcher->Next());
    for (size_t context = 0; context < loaded.tensors.size(); ++context) {
      const at::Tensor whole = loaded.Load(context, at::kCPU).whole;
      const bool lost = loaded.portion.group == 1 && loaded.portion.contexts[context].trace == 2;
      EXPECT_EQ(whole[0].item<bool>(), !lost);
      EXPECT_TRUE(whole[1].item<bool>());
      incomplete_contexts += lost;
    }
  }
  EXPECT_EQ(incomplete_contexts, 4);
  EXPECT_EQ(prefetcher->incomplete(), 1);
}

TEST_F(PrefetcherTest, CanBeLeftWhileItReads) {
  store_->set_delay(absl::Milliseconds(30));
  TraceCache cache(0);
  FetchThreads threads(2);
  const auto prefetcher = Make(&cache, &threads, 1 << 30);
  ASSERT_OK(prefetcher->Next());
}

}  // namespace
}  // namespace kvp
