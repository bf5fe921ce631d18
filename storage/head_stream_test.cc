#include "storage/head_stream.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/channel.h"
#include "storage/test_cluster.h"
#include "storage/test_traces.h"
#include "storage/trace_order.h"
#include "storage/trace_writer.h"
#include "util/status_macros.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kTraces = 6;
// Blocks of 147 KB: a head of all traces is several responses.
constexpr int32_t kTokens = 4 * 4096;

class HeadStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<TestCluster>> cluster = TestCluster::Start(1);
    ASSERT_OK(cluster);
    cluster_ = *std::move(cluster);
    TraceWriter::Options options;
    options.shards = cluster_->addresses();
    options.model = TestModel();
    ASSERT_OK_AND_ASSIGN(const auto writer, TraceWriter::Connect(options));
    for (uint32_t number = 1; number <= kTraces; ++number) {
      ASSERT_OK(WriteTestTrace(*writer, number, kTokens, 4096, "train"));
    }
  }

  HeadStream::Options Options() {
    HeadStream::Options options;
    options.address = cluster_->addresses()[0];
    options.channel = MakeChannel(options.address, {}).value();
    options.request.set_layer(1);
    options.ahead_bytes = 1;
    options.deadline = absl::Seconds(30);
    return options;
  }

  // The blocks that a stream gives while the shard is restarted after each response.
  absl::StatusOr<std::vector<std::string>> ReadWithRestarts(HeadStream::Options options,
                                                            size_t expected) {
    HeadStream stream(std::move(options));
    std::vector<std::string> seen;
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<ReadHeadResponse> response, stream.Next());
      if (!response.has_value()) return seen;
      EXPECT_EQ(response->blocks_size(), response->positions_size());
      for (const std::string& encoded : response->blocks()) {
        ASSIGN_OR_RETURN(const HeadBlockView block, ParseHeadBlock(encoded));
        seen.push_back(HeadBlockKeyText(block.key));
      }
      if (seen.size() < expected) RETURN_IF_ERROR(cluster_->Restart(0));
    }
  }

  std::unique_ptr<TestCluster> cluster_;
};

TEST_F(HeadStreamTest, GoesOnAfterTheLastBlockWhenTheShardComesBack) {
  // By id, and shuffled.
  for (const uint64_t seed : {0, 1, 2, 3}) {
    const TraceOrder order(seed);
    std::vector<TraceId> ids;
    for (uint32_t number = 1; number <= kTraces; ++number) ids.push_back(TestTraceId(number));
    std::sort(ids.begin(), ids.end(),
              [&order](const TraceId& a, const TraceId& b) { return order.Before(a, b); });
    std::vector<std::string> expected;
    for (const TraceId& id : ids) {
      for (int block = 0; block < 4; ++block) {
        expected.push_back(HeadBlockKeyText(HeadBlockKey{{1, 0}, id, block}));
      }
    }

    HeadStream::Options options = Options();
    options.request.set_order_seed(seed);
    ASSERT_OK_AND_ASSIGN(const std::vector<std::string> seen,
                         ReadWithRestarts(std::move(options), expected.size()));
    EXPECT_EQ(seen, expected) << "seed " << seed;
  }
}

TEST_F(HeadStreamTest, GoesOnThroughNamedTracesWhenTheShardComesBack) {
  HeadStream::Options options = Options();
  std::vector<std::string> expected;
  for (uint32_t i = 0; i < kTraces; ++i) {
    // Neither by id nor the other way round.
    const TraceId id = TestTraceId((i * 5 + 3) % kTraces + 1);
    options.request.add_trace_ids(std::string(id.begin(), id.end()));
    for (int block = 0; block < 4; ++block) {
      expected.push_back(HeadBlockKeyText(HeadBlockKey{{1, 0}, id, block}));
    }
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> seen,
                       ReadWithRestarts(std::move(options), expected.size()));
  EXPECT_EQ(seen, expected);
}

TEST_F(HeadStreamTest, ShardThatStaysAwayIsAnErrorWithItsAddress) {
  HeadStream::Options options = Options();
  options.deadline = absl::Seconds(1);
  HeadStream stream(std::move(options));
  ASSERT_OK(stream.Next());
  cluster_->Stop(0);
  const absl::Time begin = absl::Now();
  while (true) {
    const absl::StatusOr<std::optional<ReadHeadResponse>> response = stream.Next();
    if (response.ok()) {
      ASSERT_TRUE(response->has_value()) << "the read seemed complete";
      continue;
    }
    EXPECT_THAT(response,
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr(cluster_->addresses()[0])));
    break;
  }
  EXPECT_LT(absl::Now() - begin, absl::Seconds(8));
}

TEST_F(HeadStreamTest, CanBeLeftInTheMiddle) {
  HeadStream stream(Options());
  ASSERT_OK(stream.Next());
}

}  // namespace
}  // namespace kvp
