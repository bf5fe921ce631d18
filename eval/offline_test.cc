#include "eval/offline.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "ATen/ops/ones.h"
#include "ATen/ops/rand.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "eval/ranking_metrics.h"
#include "gtest/gtest.h"
#include "util/naive_importance.h"
#include "util/status_matchers.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

using testing::HasSubstr;

constexpr int32_t kLayers = 2;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kHeadDim = 8;
constexpr int32_t kBlockTokens = 16;

// Traces in memory.
class FakeReader : public TraceReader {
 public:
  // Random entries; the labels of the last cut lie before it, as a collector writes them. A trace
  // with id 2 has two blocks a head and more entries than the last cut.
  void AddTrace(uint8_t id, const std::string& split, int32_t cut, int32_t entries,
                bool without_future = false) {
    TraceRecord record;
    record.set_trace_id(std::string(15, '\0') + std::string(1, static_cast<char>(id)));
    record.set_split(split);
    record.set_task(id % 2 == 0 ? "even" : "odd");
    record.mutable_model()->set_layers(kLayers);
    record.mutable_model()->set_kv_heads(kKvHeads);
    record.mutable_model()->set_head_dim(kHeadDim);
    record.mutable_model()->set_fingerprint("abc");
    record.set_prompt_tokens(cut);
    record.set_continuation_tokens(10);
    record.set_entries(entries);
    record.set_recorded_query_heads(recorded_query_heads_);
    record.add_cuts(cut / 2);
    record.add_cuts(cut);
    for (int64_t head = 0; head < kLayers * kKvHeads; ++head) {
      const at::Tensor keys = at::randn({entries, kHeadDim}).to(at::kBFloat16);
      const at::Tensor values = at::randn({entries, kHeadDim}).to(at::kBFloat16);
      const at::Tensor queries =
          at::randn({recorded_query_heads_, entries, kHeadDim}).to(at::kBFloat16);
      queries_[{id, head}] = queries.narrow(1, 0, cut).to(at::kFloat);
      at::Tensor labels = at::rand({2, entries}).pow(4).to(at::kHalf);
      labels[0].narrow(0, cut / 2, entries - cut / 2).zero_();
      labels[1].narrow(0, cut, entries - cut).zero_();
      if (without_future && head == 0) labels.zero_();
      for (int32_t first = 0; first < entries; first += kBlockTokens) {
        const int32_t tokens = std::min(kBlockTokens, entries - first);
        HeadBlock block;
        block.key.head = HeadId::FromIndex(head, kKvHeads);
        block.key.trace_id = *TraceIdFromBytes(record.trace_id());
        block.key.block = first / kBlockTokens;
        block.first_token = first;
        block.tokens = tokens;
        block.head_dim = kHeadDim;
        block.cuts = 2;
        block.keys = BytesOfTensor(keys.narrow(0, first, tokens));
        block.values = BytesOfTensor(values.narrow(0, first, tokens));
        block.labels = BytesOfTensor(labels.narrow(1, first, tokens));
        block.query_heads = recorded_query_heads_;
        if (recorded_query_heads_ > 0) {
          block.queries = BytesOfTensor(queries.narrow(1, first, tokens));
        }
        blocks_[head].emplace_back(split, std::move(block));
      }
      keys_[{id, head}] = keys.narrow(0, 0, cut).to(at::kFloat);
      values_[{id, head}] = values.narrow(0, 0, cut).to(at::kFloat);
      importance_[{id, head}] = labels[1].narrow(0, 0, cut).to(at::kFloat);
    }
    records_.push_back(std::move(record));
  }
  // Of the traces added from now on.
  void RecordQueries(int32_t heads) { recorded_query_heads_ = heads; }
  // fp32 [query_heads, cut, head_dim] and [cut, head_dim].
  at::Tensor queries(uint8_t id, int64_t head) { return queries_[{id, head}]; }
  at::Tensor keys(uint8_t id, int64_t head) { return keys_[{id, head}]; }
  at::Tensor importance(uint8_t id, int64_t head) { return importance_[{id, head}]; }

  void DropBlock(int64_t head, size_t index) {
    blocks_[head].erase(blocks_[head].begin() + static_cast<int64_t>(index));
    ++corrupt_;
  }

  absl::StatusOr<std::vector<TraceRecord>> ListTraces(const std::string& split) override {
    std::vector<TraceRecord> records;
    for (const TraceRecord& record : records_) {
      if (split.empty() || record.split() == split) records.push_back(record);
    }
    return records;
  }
  absl::StatusOr<ReadResult> ReadHead(
      const HeadRead& read, const std::function<absl::Status(HeadBlock block)>& consume) override {
    const HeadId head = read.head;
    ReadResult result;
    for (const auto& [block_split, block] : blocks_[head.Index(kKvHeads)]) {
      if (block_split != read.split) continue;
      RETURN_IF_ERROR(consume(block));
      ++result.blocks;
      result.bytes += 100;
    }
    result.corrupt_blocks = head.Index(kKvHeads) == 0 ? corrupt_ : 0;
    return result;
  }

  // One head alone, scored and measured.
  RankingMetrics Alone(const Policy& policy, uint8_t id, int64_t head,
                       const std::vector<double>& budgets) {
    PolicyInput input;
    input.heads = {HeadId::FromIndex(head, kKvHeads)};
    input.keys = keys_[{id, head}].unsqueeze(0);
    input.values = values_[{id, head}].unsqueeze(0);
    input.importance = importance_[{id, head}].unsqueeze(0);
    input.positions = at::ones({input.keys.size(1)}, at::kLong).cumsum(0).sub(1);
    // The trace id's first bytes.
    input.sequence_seed = 0;
    return *MeasureRanking(*policy.Score(input), input.importance, budgets);
  }

 private:
  std::vector<TraceRecord> records_;
  std::map<int64_t, std::vector<std::pair<std::string, HeadBlock>>> blocks_;
  std::map<std::pair<uint8_t, int64_t>, at::Tensor> keys_;
  std::map<std::pair<uint8_t, int64_t>, at::Tensor> values_;
  std::map<std::pair<uint8_t, int64_t>, at::Tensor> queries_;
  int32_t recorded_query_heads_ = 0;
  std::map<std::pair<uint8_t, int64_t>, at::Tensor> importance_;
  int64_t corrupt_ = 0;
};

class OfflineTest : public testing::Test {
 protected:
  OfflineTest() {
    for (const char* name : {"oracle", "random", "streaming_llm", "k_norm", "key_diff"}) {
      owned_.push_back(*MakePolicy(name));
      policies_.push_back(owned_.back().get());
    }
    options_.budgets = {0.5, 0.25, 0.125};
    options_.curve_budgets = {1, 0.5, 0.03};
  }

  std::vector<std::unique_ptr<Policy>> owned_;
  std::vector<const Policy*> policies_;
  OfflineOptions options_;
  FakeReader reader_;
};

TEST_F(OfflineTest, MeansOverTracesAndHeadsAreThoseOfHeadsMeasuredAlone) {
  reader_.AddTrace(1, "held_out", 24, 24);
  reader_.AddTrace(2, "held_out", 30, 40);
  reader_.AddTrace(3, "train", 20, 20);
  ASSERT_OK_AND_ASSIGN(const OfflineResults results, EvaluateOffline(reader_, policies_, options_));
  EXPECT_EQ(results.traces, 3);
  EXPECT_EQ(results.held_out_traces, 2);
  EXPECT_EQ(results.tokens, 34 + 40 + 30);
  // 4 heads × (2 + 3 blocks) × 100 bytes over 24 + 40 entries.
  EXPECT_DOUBLE_EQ(results.bytes_per_token, 4 * 5 * 100.0 / 64);
  ASSERT_EQ(results.policies.size(), policies_.size());
  for (size_t p = 0; p < policies_.size(); ++p) {
    SCOPED_TRACE(policies_[p]->name());
    const PolicyOffline& found = results.policies[p].second;
    EXPECT_EQ(results.policies[p].first, policies_[p]->name());
    ASSERT_EQ(found.heads.size(), 4);
    double mean_cost = 0;
    double mean_half = 0;
    for (int64_t head = 0; head < 4; ++head) {
      const RankingMetrics first = reader_.Alone(*policies_[p], 1, head, options_.budgets);
      const RankingMetrics second = reader_.Alone(*policies_[p], 2, head, options_.budgets);
      const double cost = (first.cost[0].item<double>() + second.cost[0].item<double>()) / 2;
      EXPECT_NEAR(found.heads[head].cost, cost, 1e-9);
      for (size_t b = 0; b < options_.budgets.size(); ++b) {
        const int64_t column = static_cast<int64_t>(b);
        EXPECT_NEAR(
            found.heads[head].retained.at(options_.budgets[b]),
            (first.retained[0][column].item<double>() + second.retained[0][column].item<double>()) /
                2,
            1e-9);
      }
      EXPECT_EQ(found.heads[head].layer, head / kKvHeads);
      EXPECT_EQ(found.heads[head].kv_head, head % kKvHeads);
      mean_cost += cost / 4;
      mean_half += found.heads[head].retained.at(0.5) / 4;
    }
    EXPECT_NEAR(found.cost, mean_cost, 1e-9);
    EXPECT_NEAR(found.retained.at(0.5), mean_half, 1e-9);
    EXPECT_NEAR(found.curve.at(0.5), mean_half, 1e-9);
    EXPECT_NEAR(found.curve.at(1), 1, 1e-9);
  }
}

// The mean over heads of a trace's cost.
double CostAlone(FakeReader& reader, const Policy& policy, uint8_t id) {
  double sum = 0;
  for (int64_t head = 0; head < 4; ++head) {
    sum += reader.Alone(policy, id, head, {0.25}).cost[0].item<double>();
  }
  return sum / 4;
}

TEST_F(OfflineTest, TasksHaveNumbersOfTheirOwn) {
  for (uint8_t id : {1, 2, 3, 5}) reader_.AddTrace(id, "held_out", 24, 24);
  ASSERT_OK_AND_ASSIGN(const OfflineResults results, EvaluateOffline(reader_, policies_, options_));
  const PolicyOffline& key_diff = results.policies[4].second;
  ASSERT_EQ(key_diff.tasks.size(), 2);
  const TaskOffline& odd = key_diff.tasks.at("odd");
  EXPECT_EQ(odd.traces, 3);
  EXPECT_NEAR(odd.cost,
              (CostAlone(reader_, *policies_[4], 1) + CostAlone(reader_, *policies_[4], 3) +
               CostAlone(reader_, *policies_[4], 5)) /
                  3,
              1e-9);
  const TaskOffline& even = key_diff.tasks.at("even");
  EXPECT_EQ(even.traces, 1);
  EXPECT_NEAR(even.cost, CostAlone(reader_, *policies_[4], 2), 1e-9);
  EXPECT_TRUE(std::isnan(even.cost_interval.low));  // one trace shows no spread
  EXPECT_NEAR((3 * odd.retained.at(0.25) + even.retained.at(0.25)) / 4, key_diff.retained.at(0.25),
              1e-9);
}

TEST_F(OfflineTest, IntervalsResampleTraces) {
  for (uint8_t id : {1, 2, 3, 4, 5}) reader_.AddTrace(id, "held_out", 24, 24);
  options_.bootstrap.seed = 7;
  ASSERT_OK_AND_ASSIGN(const OfflineResults results, EvaluateOffline(reader_, policies_, options_));
  const PolicyOffline& k_norm = results.policies[3].second;
  std::vector<double> costs;
  for (uint8_t id : {1, 2, 3, 4, 5}) costs.push_back(CostAlone(reader_, *policies_[3], id));
  // Of five numbers a resample's mean has 126 values, of which none beyond the extremes; the
  // 97.5 % quantile is well beyond the mean.
  EXPECT_GT(k_norm.cost_interval.low, *std::min_element(costs.begin(), costs.end()));
  EXPECT_LT(k_norm.cost_interval.high, *std::max_element(costs.begin(), costs.end()));
  const Interval expected = BootstrapInterval(
      {{costs[0]}, {costs[1]}, {costs[2]}, {costs[3]}, {costs[4]}}, options_.bootstrap);
  EXPECT_NEAR(k_norm.cost_interval.low, expected.low, 1e-9);
  EXPECT_NEAR(k_norm.cost_interval.high, expected.high, 1e-9);
  for (double budget : options_.budgets) {
    const Interval& interval = k_norm.retained_interval.at(budget);
    EXPECT_LT(interval.low, k_norm.retained.at(budget)) << budget;
    EXPECT_GT(interval.high, k_norm.retained.at(budget)) << budget;
  }
  // The oracle's cost is 1 in every trace.
  EXPECT_NEAR(results.policies[0].second.cost_interval.low, 1, 1e-12);
  EXPECT_NEAR(results.policies[0].second.cost_interval.high, 1, 1e-12);
}

TEST_F(OfflineTest, TheOracleIsBest) {
  reader_.AddTrace(1, "held_out", 40, 40);
  ASSERT_OK_AND_ASSIGN(const OfflineResults results, EvaluateOffline(reader_, policies_, options_));
  const PolicyOffline& oracle = results.policies[0].second;
  EXPECT_DOUBLE_EQ(oracle.cost, 1);
  for (const auto& [name, policy] : results.policies) {
    if (name == "oracle") continue;
    EXPECT_GT(policy.cost, 1) << name;
    for (double budget : options_.budgets) {
      EXPECT_LT(policy.retained.at(budget), oracle.retained.at(budget)) << name;
    }
  }
}

TEST_F(OfflineTest, HeadsReadInSmallGroupsGiveTheSame) {
  reader_.AddTrace(1, "held_out", 24, 24);
  reader_.AddTrace(2, "held_out", 30, 40);
  ASSERT_OK_AND_ASSIGN(const OfflineResults together,
                       EvaluateOffline(reader_, policies_, options_));
  options_.resident_bytes = 1;
  ASSERT_OK_AND_ASSIGN(const OfflineResults apart, EvaluateOffline(reader_, policies_, options_));
  for (size_t p = 0; p < policies_.size(); ++p) {
    EXPECT_NEAR(together.policies[p].second.cost, apart.policies[p].second.cost, 1e-9);
    EXPECT_NEAR(together.policies[p].second.retained.at(0.25),
                apart.policies[p].second.retained.at(0.25), 1e-9);
  }
}

TEST_F(OfflineTest, AHeadWithoutAFutureDoesntCount) {
  reader_.AddTrace(1, "held_out", 24, 24);
  reader_.AddTrace(2, "held_out", 30, 40, /*without_future=*/true);
  ASSERT_OK_AND_ASSIGN(const OfflineResults results, EvaluateOffline(reader_, policies_, options_));
  EXPECT_EQ(results.policies[1].second.heads[0].traces, 1);
  EXPECT_EQ(results.policies[1].second.heads[1].traces, 2);
  EXPECT_TRUE(std::isfinite(results.policies[1].second.cost));
}

TEST_F(OfflineTest, ATraceWithALostBlockIsLeftOut) {
  reader_.AddTrace(1, "held_out", 24, 24);
  ASSERT_OK_AND_ASSIGN(const OfflineResults whole, EvaluateOffline(reader_, policies_, options_));
  reader_.AddTrace(2, "held_out", 30, 40);
  reader_.DropBlock(/*head=*/0, /*index=*/2);
  ASSERT_OK_AND_ASSIGN(const OfflineResults results, EvaluateOffline(reader_, policies_, options_));
  EXPECT_EQ(results.corrupt_blocks, 1);
  EXPECT_NEAR(results.policies[4].second.cost, whole.policies[4].second.cost, 1e-9);
}

TEST_F(OfflineTest, NamesWhatIsWrong) {
  EXPECT_THAT(EvaluateOffline(reader_, policies_, options_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("held_out")));
  reader_.AddTrace(1, "held_out", 24, 24);
  options_.model_fingerprint = "def";
  EXPECT_THAT(EvaluateOffline(reader_, policies_, options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("abc")));
  options_.model_fingerprint.clear();
  options_.budgets = {2};
  EXPECT_THAT(EvaluateOffline(reader_, policies_, options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2")));
}

TEST_F(OfflineTest, PoliciesThatLookAtQueriesNeedThemRecorded) {
  FakeReader reader;
  reader.AddTrace(9, "held_out", 100, 100);
  std::vector<std::unique_ptr<Policy>> owned;
  std::vector<const Policy*> policies;
  for (const char* name : {"h2o", "key_diff", "tova", "kv_zip", "ada:key_diff"}) {
    owned.push_back(*MakePolicy(name));
    policies.push_back(owned.back().get());
  }
  ASSERT_OK_AND_ASSIGN(std::vector<const Policy*> able,
                       OfflinePolicies(reader, policies, "held_out"));
  EXPECT_EQ(able, (std::vector<const Policy*>{policies[1], policies[4]}));
  EXPECT_THAT(EvaluateOffline(reader, policies, options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("h2o")));

  FakeReader recorded;
  recorded.RecordQueries(3);
  recorded.AddTrace(9, "held_out", 100, 120);
  ASSERT_OK_AND_ASSIGN(able, OfflinePolicies(recorded, policies, "held_out"));
  EXPECT_EQ(able, (std::vector<const Policy*>{policies[0], policies[1], policies[2], policies[4]}));
  ASSERT_OK_AND_ASSIGN(const OfflineResults results, EvaluateOffline(recorded, able, options_));
  // h2o's sums by the definition.
  for (int64_t head = 0; head < kLayers * kKvHeads; ++head) {
    at::Tensor sums = at::zeros({1, 100}, at::kDouble);
    for (int64_t member = 0; member < 3; ++member) {
      sums += NaiveAttention(recorded.queries(9, head)[member], recorded.keys(9, head),
                             1 / std::sqrt(static_cast<double>(kHeadDim)), 0)
                  .sum(0);
    }
    PolicyInput input;
    input.heads = {HeadId::FromIndex(head, kKvHeads)};
    input.keys = input.values = recorded.keys(9, head).unsqueeze(0);
    input.positions = at::ones({100}, at::kLong).cumsum(0).sub(1);
    input.queries.attention_sums = sums.to(at::kFloat);
    ASSERT_OK_AND_ASSIGN(const at::Tensor scores, policies[0]->Score(input));
    ASSERT_OK_AND_ASSIGN(const RankingMetrics expected,
                         MeasureRanking(scores, recorded.importance(9, head).unsqueeze(0), {0.25}));
    EXPECT_NEAR(results.policies[0].second.heads[head].retained.at(0.25),
                expected.retained[0][0].item<double>(), 1e-6);
  }
}

TEST_F(OfflineTest, BudgetsAreSpreadOverTheHeadsOfALayer) {
  FakeReader reader;
  reader.AddTrace(9, "held_out", 100, 100);
  ASSERT_OK_AND_ASSIGN(const auto even, MakePolicy("key_diff"));
  ASSERT_OK_AND_ASSIGN(const auto ada, MakePolicy("ada:key_diff"));
  options_.resident_bytes = 1;  // one layer at a time
  ASSERT_OK_AND_ASSIGN(const OfflineResults results,
                       EvaluateOffline(reader, {even.get(), ada.get()}, options_));
  EXPECT_NE(results.policies[0].second.retained.at(0.25),
            results.policies[1].second.retained.at(0.25));
  EXPECT_EQ(results.policies[0].second.cost, results.policies[1].second.cost);
}

}  // namespace
}  // namespace kvp
