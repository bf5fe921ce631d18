#include "launcher/estimate.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/job.h"
#include "launcher/job_text.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

Job NewJob(const std::string& text) {
  Job job = ParseJob(absl::StrCat("name: 'a' output_dir: '/out' model { path: '/m' }", text),
                     "job.textproto")
                .value();
  FillDefaults("/", &job);
  return job;
}

struct Planned {
  Plan plan;
  Estimate estimate;
};

absl::StatusOr<Planned> PlanAndEstimate(const Job& job, const ModelGeometry& geometry) {
  Planned planned;
  auto plan = MakePlan(job, geometry, {"/bin"});
  if (!plan.ok()) return plan.status();
  planned.plan = *std::move(plan);
  auto estimate = EstimateJob(job, geometry, planned.plan);
  if (!estimate.ok()) return estimate.status();
  planned.estimate = *std::move(estimate);
  return planned;
}

constexpr char kDataset[] =
    "datasets { split: 'train' cuts: 16 max_new_tokens: 96 "
    "generated { task: 'text' count: 10 context_tokens: 4000 text_file: '/t' } }";

TEST(EstimateTest, BytesFollowHeadsTokensAndCuts) {
  // Qwen2.5-7B: 544 bytes a token and head with 16 cuts.
  ASSERT_OK_AND_ASSIGN(const Planned planned,
                       PlanAndEstimate(NewJob(kDataset), {28, 4, 128, 32768}));
  EXPECT_EQ(planned.estimate.traces, 10);
  EXPECT_EQ(planned.estimate.tokens, 40960);
  EXPECT_EQ(planned.estimate.trace_bytes, 40960.0 * 112 * 544);
  EXPECT_EQ(planned.estimate.caveat, "");
  ASSERT_OK_AND_ASSIGN(
      const Planned fp8,
      PlanAndEstimate(NewJob(absl::StrCat(kDataset, "collectors { flags: '--kv-dtype=fp8' }")),
                      {28, 4, 128, 32768}));
  EXPECT_EQ(fp8.estimate.trace_bytes, 40960.0 * 112 * (256 + 32));
}

TEST(EstimateTest, PromptsOfAFileAreMeasured) {
  const std::string path = testing::TempDir() + "/prompts.jsonl";
  ASSERT_OK(WriteFileAtomically(path, {std::string(399, 'x'), "\n", std::string(400, 'y')}));
  const Job job = NewJob(
      absl::StrCat("datasets { split: 'train' max_new_tokens: 50 prompts_file: '", path, "' }"));
  ASSERT_OK_AND_ASSIGN(const Planned planned, PlanAndEstimate(job, {2, 2, 8, 512}));
  EXPECT_EQ(planned.estimate.traces, 2);
  EXPECT_EQ(planned.estimate.tokens, 200 + 100);
  EXPECT_THAT(planned.estimate.caveat, HasSubstr("train: a token is taken for 4 bytes"));
}

TEST(EstimateTest, UnevenShardsAreTold) {
  const Job job = NewJob(absl::StrCat(kDataset, "shards { count: 3 } trainers { ranks: 3 }"));
  // 16 heads: shards of 6, 5 and 5; groups of 4: two, one and one.
  ASSERT_OK_AND_ASSIGN(const Planned planned, PlanAndEstimate(job, {4, 4, 8, 512}));
  EXPECT_DOUBLE_EQ(planned.estimate.shard_balance, 6 * 3 / 16.0);
  EXPECT_DOUBLE_EQ(planned.estimate.rank_balance, 2 * 3 / 4.0);
  EXPECT_DOUBLE_EQ(planned.estimate.largest_shard_bytes, planned.estimate.trace_bytes * 6 / 16);
}

TEST(EstimateTest, MoreThanTheDiskHoldsIsRefused) {
  Job job = NewJob(kDataset);
  job.mutable_shards()->set_dir(testing::TempDir() + "/not/there");
  Estimate estimate;
  estimate.trace_bytes = 1e9;
  EXPECT_OK(CheckDiskSpace(job, estimate));
  estimate.trace_bytes = 1e18;
  EXPECT_THAT(CheckDiskSpace(job, estimate),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("shards.dir: ")));
}

// 1,000 collectors, 64 shards and 512 ranks through the real planner.
TEST(EstimateTest, AThousandCollectorsArePlannedAtOnce) {
  const Job job = NewJob(
      "datasets { split: 'train' cuts: 8 max_new_tokens: 128 "
      "generated { task: 'text' count: 6000 context_tokens: 3968 text_file: '/t' } }"
      "collectors { count: 1000 } shards { count: 64 } trainers { ranks: 512 batch: 64 }");
  const struct {
    const char* name;
    ModelGeometry geometry;
    double bytes;
  } models[] = {
      {"Llama-3.1-8B", {32, 8, 128, 131072}, 6000.0 * 4096 * 256 * 528},
      {"Qwen3-8B", {36, 8, 128, 40960}, 6000.0 * 4096 * 288 * 528},
      {"Qwen3-32B", {64, 8, 128, 40960}, 6000.0 * 4096 * 512 * 528},
  };
  for (const auto& model : models) {
    SCOPED_TRACE(model.name);
    const absl::Time begin = absl::Now();
    ASSERT_OK_AND_ASSIGN(const Planned planned, PlanAndEstimate(job, model.geometry));
    const absl::Duration elapsed = absl::Now() - begin;
    EXPECT_LT(elapsed, absl::Seconds(1));
    ASSERT_EQ(planned.plan.stages[0].processes.size(), 1000);
    int64_t next = 0;
    for (const HeadRange& range : planned.plan.shard_heads) {
      EXPECT_EQ(range.begin, next);
      next = range.end;
    }
    EXPECT_EQ(next, model.geometry.heads());
    EXPECT_DOUBLE_EQ(planned.estimate.trace_bytes, model.bytes);
    // Whole heads: 288 over 64 shards are 5 or 4 each.
    EXPECT_LE(planned.estimate.shard_balance, model.geometry.heads() % 64 == 0 ? 1.0 : 1.12);
    std::cout << model.name << ": planned in " << elapsed << "\n" << EstimateText(planned.estimate);
  }
}

}  // namespace
}  // namespace kvp
