#include "storage/inspection.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "rocksdb/db.h"
#include "storage/key_encoding.h"
#include "storage/test_cluster.h"
#include "storage/test_traces.h"
#include "storage/trace_writer.h"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

class InspectionTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<TestCluster>> cluster = TestCluster::Start(2);
    ASSERT_OK(cluster);
    cluster_ = *std::move(cluster);
    TraceWriter::Options options;
    options.shards = cluster_->addresses();
    options.model = TestModel();
    ASSERT_OK_AND_ASSIGN(const auto writer, TraceWriter::Connect(options));
    ASSERT_OK(WriteTestTrace(*writer, 1, 100, 40, "train"));
    ASSERT_OK(WriteTestTrace(*writer, 2, 100, 40, "train"));
    ASSERT_OK(WriteTestTrace(*writer, 3, 50, 40, "held_out"));
  }

  std::unique_ptr<TestCluster> cluster_;
};

TEST_F(InspectionTest, ShardInUseIsCountedBySplitTaskAndModel) {
  ASSERT_OK_AND_ASSIGN(const Inspection inspection, InspectPath(cluster_->dir(1), true));
  const nlohmann::json json = nlohmann::json::parse(inspection.json);
  EXPECT_EQ(json["kind"], "shard");
  EXPECT_EQ(json["shard_index"], 1);
  EXPECT_EQ(json["head_begin"], 3);
  EXPECT_EQ(json["head_end"], 6);
  EXPECT_EQ(json["traces"], 3);
  EXPECT_EQ(json["by_split"]["train"], 2);
  EXPECT_EQ(json["by_split"]["held_out"], 1);
  EXPECT_EQ(json["by_task"]["retrieval"], 3);
  EXPECT_EQ(json["by_model"]["test"], 3);
  EXPECT_EQ(json["by_format"]["bf16"], 3);
  EXPECT_EQ(json["tokens"], 250);
  EXPECT_EQ(json["blocks"], 3 * (3 + 3 + 2));
  // K, V and two labels a token, and 68 bytes around each block.
  EXPECT_EQ(json["bytes"], 3 * (250 * (4 * 8 + 2 * 2) + 8 * 68));
  EXPECT_DOUBLE_EQ(json["bytes_per_token_and_head"].get<double>(), 36 + 8 * 68 / 250.0);
  EXPECT_EQ(json["verified_blocks"], 24);
  EXPECT_EQ(json["corrupt_blocks"], 0);
  EXPECT_EQ(inspection.corrupt_blocks, 0);
  EXPECT_THAT(inspection.text, HasSubstr("held_out 1, train 2"));
}

TEST_F(InspectionTest, VerifyNamesCorruptBlocks) {
  const std::string dir = cluster_->dir(0);
  cluster_->Stop(0);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const char* name : {"default", "blocks", "index", "records"}) {
    families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(rocksdb::DBOptions(), dir, families, &handles, &opened).ok());
  std::unique_ptr<rocksdb::DB> db(opened);
  ASSERT_TRUE(
      db->Put({}, handles[1], EncodeBlockKey({1, TestBlocks(2, 100, 40)[1].key}), "damaged").ok());
  for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  db.reset();

  ASSERT_OK_AND_ASSIGN(const Inspection unverified, InspectPath(dir, false));
  EXPECT_EQ(unverified.corrupt_blocks, 0);
  ASSERT_OK_AND_ASSIGN(const Inspection inspection, InspectPath(dir, true));
  EXPECT_EQ(inspection.corrupt_blocks, 1);
  EXPECT_THAT(inspection.text,
              HasSubstr("layer 0 kv_head 0 trace 000000020000000000000000000000ff block 1: "));
}

TEST(Inspection, AgentFileShowsTheNumbersOfItsHeadsAsATable) {
  const std::string path = absl::StrCat(testing::TempDir(), "/per_head.safetensors");
  ASSERT_OK(WriteSafetensors(path, {},
                             {{"kv_heads", "2"},
                              {"layers", "2"},
                              {"held_out_costs", "1.25,1.5,2,inf"},
                              {"best_steps", "300,250,300,0"}}));
  ASSERT_OK_AND_ASSIGN(const Inspection inspection, InspectPath(path, false));
  EXPECT_THAT(inspection.text, HasSubstr("held_out_costs of each layer (lines) and KV head "
                                         "(columns)\n"
                                         "     0        1.25        1.5\n"
                                         "     1           2        inf\n"));
  EXPECT_THAT(inspection.text, HasSubstr("     1         300          0\n"));
  EXPECT_THAT(inspection.json, HasSubstr("1.25,1.5,2,inf"));
}

TEST(Inspection, SafetensorsFileShowsMetadataAndShapes) {
  const std::string path = absl::StrCat(testing::TempDir(), "/agents.safetensors");
  const std::string bytes(24, '\0');
  ASSERT_OK(WriteSafetensors(path, {{"hidden.weight", {"F32", {2, 3}, bytes}}},
                             {{"objective", "exact"}, {"seed", "7"}}));
  ASSERT_OK_AND_ASSIGN(const Inspection inspection, InspectPath(path, false));
  EXPECT_THAT(inspection.text, HasSubstr("objective  exact"));
  EXPECT_THAT(inspection.text, HasSubstr("hidden.weight  F32  [2, 3]"));
  const nlohmann::json json = nlohmann::json::parse(inspection.json);
  EXPECT_EQ(json["metadata"]["seed"], "7");
  EXPECT_EQ(json["tensors"]["hidden.weight"]["shape"][1], 3);
}

TEST(Inspection, WhatIsNeitherIsAnErrorWithThePath) {
  EXPECT_THAT(InspectPath("/nowhere/at/all", false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/at/all")));
  EXPECT_THAT(InspectPath(testing::TempDir(), false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no shard here")));
  const std::string path = absl::StrCat(testing::TempDir(), "/truncated.safetensors");
  ASSERT_OK(WriteFileAtomically(path, {"abc"}));
  EXPECT_THAT(InspectPath(path, false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated.safetensors")));
}

TEST_F(InspectionTest, OneTraceIsDescribed) {
  const std::string id = TraceIdText(TestTraceId(3));
  ASSERT_OK_AND_ASSIGN(const Inspection inspection, InspectTrace(cluster_->dir(0), id));
  const nlohmann::json json = nlohmann::json::parse(inspection.json);
  EXPECT_EQ(json["trace_id"], id);
  EXPECT_EQ(json["split"], "held_out");
  EXPECT_EQ(json["entries"], 50);
  ASSERT_EQ(json["blocks"].size(), 3 * 2);
  EXPECT_EQ(json["blocks"][1]["first_token"], 40);
  EXPECT_EQ(json["blocks"][1]["tokens"], 10);
  EXPECT_EQ(json["bytes"], 3 * (50 * (4 * 8 + 2 * 2) + 2 * 68));
  EXPECT_THAT(InspectTrace(cluster_->dir(0), TraceIdText(TestTraceId(9))),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(TraceIdText(TestTraceId(9)))));
  for (const std::string& wrong : {std::string("3"), std::string(32, 'x'), id + "00"}) {
    EXPECT_THAT(InspectTrace(cluster_->dir(0), wrong),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(wrong)));
  }
}

TEST_F(InspectionTest, ACheckpointIsTheShardAsItWas) {
  Shard& shard = cluster_->server(0)->shard();
  ASSERT_OK_AND_ASSIGN(const std::string path, shard.Checkpoint("before.1"));
  EXPECT_EQ(path, cluster_->dir(0) + "/checkpoints/before.1");
  TraceWriter::Options options;
  options.shards = cluster_->addresses();
  options.model = TestModel();
  ASSERT_OK_AND_ASSIGN(const auto writer, TraceWriter::Connect(options));
  ASSERT_OK(WriteTestTrace(*writer, 4, 100, 40, "train"));
  ASSERT_OK_AND_ASSIGN(const Inspection copy, InspectPath(path, true));
  EXPECT_EQ(nlohmann::json::parse(copy.json)["traces"], 3);
  EXPECT_EQ(copy.corrupt_blocks, 0);
  EXPECT_THAT(shard.Checkpoint("before.1"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("before.1")));
  for (const char* name :
       {"", ".", "..", "../x", "a/b", "/etc", ".hidden", "a b", "a\n", "a.tmp"}) {
    EXPECT_THAT(shard.Checkpoint(name),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name")))
        << name;
  }
}

TEST_F(InspectionTest, OnlyAShardThatNobodyHasOpenIsCompactedOrDropped) {
  const std::string dir = cluster_->dir(0);
  EXPECT_THAT(CompactShard(dir), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(dir)));
  EXPECT_THAT(DropShard(dir), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(dir)));
  cluster_->Stop(0);
  ASSERT_OK(CompactShard(dir).status());
  ASSERT_OK_AND_ASSIGN(const Inspection inspection, InspectPath(dir, true));
  EXPECT_EQ(nlohmann::json::parse(inspection.json)["traces"], 3);
  ASSERT_OK(DropShard(dir));
  EXPECT_THAT(InspectPath(dir, false), StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir)));
  const std::string other = testing::TempDir() + "/no_shard";
  ASSERT_OK(MakeDirectories(other));
  ASSERT_OK(WriteFileAtomically(other + "/thesis.txt", {"years of work"}));
  EXPECT_FALSE(DropShard(other).ok());
  EXPECT_OK(ReadFile(other + "/thesis.txt"));
}

}  // namespace
}  // namespace kvp
