#include "eval/fixed_budget.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "ATen/ATen.h"
#include "llm/decoder.h"
#include "llm/tiny_model.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<int64_t> Positions(const KvCache& cache, int64_t layer, int64_t head) {
  const at::Tensor positions = cache.positions(layer, head);
  const int64_t* begin = positions.data_ptr<int64_t>();
  return std::vector<int64_t>(begin, begin + positions.numel());
}

std::vector<int64_t> Sorted(std::vector<int64_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

class FixedBudgetTest : public testing::Test {
 protected:
  void SetUp() override { Load({}); }
  void Load(const TinyModelOptions& tiny) {
    const std::string directory = testing::TempDir() + "/tiny_fixed_budget";
    ASSERT_OK(WriteTinyModel(directory, tiny));
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(directory, {}));
  }
  absl::StatusOr<at::Tensor> Run(int64_t tokens, KvCache& cache) const {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < tokens; ++i) {
      ids.push_back(static_cast<int32_t>((cache.next_position() + i) * 31 % 251));
    }
    return decoder_->Forward(ids, cache, {});
  }
  FixedBudget::Options Options(int64_t budget, ProtectedTokens tokens = {}) const {
    FixedBudget::Options options;
    options.budget_tokens = budget;
    options.protected_tokens = tokens;
    options.rope_frequencies = decoder_->rope_frequencies();
    return options;
  }

  std::unique_ptr<Decoder> decoder_;
};

TEST_F(FixedBudgetTest, StreamingLlmLeavesSinksAndTheMostRecent) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("streaming_llm"));
  ASSERT_OK_AND_ASSIGN(FixedBudget budget, FixedBudget::Create(policy.get(), Options(24)));
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(Run(10, cache));
  ASSERT_OK(budget.Update(cache));
  EXPECT_EQ(cache.length(1, 1), 10);
  for (int i = 0; i < 60; ++i) {
    ASSERT_OK(Run(1, cache));
    ASSERT_OK(budget.Update(cache));
    ASSERT_OK(budget.Update(cache));  // nothing new
  }
  for (int64_t layer = 0; layer < cache.layers(); ++layer) {
    for (int64_t head = 0; head < cache.kv_heads(); ++head) {
      std::vector<int64_t> expected = {0, 1, 2, 3};
      for (int64_t position = 50; position < 70; ++position) expected.push_back(position);
      EXPECT_EQ(Sorted(Positions(cache, layer, head)), expected);
    }
  }
}

// What a head keeps, by sorting all its entries anew.
std::vector<int64_t> BestPositions(const KvCache& cache, int64_t layer, int64_t head,
                                   int64_t budget, ProtectedTokens tokens) {
  const at::Tensor norms = cache.keys(layer, head).norm(2, 1).to(at::kDouble);
  std::vector<std::pair<double, int64_t>> ranked;
  const std::vector<int64_t> positions = Positions(cache, layer, head);
  for (size_t i = 0; i < positions.size(); ++i) {
    const bool is_protected =
        positions[i] < tokens.sinks || positions[i] >= cache.next_position() - tokens.recent;
    ranked.emplace_back(is_protected ? -1.0 : norms[static_cast<int64_t>(i)].item<double>(),
                        positions[i]);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<int64_t> best;
  for (const auto& [norm, position] : ranked) {
    if (static_cast<int64_t>(best.size()) < budget) best.push_back(position);
  }
  return Sorted(best);
}

TEST_F(FixedBudgetTest, TheLowestScoredLeaveWhateverComesAtOnce) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("k_norm"));
  for (const ProtectedTokens tokens : {ProtectedTokens{4, 16}, ProtectedTokens{0, 1}}) {
    ASSERT_OK_AND_ASSIGN(FixedBudget budget,
                         FixedBudget::Create(policy.get(), Options(30, tokens)));
    KvCache cache = decoder_->NewCache();
    for (const int64_t added : {20, 9, 1, 1, 1, 40, 1, 1, 2, 1, 1, 5, 1, 1, 1, 1}) {
      ASSERT_OK(Run(added, cache));
      std::vector<std::vector<int64_t>> expected;
      for (int64_t row = 0; row < 4; ++row) {
        expected.push_back(BestPositions(cache, row / 2, row % 2, 30, tokens));
      }
      ASSERT_OK(budget.Update(cache));
      for (int64_t row = 0; row < 4; ++row) {
        EXPECT_EQ(Sorted(Positions(cache, row / 2, row % 2)), expected[row]);
      }
    }
  }
}

TEST_F(FixedBudgetTest, MemoryStaysAsItIs) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("k_norm"));
  ASSERT_OK_AND_ASSIGN(FixedBudget budget, FixedBudget::Create(policy.get(), Options(40)));
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(Run(60, cache));
  ASSERT_OK(budget.Update(cache));
  std::set<int64_t> bytes;
  std::set<const void*> places;
  for (int i = 0; i < 200; ++i) {
    ASSERT_OK(Run(1, cache));
    ASSERT_OK(budget.Update(cache));
    bytes.insert(cache.allocated_bytes());
    places.insert(cache.keys(0, 0).data_ptr());
  }
  EXPECT_EQ(bytes.size(), 1);
  EXPECT_EQ(places.size(), 1);
}

// The order of entries in memory means nothing to attention, with and without sliding windows.
TEST_F(FixedBudgetTest, AReorderedCacheGivesTheLogitsOfOneInOrder) {
  for (const TinyFamily& family : TinyFamilies()) {
    Load(family.options);
    KvCache swapped = decoder_->NewCache();
    ASSERT_OK(Run(20, swapped));
    KvCache in_order = swapped;
    for (int64_t row = 0; row < swapped.layers() * swapped.kv_heads(); ++row) {
      const int64_t layer = row / swapped.kv_heads();
      const int64_t head = row % swapped.kv_heads();
      ASSERT_OK(swapped.Remove(layer, head, 3 + row % 2));
      ASSERT_OK(swapped.Remove(layer, head, 15));
      // 19 stands where 3 (or 4) was, 18 where 15 was.
      std::vector<int64_t> kept;
      for (int64_t i = 0; i < 20; ++i) {
        if (i != 3 + row % 2 && i != 15) kept.push_back(i);
      }
      ASSERT_OK(in_order.Keep(layer, head, at::tensor(kept, at::kLong)));
      ASSERT_EQ(Sorted(Positions(swapped, layer, head)), Positions(in_order, layer, head));
      ASSERT_NE(Positions(swapped, layer, head), Positions(in_order, layer, head));
    }
    for (const int64_t tokens : {1, 5, 1}) {
      ASSERT_OK_AND_ASSIGN(const at::Tensor a, Run(tokens, swapped));
      ASSERT_OK_AND_ASSIGN(const at::Tensor b, Run(tokens, in_order));
      EXPECT_TRUE(at::allclose(a, b, 1e-4, 1e-4)) << family.name;
    }
  }
}

TEST_F(FixedBudgetTest, PoliciesThatCantScoreOneByOneAreRefusedByName) {
  int refused = 0;
  for (const PolicyInfo& info : Policies()) {
    if (!info.file.empty()) continue;
    ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy(info.name));
    const absl::Status status = FixedBudget::Create(policy.get(), Options(64)).status();
    if (info.scores_once) {
      EXPECT_OK(status);
    } else {
      ++refused;
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(info.name)));
    }
  }
  EXPECT_EQ(refused, 11);
}

TEST_F(FixedBudgetTest, RefusesWhatItCantHold) {
  ASSERT_OK_AND_ASSIGN(const auto policy, MakePolicy("k_norm"));
  EXPECT_OK(FixedBudget::Create(policy.get(), Options(20)));
  EXPECT_THAT(FixedBudget::Create(policy.get(), Options(19)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("budget of 19"), HasSubstr("at least 20"))));
  EXPECT_THAT(FixedBudget::Create(policy.get(), Options(0, {0, 0})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("budget of 0")));
  ASSERT_OK_AND_ASSIGN(FixedBudget budget, FixedBudget::Create(policy.get(), Options(64)));
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(Run(10, cache));
  ASSERT_OK(budget.Update(cache));
  ASSERT_OK(cache.Remove(1, 0, 2));
  ASSERT_OK(Run(1, cache));
  EXPECT_THAT(budget.Update(cache), StatusIs(absl::StatusCode::kFailedPrecondition,
                                             AllOf(HasSubstr("layer 1"), HasSubstr("KV head 0"))));
}

}  // namespace
}  // namespace kvp
