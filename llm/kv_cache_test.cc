#include "llm/kv_cache.h"

#include <random>
#include <set>

#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kLayers = 2;
constexpr int64_t kHeads = 3;
constexpr int64_t kDim = 4;
// Of one entry of one head: K and V in fp32.
constexpr int64_t kEntryBytes = 2 * kDim * 4;

KvCache NewCache(at::ScalarType dtype = at::kFloat) {
  ModelConfig config;
  config.layers = kLayers;
  config.kv_heads = kHeads;
  config.query_heads = kHeads;
  config.head_dim = kDim;
  return KvCache(config, at::TensorOptions().dtype(dtype));
}

at::Tensor Indices(std::vector<int64_t> indices) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(indices.size())}, at::kLong);
  std::copy(indices.begin(), indices.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

std::vector<int64_t> Positions(const KvCache& cache, int64_t layer, int64_t head) {
  const at::Tensor positions = cache.positions(layer, head);
  const int64_t* begin = positions.data_ptr<int64_t>();
  return std::vector<int64_t>(begin, begin + positions.numel());
}

// K of an entry says which it is; V is its negative.
float Mark(int64_t layer, int64_t head, int64_t position) {
  return static_cast<float>((layer * 10 + head) * 10000 + position);
}

void AppendMarked(KvCache& cache, int64_t tokens) {
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    const at::Tensor keys =
        at::empty({kHeads, tokens, kDim}, at::TensorOptions().dtype(at::kFloat));
    for (int64_t head = 0; head < kHeads; ++head) {
      for (int64_t i = 0; i < tokens; ++i) {
        keys[head][i].fill_(Mark(layer, head, cache.next_position() + i));
      }
    }
    cache.Append(layer, keys, keys.neg());
  }
  cache.AdvancePosition(tokens);
}

void ExpectMarked(const KvCache& cache, int64_t layer, int64_t head,
                  const std::vector<int64_t>& positions) {
  EXPECT_EQ(cache.length(layer, head), static_cast<int64_t>(positions.size()));
  EXPECT_EQ(Positions(cache, layer, head), positions);
  const at::Tensor keys = cache.keys(layer, head);
  const at::Tensor values = cache.values(layer, head);
  ASSERT_EQ(keys.sizes(), at::IntArrayRef({static_cast<int64_t>(positions.size()), kDim}));
  ASSERT_EQ(values.sizes(), keys.sizes());
  for (size_t i = 0; i < positions.size(); ++i) {
    EXPECT_EQ(keys[i][kDim - 1].item<float>(), Mark(layer, head, positions[i]));
    EXPECT_EQ(values[i][0].item<float>(), -Mark(layer, head, positions[i]));
  }
}

TEST(KvCacheTest, BeginsEmpty) {
  const KvCache cache = NewCache();
  EXPECT_EQ(cache.layers(), kLayers);
  EXPECT_EQ(cache.kv_heads(), kHeads);
  EXPECT_EQ(cache.length(1, 2), 0);
  EXPECT_EQ(cache.next_position(), 0);
  EXPECT_EQ(cache.allocated_bytes(), 0);
  EXPECT_EQ(cache.keys(0, 0).sizes(), at::IntArrayRef({0, kDim}));
}

TEST(KvCacheTest, OneAppendAllocatesExactlyItsEntries) {
  KvCache cache = NewCache();
  AppendMarked(cache, 100);
  EXPECT_EQ(cache.allocated_bytes(), 100 * kLayers * kHeads * kEntryBytes);
  ExpectMarked(cache, 1, 2, Positions(cache, 0, 0));
  EXPECT_EQ(cache.layer_keys(1).sizes(), at::IntArrayRef({kHeads, 100, kDim}));
}

TEST(KvCacheTest, AppendsAfterReserveAllocateOnce) {
  KvCache cache = NewCache();
  for (int64_t layer = 0; layer < kLayers; ++layer) cache.Reserve(layer, 30);
  const int64_t bytes = cache.allocated_bytes();
  EXPECT_EQ(bytes, 30 * kLayers * kHeads * kEntryBytes);
  for (int i = 0; i < 3; ++i) AppendMarked(cache, 10);
  EXPECT_EQ(cache.allocated_bytes(), bytes);
}

TEST(KvCacheTest, HalfPrecisionTakesHalfTheBytes) {
  KvCache cache = NewCache(at::kBFloat16);
  AppendMarked(cache, 8);
  EXPECT_EQ(cache.allocated_bytes(), 8 * kLayers * kHeads * kEntryBytes / 2);
}

TEST(KvCacheTest, KeepFreesEverythingElse) {
  KvCache cache = NewCache();
  AppendMarked(cache, 64);
  AppendMarked(cache, 1);  // leaves room for more
  EXPECT_GT(cache.allocated_bytes(), 65 * kLayers * kHeads * kEntryBytes);
  int64_t entries = 0;
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t head = 0; head < kHeads; ++head) {
      std::vector<int64_t> kept = {1, 5, 60 + head};
      for (int64_t i = 0; i < layer; ++i) kept.insert(kept.begin(), 0);
      ASSERT_OK(cache.Keep(layer, head, Indices(kept)));
      entries += static_cast<int64_t>(kept.size());
      ExpectMarked(cache, layer, head, kept);
    }
  }
  EXPECT_EQ(cache.allocated_bytes(), entries * kEntryBytes);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t head = 0; head < kHeads; ++head) {
      EXPECT_EQ(cache.keys(layer, head).storage().nbytes(), cache.keys(layer, head).nbytes());
    }
  }
  EXPECT_EQ(cache.next_position(), 65);
}

TEST(KvCacheTest, KeepOfOneHeadLeavesTheOthersWhole) {
  KvCache cache = NewCache();
  AppendMarked(cache, 10);
  ASSERT_OK(cache.Keep(0, 1, Indices({0, 9})));
  EXPECT_FALSE(cache.layer_keys(0).defined());
  EXPECT_TRUE(cache.layer_keys(1).defined());
  ExpectMarked(cache, 0, 0, Positions(cache, 1, 0));
  ExpectMarked(cache, 0, 1, {0, 9});
  EXPECT_EQ(cache.allocated_bytes(), (kLayers * kHeads * 10 - 8) * kEntryBytes);
}

TEST(KvCacheTest, MayKeepNothing) {
  KvCache cache = NewCache();
  AppendMarked(cache, 4);
  for (int64_t head = 0; head < kHeads; ++head) {
    ASSERT_OK(cache.Keep(0, head, Indices({})));
    ASSERT_OK(cache.Keep(1, head, Indices({})));
  }
  EXPECT_EQ(cache.allocated_bytes(), 0);
  AppendMarked(cache, 2);
  ExpectMarked(cache, 1, 1, {4, 5});
}

TEST(KvCacheTest, HeadsOfEqualLengthLieTogetherAgainAfterAnAppend) {
  KvCache cache = NewCache();
  AppendMarked(cache, 20);
  for (int64_t head = 0; head < kHeads; ++head) {
    ASSERT_OK(cache.Keep(0, head, Indices({head, 10, 15})));
  }
  AppendMarked(cache, 2);
  EXPECT_EQ(cache.layer_keys(0).sizes(), at::IntArrayRef({kHeads, 5, kDim}));
  for (int64_t head = 0; head < kHeads; ++head) {
    ExpectMarked(cache, 0, head, {head, 10, 15, 20, 21});
  }
}

TEST(KvCacheTest, OneTokenAtATimeRarelyCopies) {
  KvCache cache = NewCache();
  AppendMarked(cache, 100);
  const at::Tensor token = at::full({kHeads, 1, kDim}, 1.0);
  std::set<const void*> blocks;
  for (int i = 0; i < 1000; ++i) {
    for (int64_t layer = 0; layer < kLayers; ++layer) cache.Append(layer, token, token);
    cache.AdvancePosition(1);
    blocks.insert(cache.keys(0, 0).data_ptr());
    EXPECT_LE(cache.allocated_bytes(),
              (cache.length(0, 0) * 9 / 8 + 16) * kLayers * kHeads * kEntryBytes);
  }
  EXPECT_LT(blocks.size(), 30);
}

TEST(KvCacheTest, CopiesAreIndependentAndExact) {
  KvCache cache = NewCache();
  AppendMarked(cache, 64);
  AppendMarked(cache, 1);
  KvCache copy = cache;
  EXPECT_EQ(copy.allocated_bytes(), 65 * kLayers * kHeads * kEntryBytes);
  ASSERT_OK(copy.Keep(0, 0, Indices({3})));
  KvCache ragged(copy);
  AppendMarked(copy, 1);
  ExpectMarked(copy, 0, 0, {3, 65});
  ExpectMarked(ragged, 0, 0, {3});
  EXPECT_EQ(cache.length(0, 0), 65);
  EXPECT_EQ(copy.next_position(), 66);
  EXPECT_EQ(cache.next_position(), 65);
  cache = ragged;
  ExpectMarked(cache, 0, 0, {3});
  EXPECT_NE(cache.keys(0, 0).data_ptr(), ragged.keys(0, 0).data_ptr());
}

TEST(KvCacheTest, RefusesBadIndicesNamingHeadAndValue) {
  KvCache cache = NewCache();
  AppendMarked(cache, 5);
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const auto named = [](const char* value) {
    return AllOf(HasSubstr("layer 1"), HasSubstr("head 2"), HasSubstr(value));
  };
  EXPECT_THAT(cache.Keep(1, 2, Indices({0, 5})), StatusIs(invalid, named("5")));
  EXPECT_THAT(cache.Keep(1, 2, Indices({-1})), StatusIs(invalid, named("-1")));
  EXPECT_THAT(cache.Keep(1, 2, Indices({3, 1})), StatusIs(invalid, named("1 after 3")));
  EXPECT_THAT(cache.Keep(1, 2, Indices({3, 3})), StatusIs(invalid, named("3 after 3")));
  EXPECT_THAT(cache.Keep(1, 2, Indices({1}).to(at::kInt)), StatusIs(invalid, named("int64")));
  EXPECT_THAT(cache.Keep(1, 2, Indices({1, 2}).view({1, 2})), StatusIs(invalid, named("int64")));
  EXPECT_THAT(cache.Keep(1, 2, at::Tensor()), StatusIs(invalid, named("int64")));
  EXPECT_THAT(cache.Keep(2, 0, Indices({0})), StatusIs(invalid, HasSubstr("layer 2")));
  EXPECT_THAT(cache.Keep(0, 3, Indices({0})), StatusIs(invalid, HasSubstr("head 3")));
  ExpectMarked(cache, 1, 2, {0, 1, 2, 3, 4});
}

TEST(KvCacheTest, RemovePutsTheLastEntryInTheOnesPlace) {
  KvCache cache = NewCache();
  AppendMarked(cache, 6);
  ASSERT_OK(cache.Remove(0, 1, 2));
  ExpectMarked(cache, 0, 1, {0, 1, 5, 3, 4});
  ASSERT_OK(cache.Remove(0, 1, 4));
  ExpectMarked(cache, 0, 1, {0, 1, 5, 3});
  ExpectMarked(cache, 0, 0, {0, 1, 2, 3, 4, 5});
  // Lengths differ.
  EXPECT_FALSE(cache.layer_keys(0).defined());
  EXPECT_TRUE(cache.layer_keys(1).defined());
  KvCache copy = cache;
  for (KvCache* each : {&cache, &copy}) {
    AppendMarked(*each, 2);
    ExpectMarked(*each, 0, 1, {0, 1, 5, 3, 6, 7});
    ExpectMarked(*each, 0, 2, {0, 1, 2, 3, 4, 5, 6, 7});
    EXPECT_FALSE(each->complete(0, 1));
    EXPECT_TRUE(each->complete(0, 0));
  }
  ASSERT_OK(copy.Keep(0, 1, Indices({0, 2, 5})));
  ExpectMarked(copy, 0, 1, {0, 5, 7});
}

TEST(KvCacheTest, AHeadThatLostAnEntryIsNeverCompleteAgain) {
  KvCache cache = NewCache();
  AppendMarked(cache, 6);
  // The positions that are left end in the number of entries less one.
  ASSERT_OK(cache.Remove(0, 0, 1));
  ASSERT_OK(cache.Remove(0, 0, 1));
  ExpectMarked(cache, 0, 0, {0, 4, 2, 3});
  EXPECT_FALSE(cache.complete(0, 0));
  EXPECT_TRUE(cache.complete(0, 1));
}

TEST(KvCacheTest, OneEntryInAndOneOutCopiesNothingAndStaysInPlace) {
  KvCache cache = NewCache();
  AppendMarked(cache, 40);
  AppendMarked(cache, 1);
  const void* const place = cache.keys(0, 0).data_ptr();
  const int64_t bytes = cache.allocated_bytes();
  std::vector<int64_t> positions = Positions(cache, 1, 2);
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) {
    const int64_t index = random() % 41;
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      for (int64_t head = 0; head < kHeads; ++head) ASSERT_OK(cache.Remove(layer, head, index));
    }
    positions[index] = positions.back();
    positions.back() = 41 + i;
    AppendMarked(cache, 1);
    ASSERT_EQ(cache.keys(0, 0).data_ptr(), place);
    ASSERT_EQ(cache.allocated_bytes(), bytes);
    ASSERT_EQ(cache.layer_keys(1).size(1), 41);
  }
  ExpectMarked(cache, 1, 2, positions);
}

TEST(KvCacheTest, RemoveRefusesWhatIsNotThere) {
  KvCache cache = NewCache();
  AppendMarked(cache, 3);
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(cache.Remove(1, 2, 3),
              StatusIs(invalid, AllOf(HasSubstr("layer 1"), HasSubstr("index 3"))));
  EXPECT_THAT(cache.Remove(1, 2, -1), StatusIs(invalid, HasSubstr("index -1")));
  EXPECT_THAT(cache.Remove(2, 0, 0), StatusIs(invalid, HasSubstr("layer 2")));
  EXPECT_THAT(cache.Remove(0, 3, 0), StatusIs(invalid, HasSubstr("head 3")));
}

TEST(KvCacheTest, AgreesWithASimpleModelUnderRandomUse) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    KvCache cache = NewCache();
    std::vector<std::vector<int64_t>> model(kLayers * kHeads);
    int64_t position = 0;
    for (int step = 0; step < 15; ++step) {
      const int64_t choice = random() % 5;
      if (choice < 2) {
        const int64_t tokens = random() % 3 == 0 ? 1 + random() % 12 : 1;
        AppendMarked(cache, tokens);
        for (int64_t i = 0; i < tokens; ++i, ++position) {
          for (std::vector<int64_t>& head : model) head.push_back(position);
        }
      } else if (choice == 2) {
        for (int64_t i = 0; i < kLayers * kHeads; ++i) {
          if (model[i].empty() || random() % 3 == 0) continue;
          const int64_t index = random() % model[i].size();
          ASSERT_OK(cache.Remove(i / kHeads, i % kHeads, index));
          model[i][index] = model[i].back();
          model[i].pop_back();
        }
      } else {
        const int64_t index = random() % model.size();
        std::vector<int64_t> kept;
        std::vector<int64_t> left;
        for (size_t i = 0; i < model[index].size(); ++i) {
          if (random() % 4 == 0) continue;
          kept.push_back(static_cast<int64_t>(i));
          left.push_back(model[index][i]);
        }
        ASSERT_OK(cache.Keep(index / kHeads, index % kHeads, Indices(kept)));
        model[index] = left;
      }
    }
    for (int64_t i = 0; i < kLayers * kHeads; ++i) {
      ExpectMarked(cache, i / kHeads, i % kHeads, model[i]);
    }
  }
}

}  // namespace
}  // namespace kvp
