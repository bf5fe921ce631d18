// Messages that no client of ours sends: each is refused by name, and nothing of it is stored.

#include <atomic>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/admin.grpc.pb.h"
#include "proto/ingest.grpc.pb.h"
#include "proto/read.grpc.pb.h"
#include "storage/channel.h"
#include "storage/grpc_status.h"
#include "storage/test_cluster.h"
#include "storage/test_traces.h"
#include "util/crc32c.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

class HostileMessagesTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<TestCluster>> cluster = TestCluster::Start(1);
    ASSERT_OK(cluster);
    cluster_ = *std::move(cluster);
    channel_ = MakeChannel(cluster_->addresses()[0], {}).value();
    ingestion_ = TraceIngestion::NewStub(channel_);
    reading_ = TraceReading::NewStub(channel_);
    ASSERT_OK(Converse({Hello()}));
  }

  void TearDown() override {
    ASSERT_OK_AND_ASSIGN(const Shard::Stats stats, cluster_->server(0)->shard().GetStats());
    EXPECT_EQ(stats.committed_traces, 0);
    EXPECT_EQ(stats.uncommitted_traces, 0);
  }

  static IngestRequest Hello() {
    IngestRequest request;
    request.mutable_hello()->set_protocol_version(kIngestProtocolVersion);
    *request.mutable_hello()->mutable_model() = TestModel();
    request.mutable_hello()->set_shard_count(1);
    return request;
  }

  static IngestRequest Block(const std::string& encoded, uint64_t sequence = 1) {
    IngestRequest request;
    request.set_sequence(sequence);
    request.set_block(encoded);
    return request;
  }

  // How the stream of these messages ends.
  absl::Status Converse(const std::vector<IngestRequest>& requests) {
    grpc::ClientContext context;
    const auto stream = ingestion_->Ingest(&context);
    for (const IngestRequest& request : requests) {
      if (!stream->Write(request)) break;
    }
    stream->WritesDone();
    IngestResponse response;
    while (stream->Read(&response)) {
    }
    return FromGrpc(stream->Finish(), "ingest");
  }

  // The block with the right checksum of its header.
  static std::string Signed(std::string block) {
    const uint32_t crc = Crc32c(absl::string_view(block).substr(0, 60));
    for (int i = 0; i < 4; ++i) block[60 + i] = static_cast<char>(crc >> (8 * i));
    return block;
  }

  void ExpectRefused(const std::vector<IngestRequest>& requests, const std::string& field) {
    EXPECT_THAT(Converse(requests), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  }

  std::unique_ptr<TestCluster> cluster_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<TraceIngestion::Stub> ingestion_;
  std::unique_ptr<TraceReading::Stub> reading_;
};

TEST_F(HostileMessagesTest, ConversationsOutOfOrderAreRefused) {
  const std::string block = EncodeHeadBlock(TestBlocks(1, 4, 4)[0]).value();
  ExpectRefused({Block(block)}, "hello");
  ExpectRefused({Hello(), Hello()}, "hello");
  ExpectRefused({IngestRequest()}, "hello");
  IngestRequest nothing;
  nothing.set_sequence(1);
  ExpectRefused({Hello(), nothing}, "kind");
  ExpectRefused({Hello(), Block(block, 0)}, "sequence");
}

TEST_F(HostileMessagesTest, HellosThatMakeNoSenseAreRefused) {
  IngestRequest hello = Hello();
  hello.mutable_hello()->set_protocol_version(1);
  ExpectRefused({hello}, "protocol_version is 1");
  hello = Hello();
  hello.mutable_hello()->mutable_model()->set_layers(-3);
  ExpectRefused({hello}, "model.layers is -3");
  hello = Hello();
  hello.mutable_hello()->mutable_model()->set_query_heads(3);
  ExpectRefused({hello}, "model.query_heads");
  hello = Hello();
  for (int i = 0; i < 5; ++i) hello.mutable_hello()->mutable_model()->add_rope_frequencies(1);
  ExpectRefused({hello}, "model.rope_frequencies' size is 5");
  hello = Hello();
  hello.mutable_hello()->mutable_model()->add_rope_frequencies(std::nan(""));
  ExpectRefused({hello}, "model.rope_frequencies: nan");
  hello = Hello();
  hello.mutable_hello()->set_shard_index(-1);
  EXPECT_THAT(Converse({hello}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("shard -1")));
}

TEST_F(HostileMessagesTest, BlocksThatMakeNoSenseAreRefused) {
  const HeadBlock good = TestBlocks(1, 4, 4)[0];
  const std::string encoded = EncodeHeadBlock(good).value();
  ExpectRefused({Hello(), Block("")}, "header");
  ExpectRefused(
      {Hello(), Block("garbage that is no block, but as long as a header has to be at least")},
      "magic");
  ExpectRefused({Hello(), Block(encoded.substr(0, encoded.size() - 1))}, "bytes");
  std::string flipped = encoded;
  flipped[70] = static_cast<char>(flipped[70] ^ 1);
  ExpectRefused({Hello(), Block(flipped)}, "checksum");
  std::string version = encoded;
  version[4] = 9;
  ExpectRefused({Hello(), Block(version)}, "version is 9");
  HeadBlock block = good;
  block.key.head.layer = 3;
  ExpectRefused({Hello(), Block(EncodeHeadBlock(block).value())}, "layer is 3");
  block = good;
  block.key.head.kv_head = 2;
  ExpectRefused({Hello(), Block(EncodeHeadBlock(block).value())}, "kv_head is 2");
  block = good;
  block.head_dim = 4;
  block.keys.resize(32);
  block.values.resize(32);
  ExpectRefused({Hello(), Block(EncodeHeadBlock(block).value())}, "head_dim is 4");
}

// Headers whose checksum is right and whose sizes are not.
TEST_F(HostileMessagesTest, BlocksThatLieAboutTheirSizesAreRefused) {
  const std::string encoded = EncodeHeadBlock(TestBlocks(1, 4, 4)[0]).value();
  const auto with_header = [&encoded](size_t offset, uint32_t value) {
    std::string block = encoded;
    for (int i = 0; i < 4; ++i) block[offset + i] = static_cast<char>(value >> (8 * i));
    return Signed(std::move(block));
  };
  struct Lie {
    size_t offset;
    uint32_t value;
    const char* field;
  };
  const Lie lies[] = {
      {8, 0xffffffff, "layer is -1"},
      {12, 0x80000000, "kv_head is -2147483648"},
      {32, 0xffffffff, "block is -1"},
      {36, 0x7fffffff, "first_token is 2147483647"},
      {40, 0, "tokens is 0"},
      {40, 0x7fffffff, "tokens is 2147483647"},
      {40, 3, "payload bytes is"},
      {44, 0, "head_dim is 0"},
      {44, 0x40000000, "head_dim is 1073741824"},
      {48, 0xffffffff, "cuts is -1"},
      {48, 257, "cuts is 257"},
      {52, 1, "dtype of queries"},
      {52, 0x10000000, "query_heads is 268435456"},
      {56, 0, "payload bytes is 0"},
      {56, 0xffffffff, "payload bytes is 4294967295"},
  };
  for (const Lie& lie : lies) {
    ExpectRefused({Hello(), Block(with_header(lie.offset, lie.value))}, lie.field);
  }
  // The largest sizes that a header may name, together far above what a block may have.
  std::string block = encoded;
  const std::pair<size_t, uint32_t> largest[] = {
      {40, kMaxBlockTokens},
      {44, kMaxHeadDim},
      {48, kMaxCuts},
      {56, 2 * kMaxBlockTokens * (2 * kMaxHeadDim + kMaxCuts)}};
  for (const auto& [offset, value] : largest) {
    for (int i = 0; i < 4; ++i) block[offset + i] = static_cast<char>(value >> (8 * i));
  }
  ExpectRefused({Hello(), Block(Signed(std::move(block)))}, "encoded size");
}

TEST_F(HostileMessagesTest, BlocksOfUnknownDtypesAreRefused) {
  const std::string encoded = EncodeHeadBlock(TestBlocks(1, 4, 4)[0]).value();
  const std::pair<size_t, const char*> fields[] = {
      {5, "dtype of keys and values"}, {6, "dtype of labels"}, {7, "dtype of queries"}};
  for (const auto& [offset, field] : fields) {
    for (const int dtype : {9, 255}) {
      std::string block = encoded;
      block[offset] = static_cast<char>(dtype);
      ExpectRefused({Hello(), Block(Signed(std::move(block)))}, field);
    }
  }
}

TEST_F(HostileMessagesTest, NamesThatLeadElsewhereAreRefused) {
  for (const std::string& name :
       std::vector<std::string>{"../../etc/passwd", "/etc/passwd", "..", ".", "a\\b", "a/b", "a\nb",
                                "\x1b[2J", std::string("a\0b", 3)}) {
    SCOPED_TRACE(name);
    IngestRequest commit;
    commit.set_sequence(1);
    *commit.mutable_commit() = TestRecord(1, 4, "train");
    commit.mutable_commit()->set_task(name);
    ExpectRefused({Hello(), commit}, "task is");
    *commit.mutable_commit() = TestRecord(1, 4, name);
    ExpectRefused({Hello(), commit}, "split is");
    IngestRequest hello = Hello();
    hello.mutable_hello()->mutable_model()->set_name(name);
    ExpectRefused({hello}, "model.name is");
    hello = Hello();
    hello.mutable_hello()->mutable_model()->set_fingerprint(name);
    ExpectRefused({hello}, "model.fingerprint is");

    grpc::ClientContext context;
    CheckpointRequest request;
    request.set_name(name);
    CheckpointResponse response;
    EXPECT_THAT(FromGrpc(ShardAdmin::NewStub(channel_)->Checkpoint(&context, request, &response),
                         "checkpoint"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name")));
  }
  EXPECT_FALSE(std::filesystem::exists(cluster_->dir(0) + "/checkpoints"));
}

// A message keeps them, and a queue that counts blocks would not see them.
TEST_F(HostileMessagesTest, FieldsThatTheProtocolDoesNotKnowAreRefused) {
  const auto add_unknown = [](google::protobuf::Message* message) {
    message->GetReflection()->MutableUnknownFields(message)->AddLengthDelimited(
        1000, std::string(1 << 20, 'x'));
  };
  IngestRequest block = Block(EncodeHeadBlock(TestBlocks(1, 4, 4)[0]).value());
  add_unknown(&block);
  ExpectRefused({Hello(), block}, "IngestRequest: has field 1000");
  IngestRequest hello = Hello();
  add_unknown(hello.mutable_hello()->mutable_model());
  ExpectRefused({hello}, "ModelInfo: has field 1000");
  IngestRequest commit;
  commit.set_sequence(1);
  *commit.mutable_commit() = TestRecord(1, 4, "train");
  add_unknown(commit.mutable_commit());
  ExpectRefused({Hello(), commit}, "TraceRecord: has field 1000");
}

TEST_F(HostileMessagesTest, MoreStreamsThanTheShardTakesAreToldToWait) {
  ShardServer::Options options;
  options.shard.dir = testing::TempDir() + "/few_streams";
  std::filesystem::remove_all(options.shard.dir);
  std::filesystem::create_directories(options.shard.dir);
  options.max_streams = 2;
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ShardServer> server, ShardServer::Start(options));
  const auto stub = TraceIngestion::NewStub(MakeChannel(server->address(), {}).value());
  grpc::ClientContext contexts[4];
  const auto greets = [&](grpc::ClientContext* context) {
    auto stream = stub->Ingest(context);
    stream->Write(Hello());
    IngestResponse response;
    if (!stream->Read(&response)) {
      EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
      return std::unique_ptr<grpc::ClientReaderWriter<IngestRequest, IngestResponse>>();
    }
    return stream;
  };
  auto first = greets(&contexts[0]);
  const auto second = greets(&contexts[1]);
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(greets(&contexts[2]), nullptr);
  first->WritesDone();
  EXPECT_TRUE(first->Finish().ok());
  // The shard forgets it a moment after its client has.
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  bool taken = false;
  while (!taken && absl::Now() < deadline) {
    grpc::ClientContext context;
    const auto again = greets(&context);
    taken = again != nullptr;
    context.TryCancel();
  }
  EXPECT_TRUE(taken);
  contexts[1].TryCancel();
}

TEST_F(HostileMessagesTest, RecordsOfOtherRunsAreRefused) {
  IngestRequest commit;
  commit.set_sequence(1);
  *commit.mutable_commit() = TestRecord(1, 4, "train");
  commit.mutable_commit()->mutable_model()->set_fingerprint("another");
  ExpectRefused({Hello(), commit}, "model.fingerprint is another");
  *commit.mutable_commit() = TestRecord(1, 4, "train");
  commit.mutable_commit()->mutable_model()->set_head_dim(16);
  ExpectRefused({Hello(), commit}, "model.head_dim is 16");
  IngestRequest resume;
  for (const size_t bytes : {0, 15, 17, 1000}) {
    resume.set_resume(std::string(bytes, 'x'));
    ExpectRefused({Hello(), resume}, "resume: trace_id has");
  }
  resume.set_resume(std::string(16, 'x'));
  ExpectRefused({resume}, "hello");
  // A trace that isn't there has no blocks.
  EXPECT_OK(Converse({Hello(), resume}));
}

// A client that listens gets an answer to each; to one that doesn't, answers don't pile up.
TEST_F(HostileMessagesTest, QuestionsAreTakenNoFasterThanAnswersLeave) {
  constexpr int kQuestions = 20000;
  grpc::ClientContext context;
  const auto stream = ingestion_->Ingest(&context);
  ASSERT_TRUE(stream->Write(Hello()));
  std::atomic<int> written{0};
  std::thread writer([&] {
    IngestRequest resume;
    for (int i = 0; i < kQuestions; ++i) {
      resume.set_resume(absl::StrFormat("%016d", i));
      if (!stream->Write(resume)) return;
      ++written;
    }
    stream->WritesDone();
  });
  // Until nothing moves any more: both directions are full.
  for (int before = -1; before != written;) {
    before = written;
    absl::SleepFor(absl::Milliseconds(500));
  }
  EXPECT_LT(written, kQuestions);
  IngestResponse response;
  int answers = 0;
  while (stream->Read(&response)) {
    if (!response.has_held()) continue;
    EXPECT_EQ(response.held().trace_id(), absl::StrFormat("%016d", answers));
    ++answers;
  }
  writer.join();
  EXPECT_OK(FromGrpc(stream->Finish(), "ingest"));
  EXPECT_EQ(answers, kQuestions);
}

TEST_F(HostileMessagesTest, AbsurdRecordsAreRefused) {
  const auto expect_refused = [this](const std::function<void(TraceRecord*)>& change,
                                     const std::string& field) {
    IngestRequest commit;
    commit.set_sequence(1);
    *commit.mutable_commit() = TestRecord(1, 4, "train");
    change(commit.mutable_commit());
    ExpectRefused({Hello(), commit}, field);
  };
  expect_refused([](TraceRecord* record) { record->set_prompt_tokens(-1); }, "prompt_tokens is -1");
  expect_refused([](TraceRecord* record) { record->set_continuation_tokens(INT32_MAX); },
                 "token_ids' size");
  expect_refused([](TraceRecord* record) { record->set_entries(1000); }, "entries is 1000");
  expect_refused([](TraceRecord* record) { record->set_blocks(-1); }, "blocks is -1");
  expect_refused([](TraceRecord* record) { record->set_recorded_query_heads(1 << 20); },
                 "recorded_query_heads is");
  expect_refused([](TraceRecord* record) { record->set_recorded_query_heads(1); },
                 "recorded_query_heads is 1, neither 0 nor the 2");
  expect_refused(
      [](TraceRecord* record) { record->set_kv_dtype(static_cast<TraceRecord::KvDtype>(7)); },
      "kv_dtype is 7");
  expect_refused([](TraceRecord* record) { record->add_cuts(1); }, "cuts: a cut is 1");
  expect_refused([](TraceRecord* record) { record->set_task(std::string(257, 'x')); },
                 "task has 257 bytes");
  expect_refused(
      [](TraceRecord* record) {
        record->clear_cuts();
        for (int i = 0; i < kMaxCuts + 1; ++i) record->add_cuts(i + 1);
      },
      "cuts' size");
}

TEST_F(HostileMessagesTest, RecordsThatMakeNoSenseAreRefused) {
  IngestRequest commit;
  commit.set_sequence(1);
  *commit.mutable_commit() = TestRecord(1, 4, "train");
  commit.mutable_commit()->set_trace_id("short");
  ExpectRefused({Hello(), commit}, "trace_id has 5 bytes");
  *commit.mutable_commit() = TestRecord(1, 4, "train");
  commit.mutable_commit()->set_entries(0);
  ExpectRefused({Hello(), commit}, "entries is 0");
  *commit.mutable_commit() = TestRecord(1, 4, "train");
  EXPECT_THAT(Converse({Hello(), commit}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("0 tokens here")));
}

TEST_F(HostileMessagesTest, MessageAboveTheCapIsRefused) {
  EXPECT_THAT(Converse({Hello(), Block(std::string(kMaxMessageBytes - 100, 'x'))}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("magic")));
  // The client's own cap is lifted for this one.
  grpc::ChannelArguments arguments;
  arguments.SetMaxSendMessageSize(-1);
  channel_ = grpc::CreateCustomChannel(cluster_->addresses()[0], grpc::InsecureChannelCredentials(),
                                       arguments);
  ingestion_ = TraceIngestion::NewStub(channel_);
  EXPECT_FALSE(Converse({Hello(), Block(std::string(kMaxMessageBytes + 1, 'x'))}).ok());
}

TEST_F(HostileMessagesTest, ReadsThatMakeNoSenseAreRefused) {
  const auto read = [&](const ReadHeadRequest& request) {
    grpc::ClientContext context;
    const auto reader = reading_->ReadHead(&context, request);
    ReadHeadResponse response;
    while (reader->Read(&response)) {
    }
    return FromGrpc(reader->Finish(), "read");
  };
  ReadHeadRequest request;
  request.set_layer(3);
  EXPECT_THAT(read(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer 3")));
  request.set_layer(1);
  request.set_kv_head(-1);
  EXPECT_THAT(read(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("kv_head -1")));
  request.set_kv_head(0);
  request.set_after_trace_id("short");
  EXPECT_THAT(read(request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("after_trace_id")));

  grpc::ClientContext context;
  CommittedRequest committed;
  committed.add_trace_ids("short");
  CommittedResponse response;
  EXPECT_THAT(FromGrpc(ingestion_->Committed(&context, committed, &response), "committed"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("trace_ids")));
}

TEST_F(HostileMessagesTest, GapInTheSequenceIsRefused) {
  const std::string block = EncodeHeadBlock(TestBlocks(1, 4, 4)[0]).value();
  ExpectRefused({Hello(), Block(block, 5), Block(block, 7)}, "sequence is 7, not 6");
  // The first block was good: it is there, without a commit, at the latest once it is acknowledged
  // to a second stream.
  ASSERT_OK(Converse({Hello(), Block(block)}));
  ASSERT_OK(cluster_->server(0)->shard().Sweep(absl::ZeroDuration()));
}

TEST_F(HostileMessagesTest, HealthCheckAnswersServing) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice nothing;
  const grpc::ByteBuffer empty_request(&nothing, 1);
  const auto call =
      stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", empty_request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, &queue);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_TRUE(status.ok()) << status.error_message();
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(response.Dump(&slices).ok());
  ASSERT_EQ(slices.size(), 1u);
  // Field 1, status, is 1: SERVING.
  EXPECT_EQ(std::string(slices[0].begin(), slices[0].end()), std::string("\x08\x01"));
}

TEST(ShardServerOptions, OnlyLoopbackAddressesAreListenedOn) {
  ShardServer::Options options;
  options.shard.dir = testing::TempDir();
  for (const char* good : {"127.0.0.1:0", "localhost:1", "127.1.2.3:0", "[::1]:0"}) {
    options.listen = good;
    EXPECT_OK(options.Validate()) << good;
  }
  for (const char* bad :
       {"0.0.0.0:0", "[::]:7000", "10.0.0.1:7000", "example.com:1", "127.example.com:1"}) {
    options.listen = bad;
    EXPECT_THAT(options.Validate(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is no loopback address")))
        << bad;
  }
  options.listen = "7000";
  EXPECT_THAT(options.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")));
}

}  // namespace
}  // namespace kvp
