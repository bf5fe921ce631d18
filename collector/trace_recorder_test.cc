// When and in how many copies what is recorded leaves the device. Labels have labels_test.cc.

#include "collector/trace_recorder.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/decoder.h"
#include "llm/tiny_model.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kLayers = 2;  // TinyModelOptions' default
constexpr int64_t kTokens = 40;

// What a layer's recorder has copied by the time the layer has been computed.
class CountingObserver : public AttentionObserver {
 public:
  explicit CountingObserver(TraceRecorder* recorder) : recorder_(*recorder) {}

  absl::Status OnAttention(const AttentionChunk& chunk) override {
    const absl::Status status = recorder_.OnAttention(chunk);
    after_layer_[chunk.layer] = recorder_.host_copies();
    return status;
  }
  int64_t after_layer(int64_t layer) const { return after_layer_[layer]; }

 private:
  TraceRecorder& recorder_;
  int64_t after_layer_[kLayers] = {};
};

class TraceRecorderTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = testing::TempDir() + "/recorder_model";
    ASSERT_OK(WriteTinyModel(directory, {}));
    auto loaded = Decoder::Load(directory, {});
    ASSERT_OK(loaded);
    decoder_ = *std::move(loaded);
    for (int64_t i = 0; i < kTokens; ++i) {
      tokens_.push_back(static_cast<int32_t>((i * 31 + i * i) % decoder_->config().vocab_size));
    }
  }

  // Runs the first `first` tokens, and then the others in chunks of `chunk_tokens`.
  absl::Status Run(AttentionObserver* observer, int64_t first, int64_t chunk_tokens,
                   KvCache& cache) {
    Decoder::ForwardOptions options;
    options.logits = Decoder::Logits::kNone;
    options.chunk_tokens = chunk_tokens;
    options.observer = observer;
    const absl::Span<const int32_t> tokens = tokens_;
    for (const absl::Span<const int32_t> part : {tokens.first(first), tokens.subspan(first)}) {
      if (part.empty()) continue;
      if (const auto logits = decoder_->Forward(part, cache, options); !logits.ok()) {
        return logits.status();
      }
    }
    return absl::OkStatus();
  }

  std::unique_ptr<Decoder> decoder_;
  std::vector<int32_t> tokens_;
};

TEST_F(TraceRecorderTest, ASequenceOfKnownLengthLeavesInOneCopyALayerOnceTheLayerIsComputed) {
  for (const int64_t chunk_tokens : {7, 512}) {
    ASSERT_OK_AND_ASSIGN(const auto recorder,
                         TraceRecorder::Create(decoder_->config(), {10, 30},
                                               /*record_queries=*/false, kTokens));
    CountingObserver observer(recorder.get());
    KvCache cache = decoder_->NewCache();
    ASSERT_OK(Run(&observer, kTokens, chunk_tokens, cache));
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      EXPECT_EQ(observer.after_layer(layer), layer + 1);
    }
    ASSERT_OK_AND_ASSIGN(const std::vector<LayerRecord> records, recorder->Finish(cache));
    EXPECT_EQ(recorder->host_copies(), kLayers);
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const LayerRecord& record = records[layer];
      EXPECT_TRUE(record.keys.is_contiguous());
      EXPECT_TRUE(record.keys.equal(cache.layer_keys(layer).narrow(1, 0, 30).to(at::kBFloat16)));
      EXPECT_TRUE(
          record.values.equal(cache.layer_values(layer).narrow(1, 0, 30).to(at::kBFloat16)));
      EXPECT_EQ(record.labels.sizes(), (std::vector<int64_t>{2, 2, 30}));
      EXPECT_TRUE(record.keys.is_alias_of(record.labels)) << "not of one copy";
    }
  }
}

TEST_F(TraceRecorderTest, OfAGeneratedOneAllLabelsLeaveInOneCopyAtTheEnd) {
  ASSERT_OK_AND_ASSIGN(const auto known, TraceRecorder::Create(decoder_->config(), {10, 30},
                                                               /*record_queries=*/false, kTokens));
  ASSERT_OK_AND_ASSIGN(const auto generated,
                       TraceRecorder::Create(decoder_->config(), {10, 30}, false));
  KvCache known_cache = decoder_->NewCache();
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(Run(known.get(), 30, /*chunk_tokens=*/1, known_cache));
  ASSERT_OK(Run(generated.get(), 30, /*chunk_tokens=*/1, cache));
  EXPECT_EQ(known->host_copies(), kLayers);
  EXPECT_EQ(generated->host_copies(), kLayers);
  ASSERT_OK_AND_ASSIGN(const std::vector<LayerRecord> expected, known->Finish(known_cache));
  ASSERT_OK_AND_ASSIGN(const std::vector<LayerRecord> records, generated->Finish(cache));
  EXPECT_EQ(generated->host_copies(), kLayers + 1);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_TRUE(records[layer].keys.equal(expected[layer].keys));
    EXPECT_TRUE(records[layer].values.equal(expected[layer].values));
    EXPECT_GT(records[layer].labels.abs().max().item<float>(), 0);
    EXPECT_TRUE(records[layer].labels.equal(expected[layer].labels));
  }
}

TEST_F(TraceRecorderTest, ASequenceThatEndsTooEarlyIsRefused) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(TraceRecorder::Create(decoder_->config(), {30}, false, 29),
              StatusIs(kInvalid, HasSubstr("sequence_tokens is 29")));
  ASSERT_OK_AND_ASSIGN(const auto recorder,
                       TraceRecorder::Create(decoder_->config(), {30}, false, kTokens + 1));
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(Run(recorder.get(), kTokens, 512, cache));
  EXPECT_THAT(recorder->Finish(cache), StatusIs(kInvalid, HasSubstr("saw 40 tokens")));
}

}  // namespace
}  // namespace kvp
