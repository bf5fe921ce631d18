#include "llm/attention.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/kv_cache.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr int64_t kHeadDim = 8;
constexpr int64_t kContext = 19;  // entries before the queries' own
constexpr int64_t kTokens = 11;

at::Tensor Random(std::mt19937& random, std::vector<int64_t> shape) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<float>()[i] = normal(random);
  return tensor;
}

// What is removed of the context before the queries come.
enum class Removed { kNothing, kSameNumber, kDifferentNumbers };

struct Geometry {
  int64_t query_heads;
  int64_t kv_heads;
};

using Parameters = std::tuple<Geometry, int64_t /*window*/, Removed>;

// Of every query head and query, the weights of its KV head's entries, by definition.
using Weights = std::vector<std::vector<std::vector<double>>>;

class AttentionTest : public testing::TestWithParam<Parameters> {
 protected:
  AttentionTest() : cache_(Config(), at::TensorOptions().dtype(at::kFloat)) {}

  static ModelConfig Config() {
    ModelConfig config;
    config.layers = 1;
    config.query_heads = geometry().query_heads;
    config.kv_heads = geometry().kv_heads;
    config.head_dim = kHeadDim;
    return config;
  }
  static Geometry geometry() { return std::get<0>(GetParam()); }
  static int64_t window() { return std::get<1>(GetParam()); }
  static Removed removed() { return std::get<2>(GetParam()); }

  void SetUp() override {
    std::mt19937 random(3);
    Append(random, kContext);
    for (int64_t head = 0; removed() != Removed::kNothing && head < geometry().kv_heads; ++head) {
      std::vector<int64_t> kept;
      for (int64_t i = 0; i < kContext; ++i) {
        // Each third entry, another in each head; or each second, third, fourth.
        const bool keep =
            removed() == Removed::kSameNumber ? i < 18 && i % 3 == head % 3 : i % (2 + head) == 0;
        if (keep) kept.push_back(i);
      }
      ASSERT_OK(cache_.Keep(0, head, at::tensor(kept, at::kLong)));
    }
    Append(random, kTokens);
    // The decoder's order: attention comes before the positions advance.
    chunk_.queries = Random(random, {geometry().query_heads, kTokens, kHeadDim});
    chunk_.first_position = kContext;
    chunk_.cache = &cache_;
    chunk_.scale = 0.6;
    chunk_.window = window();
    expected_ = Naive();
  }

  void Append(std::mt19937& random, int64_t tokens) {
    const at::Tensor keys = Random(random, {geometry().kv_heads, tokens, kHeadDim});
    cache_.Append(0, keys, Random(random, {geometry().kv_heads, tokens, kHeadDim}));
    if (tokens == kContext) cache_.AdvancePosition(tokens);
  }

  static int64_t KvHead(int64_t query_head) {
    return query_head / (geometry().query_heads / geometry().kv_heads);
  }

  Weights Naive() const {
    Weights weights;
    for (int64_t head = 0; head < geometry().query_heads; ++head) {
      const at::Tensor positions = cache_.positions(0, KvHead(head));
      const at::Tensor scores = at::mm(chunk_.queries[head].to(at::kDouble),
                                       cache_.keys(0, KvHead(head)).to(at::kDouble).t());
      weights.emplace_back();
      for (int64_t query = 0; query < kTokens; ++query) {
        const int64_t position = kContext + query;
        std::vector<double> row;
        double sum = 0;
        for (int64_t entry = 0; entry < positions.numel(); ++entry) {
          const int64_t own = positions[entry].item<int64_t>();
          const bool seen = own <= position && (window() == 0 || own > position - window());
          row.push_back(seen ? std::exp(0.6 * scores[query][entry].item<double>()) : 0);
          sum += row.back();
        }
        for (double& weight : row) weight /= sum;
        weights.back().push_back(row);
      }
    }
    return weights;
  }

  void ExpectOutput(const at::Tensor& output) const {
    for (int64_t head = 0; head < geometry().query_heads; ++head) {
      const at::Tensor values = cache_.values(0, KvHead(head)).to(at::kDouble);
      for (int64_t query = 0; query < kTokens; ++query) {
        const at::Tensor weights = at::tensor(expected_[head][query], at::kDouble);
        const at::Tensor mean = at::mv(values.t(), weights);
        const at::Tensor own = output[query].narrow(0, head * kHeadDim, kHeadDim).to(at::kDouble);
        EXPECT_LT(own.sub(mean).abs().max().item<double>(), 1e-5)
            << "head " << head << ", query " << query;
      }
    }
  }

  KvCache cache_;
  AttentionChunk chunk_;
  Weights expected_;
};

// Compares the weights that it is shown with the definition's.
class Checker : public AttentionObserver {
 public:
  explicit Checker(const Weights& expected) : expected_(expected) {}

  absl::Status OnAttention(const AttentionChunk& chunk) override {
    EXPECT_EQ(chunk.first_position, kContext + queries);
    const int64_t shown = chunk.queries.size(1);
    if (chunk.weights.defined()) {
      EXPECT_EQ(chunk.weights.scalar_type(), at::kFloat);
      for (int64_t head = 0; head < chunk.weights.size(0); ++head) {
        for (int64_t query = 0; query < shown; ++query) {
          Compare(chunk.weights[head][query], chunk.first_entry, expected_[head][queries + query]);
        }
      }
      with_weights += shown;
      largest_first_entry = std::max(largest_first_entry, chunk.first_entry);
      largest_piece = std::max(largest_piece, shown);
    }
    queries += shown;
    return absl::OkStatus();
  }

  int64_t queries = 0;
  int64_t with_weights = 0;
  int64_t largest_first_entry = 0;
  int64_t largest_piece = 0;

 private:
  static void Compare(const at::Tensor& shown, int64_t first, const std::vector<double>& expected) {
    const at::Tensor host = shown.contiguous();
    for (int64_t entry = 0; entry < static_cast<int64_t>(expected.size()); ++entry) {
      const bool inside = entry >= first && entry < first + host.numel();
      EXPECT_NEAR(inside ? host.data_ptr<float>()[entry - first] : 0, expected[entry], 1e-6);
    }
  }

  const Weights& expected_;
};

TEST_P(AttentionTest, IsTheDefinitionsInBlocksOfAnySize) {
  // All at once, query by query, and a few queries.
  const int64_t few = 3 * geometry().query_heads * (kContext + kTokens) * int64_t{sizeof(float)};
  for (const int64_t score_bytes : {int64_t{0}, int64_t{1}, few}) {
    SCOPED_TRACE(score_bytes);
    const at::Tensor output = at::full({kTokens, geometry().query_heads * kHeadDim}, 7, at::kFloat);
    ASSERT_OK(Attend(chunk_, nullptr, output, score_bytes));
    ExpectOutput(output);
  }
}

TEST_P(AttentionTest, ShowsItsWeightsWhereHeadsLieTogether) {
  for (const int64_t score_bytes : {0, 1}) {
    SCOPED_TRACE(score_bytes);
    const at::Tensor output = at::empty({kTokens, geometry().query_heads * kHeadDim}, at::kFloat);
    Checker checker(expected_);
    ASSERT_OK(Attend(chunk_, &checker, output, score_bytes));
    ExpectOutput(output);
    EXPECT_EQ(checker.queries, kTokens);
    const bool together = cache_.layer_keys(0).defined();
    EXPECT_EQ(together, removed() != Removed::kDifferentNumbers || geometry().kv_heads == 1);
    EXPECT_EQ(checker.with_weights, together ? kTokens : 0);
    if (!together) continue;
    EXPECT_EQ(checker.largest_piece, score_bytes == 1 ? 1 : kTokens);
    // Only what no query of the block sees is left out.
    const int64_t last = kContext + kTokens - 1;
    const bool leaves_out = score_bytes == 1 && window() > 0 && removed() == Removed::kNothing;
    if (leaves_out) {
      EXPECT_EQ(checker.largest_first_entry, std::max<int64_t>(0, last - window() + 1));
    }
    if (window() == 0) {
      EXPECT_EQ(checker.largest_first_entry, 0);
    }
  }
}

TEST_P(AttentionTest, PassesTheObserversErrorOn) {
  class Failing : public AttentionObserver {
    absl::Status OnAttention(const AttentionChunk&) override { return absl::AbortedError("no"); }
  } failing;
  const at::Tensor output = at::empty({kTokens, geometry().query_heads * kHeadDim}, at::kFloat);
  EXPECT_THAT(Attend(chunk_, &failing, output),
              StatusIs(absl::StatusCode::kAborted, testing::HasSubstr("no")));
}

std::string NameOf(const testing::TestParamInfo<Parameters>& info) {
  const auto& [geometry, window, removed] = info.param;
  const std::string names[] = {"whole", "thinned", "ragged"};
  return absl::StrCat(geometry.query_heads, "_heads_on_", geometry.kv_heads, "_window_", window,
                      "_", names[static_cast<int>(removed)]);
}

INSTANTIATE_TEST_SUITE_P(Geometries, AttentionTest,
                         testing::Combine(testing::Values(Geometry{4, 4}, Geometry{6, 2},
                                                          Geometry{9, 3}, Geometry{3, 1}),
                                          testing::Values(0, 1, 5, 100),
                                          testing::Values(Removed::kNothing, Removed::kSameNumber,
                                                          Removed::kDifferentNumbers)),
                         NameOf);

}  // namespace
}  // namespace kvp
