// For every family: a batch gives each sequence what it gets alone, and several devices give what
// one gives.

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ATen/ops/empty.h"
#include "gtest/gtest.h"
#include "llm/decoder.h"
#include "llm/tiny_model.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr double kTolerance = 1e-5;
constexpr int kSteps = 8;

std::vector<int32_t> RandomTokens(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(1 + random() % 299);
  return tokens;
}

// The largest difference, relative to the largest value.
double Difference(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  return actual.sub(expected).abs().max().item<double>() / expected.abs().max().item<double>();
}

void ExpectSameCache(const KvCache& actual, const KvCache& expected) {
  EXPECT_EQ(actual.next_position(), expected.next_position());
  for (int64_t layer = 0; layer < expected.layers(); ++layer) {
    for (int64_t head = 0; head < expected.kv_heads(); ++head) {
      EXPECT_LT(Difference(actual.keys(layer, head), expected.keys(layer, head)), kTolerance);
      EXPECT_LT(Difference(actual.values(layer, head), expected.values(layer, head)), kTolerance);
      EXPECT_TRUE(actual.positions(layer, head).equal(expected.positions(layer, head)));
    }
  }
}

int32_t Likeliest(const at::Tensor& logits) {
  return static_cast<int32_t>(logits[logits.size(0) - 1].argmax().item<int64_t>());
}

// Keeps a different number of the entries in each head.
void Thin(KvCache& cache) {
  for (int64_t layer = 0; layer < cache.layers(); ++layer) {
    for (int64_t head = 0; head < cache.kv_heads(); ++head) {
      const int64_t length = cache.length(layer, head);
      const int64_t step = 2 + layer + 2 * head;
      at::Tensor kept = at::empty({(length + step - 1) / step}, at::kLong);
      for (int64_t i = 0; i < kept.numel(); ++i) kept.data_ptr<int64_t>()[i] = i * step;
      ASSERT_OK(cache.Keep(layer, head, kept));
    }
  }
}

class BatchTest : public testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    const TinyFamily family = TinyFamilies()[GetParam()];
    directory_ = testing::TempDir() + "/batch_" + family.name;
    ASSERT_OK(WriteTinyModel(directory_, family.options));
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(directory_, {}));
    for (const int64_t length : {7, 1, 40, 13}) {
      prompts_.push_back(RandomTokens(length, static_cast<uint32_t>(length)));
    }
  }

  static Decoder::ForwardOptions AllLogits(int64_t chunk_tokens = 512) {
    Decoder::ForwardOptions options;
    options.logits = Decoder::Logits::kAll;
    options.chunk_tokens = chunk_tokens;
    return options;
  }

  std::vector<KvCache> NewCaches() const {
    return std::vector<KvCache>(prompts_.size(), decoder_->NewCache());
  }

  static std::vector<Decoder::Sequence> SequencesOf(const std::vector<std::vector<int32_t>>& tokens,
                                                    std::vector<KvCache>& caches) {
    std::vector<Decoder::Sequence> sequences;
    for (size_t i = 0; i < tokens.size(); ++i) sequences.push_back({tokens[i], &caches[i]});
    return sequences;
  }

  std::string directory_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<std::vector<int32_t>> prompts_;
};

TEST_P(BatchTest, GivesEachPromptTheTokensKeysValuesAndLogitsThatItGetsAlone) {
  std::vector<KvCache> alone = NewCaches();
  std::vector<at::Tensor> logits;
  std::vector<std::vector<int32_t>> continuations(prompts_.size());
  std::vector<KvCache> prefilled;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    ASSERT_OK_AND_ASSIGN(at::Tensor own, decoder_->Forward(prompts_[i], alone[i], AllLogits()));
    logits.push_back(own);
    prefilled.push_back(alone[i]);
    for (int step = 0; step < kSteps; ++step) {
      continuations[i].push_back(Likeliest(own));
      ASSERT_OK_AND_ASSIGN(own, decoder_->Forward({continuations[i].back()}, alone[i], {}));
    }
  }

  // Chunks that cut sequences, and one that holds them all.
  for (const int64_t chunk : {5, 512}) {
    SCOPED_TRACE(chunk);
    std::vector<KvCache> caches = NewCaches();
    ASSERT_OK_AND_ASSIGN(std::vector<at::Tensor> batch,
                         decoder_->ForwardBatch(SequencesOf(prompts_, caches), AllLogits(chunk)));
    for (size_t i = 0; i < prompts_.size(); ++i) {
      EXPECT_LT(Difference(batch[i], logits[i]), kTolerance) << "prompt " << i;
      ExpectSameCache(caches[i], prefilled[i]);
    }
    std::vector<std::vector<int32_t>> generated(prompts_.size());
    for (int step = 0; step < kSteps; ++step) {
      std::vector<std::vector<int32_t>> next;
      for (size_t i = 0; i < prompts_.size(); ++i) {
        next.push_back({Likeliest(batch[i])});
        generated[i].push_back(next[i][0]);
      }
      ASSERT_OK_AND_ASSIGN(batch, decoder_->ForwardBatch(SequencesOf(next, caches), {}));
    }
    EXPECT_EQ(generated, continuations);
    for (size_t i = 0; i < prompts_.size(); ++i) ExpectSameCache(caches[i], alone[i]);
  }
}

// cpu:0 is the same memory, but another device to torch: what goes there is copied.
TEST_P(BatchTest, LayersSpreadOverTwoDevicesGiveTheSame) {
  Decoder::Options options;
  options.devices = {"cpu", "cpu:0"};
  ASSERT_OK_AND_ASSIGN(const auto split, Decoder::Load(directory_, options));
  EXPECT_EQ(split->fingerprint(), decoder_->fingerprint());
  std::vector<KvCache> caches = NewCaches();
  std::vector<KvCache> split_caches(prompts_.size(), split->NewCache());
  ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> expected,
                       decoder_->ForwardBatch(SequencesOf(prompts_, caches), AllLogits(16)));
  ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> actual,
                       split->ForwardBatch(SequencesOf(prompts_, split_caches), AllLogits(16)));
  for (size_t i = 0; i < prompts_.size(); ++i) {
    EXPECT_TRUE(actual[i].equal(expected[i])) << "prompt " << i;
    ExpectSameCache(split_caches[i], caches[i]);
  }
}

// Torch refuses to compute on tensors of which some are on meta.
TEST_P(BatchTest, ALayerOnAnotherDeviceFindsEverythingThere) {
  Decoder::Options options;
  options.devices = {"cpu", "meta"};
  ASSERT_OK_AND_ASSIGN(const auto split, Decoder::Load(directory_, options));
  KvCache cache = split->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits,
                       split->Forward(prompts_[2], cache, AllLogits(/*chunk_tokens=*/16)));
  EXPECT_TRUE(logits.is_meta());
  EXPECT_EQ(logits.size(0), prompts_[2].size());
  const int64_t last = split->config().layers - 1;
  EXPECT_TRUE(cache.keys(0, 0).is_cpu());
  EXPECT_TRUE(cache.keys(last, 0).is_meta());
  EXPECT_EQ(cache.length(last, 0), prompts_[2].size());
}

TEST_P(BatchTest, AThinnedOutSequenceGoesTogetherWithWholeOnes) {
  std::vector<KvCache> caches = NewCaches();
  ASSERT_OK(decoder_->ForwardBatch(SequencesOf(prompts_, caches), {}));
  Thin(caches[0]);
  Thin(caches[2]);
  std::vector<std::vector<int32_t>> more;
  std::vector<KvCache> alone;
  std::vector<at::Tensor> expected;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    more.push_back(RandomTokens(3 + static_cast<int64_t>(i), 50));
    alone.push_back(caches[i]);
    ASSERT_OK_AND_ASSIGN(const at::Tensor logits,
                         decoder_->Forward(more[i], alone[i], AllLogits()));
    expected.push_back(logits);
  }
  for (const int64_t chunk : {4, 512}) {
    std::vector<KvCache> together = caches;
    ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> logits,
                         decoder_->ForwardBatch(SequencesOf(more, together), AllLogits(chunk)));
    for (size_t i = 0; i < prompts_.size(); ++i) {
      EXPECT_LT(Difference(logits[i], expected[i]), kTolerance) << "prompt " << i;
      ExpectSameCache(together[i], alone[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, BatchTest, testing::Range<size_t>(0, TinyFamilies().size()),
                         [](const auto& info) { return TinyFamilies()[info.param].name; });

}  // namespace
}  // namespace kvp
