// Blocks and commits that come twice, out of order, over several streams at once, and from streams
// that break off: what a network with retries makes of a collector's messages.

#include <algorithm>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/ingest.grpc.pb.h"
#include "storage/channel.h"
#include "storage/grpc_status.h"
#include "storage/test_cluster.h"
#include "storage/test_traces.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/shard_process.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

class SendsTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<TestCluster>> cluster = TestCluster::Start(1);
    ASSERT_OK(cluster);
    cluster_ = *std::move(cluster);
    channel_ = MakeChannel(cluster_->addresses()[0], {}).value();
    stub_ = TraceIngestion::NewStub(channel_);
  }

  static IngestRequest Hello() {
    IngestRequest request;
    request.mutable_hello()->set_protocol_version(kIngestProtocolVersion);
    *request.mutable_hello()->mutable_model() = TestModel();
    request.mutable_hello()->set_shard_count(1);
    return request;
  }

  static std::vector<IngestRequest> Blocks(uint32_t number) {
    std::vector<IngestRequest> requests;
    for (const HeadBlock& block : FaultBlocks(number)) {
      requests.emplace_back().set_block(EncodeHeadBlock(block).value());
    }
    return requests;
  }

  static IngestRequest Commit(uint32_t number) {
    IngestRequest request;
    *request.mutable_commit() = FaultRecord(number);
    request.mutable_commit()->set_blocks(static_cast<int32_t>(FaultBlocks(number).size()));
    return request;
  }

  // Some of them twice, in any order.
  std::vector<IngestRequest> Scrambled(std::vector<IngestRequest> requests) {
    const size_t size = requests.size();
    for (size_t i = 0; i < size; ++i) {
      if (random_() % 2 == 0) requests.push_back(requests[i]);
    }
    std::shuffle(requests.begin(), requests.end(), random_);
    return requests;
  }

  std::vector<IngestRequest> Numbered(std::vector<IngestRequest> requests) {
    uint64_t sequence = 1 + random_() % 1000;
    for (IngestRequest& request : requests) request.set_sequence(sequence++);
    return requests;
  }

  // How a stream of a hello and these ends.
  absl::Status Converse(const std::vector<IngestRequest>& requests) {
    return ConverseAsNumbered(Numbered(requests));
  }

  absl::Status ConverseAsNumbered(const std::vector<IngestRequest>& requests) {
    grpc::ClientContext context;
    const auto stream = stub_->Ingest(&context);
    bool open = stream->Write(Hello());
    for (size_t i = 0; open && i < requests.size(); ++i) open = stream->Write(requests[i]);
    stream->WritesDone();
    IngestResponse response;
    uint64_t acknowledged = 0;
    while (stream->Read(&response)) {
      if (!response.has_hello()) acknowledged = response.acknowledged();
    }
    const absl::Status status = FromGrpc(stream->Finish(), "ingest");
    if (status.ok()) {
      EXPECT_EQ(acknowledged, requests.back().sequence());
    }
    return status;
  }

  // A stream that breaks off somewhere.
  void BreakOff(const std::vector<IngestRequest>& requests) {
    grpc::ClientContext context;
    const auto stream = stub_->Ingest(&context);
    stream->Write(Hello());
    const size_t sent = random_() % requests.size();
    for (size_t i = 0; i < sent; ++i) {
      IngestRequest request = requests[i];
      request.set_sequence(i + 1);
      stream->Write(request);
    }
    context.TryCancel();
    IngestResponse response;
    while (stream->Read(&response)) {
    }
    stream->Finish();
  }

  void ExpectCommit(uint32_t number) {
    ledger_.Begin(number);
    EXPECT_OK(Converse({Commit(number), Commit(number)}));
    ledger_.Acknowledge(number);
  }

  std::unique_ptr<TestCluster> cluster_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<TraceIngestion::Stub> stub_;
  Ledger ledger_;
  std::mt19937 random_{13};
};

TEST_F(SendsTest, DuplicatesAndAnyOrderMakeEachTraceOnce) {
  Findings findings;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    const uint32_t number = trial + 1;
    SCOPED_TRACE(absl::StrCat("trial ", trial));
    std::vector<IngestRequest> blocks = Scrambled(Blocks(number));
    switch (trial % 6) {
      case 0:
        EXPECT_OK(Converse(blocks));
        break;
      case 1: {
        // A commit without one of the blocks, however it is sent.
        const std::string missing = blocks.back().block();
        std::vector<IngestRequest> others;
        for (const IngestRequest& block : blocks) {
          if (block.block() != missing) others.push_back(block);
        }
        others.push_back(Commit(number));
        EXPECT_EQ(Converse(others).code(), absl::StatusCode::kFailedPrecondition);
        EXPECT_EQ(Converse(others).code(), absl::StatusCode::kFailedPrecondition);
        findings.Add(CheckShards(cluster_->addresses(), ledger_, number));
        EXPECT_OK(Converse({blocks.back()}));
        break;
      }
      case 2: {
        // Two streams at once.
        const std::vector<IngestRequest> again = Numbered(Scrambled(Blocks(number)));
        std::thread other([this, &again] { EXPECT_OK(ConverseAsNumbered(again)); });
        EXPECT_OK(Converse(blocks));
        other.join();
        break;
      }
      case 3:
        for (int i = 0; i < 3; ++i) BreakOff(blocks);
        EXPECT_OK(Converse(blocks));
        break;
      case 4: {
        // Messages of one stream in the wrong order.
        std::vector<IngestRequest> numbered = Numbered(blocks);
        std::swap(numbered[0], numbered[1 + random_() % (numbered.size() - 1)]);
        EXPECT_EQ(ConverseAsNumbered(numbered).code(), absl::StatusCode::kInvalidArgument);
        EXPECT_OK(Converse(blocks));
        break;
      }
      default: {
        // Between those of a trace that is never committed.
        const std::vector<IngestRequest> others = Blocks(1'000'000 + number);
        blocks.insert(blocks.end(), others.begin(), others.end());
        std::shuffle(blocks.begin(), blocks.end(), random_);
        EXPECT_OK(Converse(blocks));
        break;
      }
    }
    ExpectCommit(number);
    // All of it again.
    std::vector<IngestRequest> again = Scrambled(Blocks(number));
    again.push_back(Commit(number));
    EXPECT_OK(Converse(again));
    findings.Add(CheckShards(cluster_->addresses(), ledger_, number));
    ASSERT_TRUE(findings.ok()) << findings.Text();
  }
  ASSERT_OK(cluster_->Restart(0));
  findings.Add(CheckShards(cluster_->addresses(), ledger_));
  EXPECT_TRUE(findings.ok()) << findings.Text();
  std::cout << Summary("duplicated and reordered sends", trials, ledger_.acknowledged().size(),
                       findings)
            << std::endl;
}

}  // namespace
}  // namespace kvp
