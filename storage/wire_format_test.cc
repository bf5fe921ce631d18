// The messages' bytes. They were laid out from the tables in FORMAT.md by a separate program that
// knows protobuf's encoding only.

#include <string>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "proto/ingest.pb.h"
#include "proto/read.pb.h"
#include "proto/shard.pb.h"
#include "proto/trace.pb.h"
#include "storage/channel.h"
#include "storage/head_block.h"

namespace kvp {
namespace {

const char kTraceId[] = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";

ModelInfo Model() {
  ModelInfo model;
  model.set_name("m");
  model.set_fingerprint("f");
  model.set_layers(1);
  model.set_query_heads(2);
  model.set_kv_heads(1);
  model.set_head_dim(4);
  model.add_rope_frequencies(1.0);
  model.add_rope_frequencies(0.5);
  return model;
}

ShardIdentity Identity() {
  ShardIdentity identity;
  identity.set_format_version(2);
  *identity.mutable_model() = Model();
  identity.set_shard_index(1);
  identity.set_shard_count(2);
  identity.set_head_begin(1);
  identity.set_head_end(3);
  return identity;
}

TraceRecord Record() {
  TraceRecord record;
  record.set_trace_id(absl::HexStringToBytes(kTraceId));
  *record.mutable_model() = Model();
  record.set_task("t");
  record.set_split("train");
  record.set_prompt_tokens(2);
  record.set_continuation_tokens(1);
  for (const int32_t cut : {1, 2}) record.add_cuts(cut);
  record.set_entries(2);
  for (const int32_t token : {7, 8, 900}) record.add_token_ids(token);
  record.set_blocks(5);
  record.set_kv_dtype(TraceRecord::FLOAT8);
  record.set_recorded_query_heads(2);
  return record;
}

template <typename Message>
void ExpectBytes(const Message& message, const std::string& hex) {
  EXPECT_EQ(absl::BytesToHexString(message.SerializeAsString()), hex);
  Message parsed;
  ASSERT_TRUE(parsed.ParseFromString(absl::HexStringToBytes(hex)));
  EXPECT_EQ(parsed.SerializeAsString(), message.SerializeAsString());
}

TEST(WireFormat, IngestRequests) {
  IngestRequest hello;
  hello.mutable_hello()->set_protocol_version(kIngestProtocolVersion);
  *hello.mutable_hello()->mutable_model() = Model();
  hello.mutable_hello()->set_shard_index(1);
  hello.mutable_hello()->set_shard_count(2);
  ExpectBytes(
      hello,
      "1228080212200a016d12016618012002280130043a10000000000000f03f000000000000e03f18012002");
  IngestRequest block;
  block.set_sequence(300);
  block.set_block("KVPB");
  ExpectBytes(block, "08ac021a044b565042");
  IngestRequest commit;
  commit.set_sequence(301);
  *commit.mutable_commit() = Record();
  ExpectBytes(commit,
              "08ad0222540a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf12200a016d12016618012002280130043a10"
              "000000000000f03f000000000000e03f1a01742205747261696e280230013a02010240024a04070884"
              "07500558016002");
  IngestRequest resume;
  resume.set_resume(absl::HexStringToBytes(kTraceId));
  ExpectBytes(resume, "2a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
}

TEST(WireFormat, IngestResponses) {
  IngestResponse hello;
  *hello.mutable_hello() = Identity();
  ExpectBytes(hello,
              "0a2c080212200a016d12016618012002280130043a10000000000000f03f000000000000e03f180120"
              "0228013003");
  IngestResponse acknowledged;
  acknowledged.set_acknowledged(300);
  ExpectBytes(acknowledged, "10ac02");
  IngestResponse held;
  held.mutable_held()->set_trace_id(absl::HexStringToBytes(kTraceId));
  HeldHead& head = *held.mutable_held()->add_heads();
  head.set_layer(3);
  head.set_kv_head(1);
  for (const int32_t tokens : {512, 512, 100}) head.add_tokens(tokens);
  ExpectBytes(held, "1a1f0a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf120b080310011a058004800464");
  CommittedResponse committed;
  committed.add_trace_ids(absl::HexStringToBytes(kTraceId));
  ExpectBytes(committed, "0a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
}

TEST(WireFormat, Reading) {
  ReadHeadRequest request;
  request.set_layer(3);
  request.set_kv_head(1);
  request.set_split("train");
  request.set_after_trace_id(absl::HexStringToBytes(kTraceId));
  request.set_after_block(4);
  request.set_order_seed(99);
  ExpectBytes(request, "080310011a05747261696e2210a0a1a2a3a4a5a6a7a8a9aaabacadaeaf28043063");
  ReadHeadRequest named;
  named.add_trace_ids(absl::HexStringToBytes(kTraceId));
  ExpectBytes(named, "3a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
  ReadHeadResponse response;
  response.add_blocks("KVPB");
  BlockPosition position;
  position.set_trace_id(absl::HexStringToBytes(kTraceId));
  position.set_block(4);
  *response.add_positions() = position;
  *response.add_unreadable() = position;
  ExpectBytes(response,
              "0a044b56504212140a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf10041a140a10a0a1a2a3a4a5a6a7a8"
              "a9aaabacadaeaf1004");
  ListTracesRequest list;
  list.set_split("train");
  list.set_ids_only(true);
  ExpectBytes(list, "0a05747261696e1001");
  GetShardResponse shard;
  *shard.mutable_identity() = Identity();
  shard.set_committed_traces(12);
  ExpectBytes(shard,
              "0a2c080212200a016d12016618012002280130043a10000000000000f03f000000000000e03f180120"
              "0228013003100c");
}

}  // namespace
}  // namespace kvp
