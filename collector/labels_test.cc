// Labels of every model family against the definition: a softmax over whole sequences, in double.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "collector/capture.h"
#include "collector/trace_recorder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/decoder.h"
#include "llm/narrowed_observer.h"
#include "llm/tiny_model.h"
#include "util/naive_importance.h"
#include "util/status_matchers.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

// fp16 keeps 11 bits, and steps of 6e-8 at the smallest numbers.
constexpr double kRelative = 1e-3;
constexpr double kAbsolute = 1e-7;

// Keeps what attention is made of, of a pass over a whole sequence.
class Recorder : public AttentionObserver {
 public:
  struct Layer {
    std::vector<at::Tensor> queries;
    double scale = 0;
    int64_t window = 0;
  };

  absl::Status OnAttention(const AttentionChunk& chunk) override {
    Layer& layer = layers_[chunk.layer];
    layer.queries.push_back(chunk.queries.clone());
    layer.scale = chunk.scale;
    layer.window = chunk.window;
    return absl::OkStatus();
  }
  const Layer& layer(int64_t layer) const { return layers_.at(layer); }

 private:
  std::map<int64_t, Layer> layers_;
};

class LabelsTest : public testing::TestWithParam<TinyFamily> {
 protected:
  void SetUp() override {
    const std::string directory = absl::StrCat(testing::TempDir(), "/", GetParam().name);
    ASSERT_OK(WriteTinyModel(directory, GetParam().options));
    auto loaded = Decoder::Load(directory, {});
    ASSERT_OK(loaded);
    decoder_ = *std::move(loaded);
    model_ = ModelInfoOf(*decoder_, directory);
  }

  std::vector<int32_t> Tokens(int64_t count, int64_t seed) const {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; ++i) {
      tokens.push_back(
          static_cast<int32_t>((i * 31 + i * i * seed + 7 * seed) % decoder_->config().vocab_size));
    }
    return tokens;
  }

  // double [layers][kv_heads, cuts, entries], from one pass over the tokens alone.
  std::vector<at::Tensor> Reference(const std::vector<int32_t>& tokens,
                                    const std::vector<int64_t>& cuts) const {
    KvCache cache = decoder_->NewCache();
    Recorder recorder;
    Decoder::ForwardOptions forward;
    forward.logits = Decoder::Logits::kNone;
    forward.observer = &recorder;
    EXPECT_OK(decoder_->Forward(tokens, cache, forward).status());
    const ModelConfig& config = decoder_->config();
    std::vector<at::Tensor> labels;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const Recorder::Layer& seen = recorder.layer(layer);
      const at::Tensor queries = at::cat(seen.queries, 1);
      std::vector<at::Tensor> heads;
      for (int64_t head = 0; head < config.kv_heads; ++head) {
        const int64_t group = config.query_group();
        heads.push_back(NaiveImportance(queries.narrow(0, head * group, group),
                                        cache.keys(layer, head), seen.scale, seen.window, cuts));
      }
      labels.push_back(at::stack(heads));
    }
    return labels;
  }

  std::unique_ptr<Decoder> decoder_;
  ModelInfo model_;
};

TEST_P(LabelsTest, EqualTheDefinitionWhateverAttentionShowsAndHoweverItIsCut) {
  const std::vector<int32_t> tokens = Tokens(70, 3);
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{50}, {5, 17, 18, 60}}) {
    const std::vector<at::Tensor> reference = Reference(tokens, cuts);
    for (const Shown shown : {Shown::kWeights, Shown::kLogSumExp, Shown::kQueriesAlone}) {
      for (const int64_t chunk_tokens : {1, 7, 64, 512}) {
        ASSERT_OK_AND_ASSIGN(const auto recorder,
                             TraceRecorder::Create(decoder_->config(), cuts, false));
        NarrowedObserver observer(recorder.get(), shown);
        KvCache cache = decoder_->NewCache();
        Decoder::ForwardOptions forward;
        forward.logits = Decoder::Logits::kNone;
        forward.chunk_tokens = chunk_tokens;
        forward.observer = &observer;
        ASSERT_OK(decoder_->Forward(tokens, cache, forward).status());
        ASSERT_OK_AND_ASSIGN(const std::vector<LayerRecord> layers, recorder->Finish(cache));
        for (size_t layer = 0; layer < layers.size(); ++layer) {
          EXPECT_LT(LargestRelativeError(layers[layer].labels, reference[layer], kAbsolute),
                    kRelative)
              << "layer " << layer << " last cut " << cuts.back() << " shown "
              << static_cast<int>(shown) << " chunk " << chunk_tokens;
        }
      }
    }
  }
}

TEST_P(LabelsTest, AreThoseOfTheSequenceAloneWhateverRunsBesideIt) {
  std::vector<TokenizedPrompt> prompts(4);
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].origin = absl::StrCat("test:", i);
    prompts[i].prompt = Tokens(std::vector<int64_t>{40, 3, 61, 22}[i], static_cast<int64_t>(i) + 2);
    // Two with an answer, two that generate one.
    if (i % 2 == 0) prompts[i].continuation = Tokens(12 + 5 * static_cast<int64_t>(i), 9);
  }
  CaptureOptions options;
  options.cuts = 4;
  options.max_new_tokens = 10;
  options.sampling.temperature = 1;
  options.block_tokens = 4096;
  options.chunk_tokens = 17;
  ASSERT_OK_AND_ASSIGN(const CapturedBatch batch,
                       CaptureBatch(*decoder_, model_, prompts, options));
  ASSERT_EQ(batch.traces.size(), prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    SCOPED_TRACE(i);
    const CapturedTrace& trace = batch.traces[i];
    const std::vector<int32_t> tokens(trace.record.token_ids().begin(),
                                      trace.record.token_ids().end());
    const std::vector<int64_t> cuts(trace.record.cuts().begin(), trace.record.cuts().end());
    ASSERT_GT(trace.record.continuation_tokens(), 0);
    const std::vector<at::Tensor> reference = Reference(tokens, cuts);
    // The tokens are those of the prompt alone, and so are K and V.
    ASSERT_OK_AND_ASSIGN(const CapturedTrace alone,
                         Capture(*decoder_, model_, prompts[i], options));
    EXPECT_EQ(trace.record.SerializeAsString(), alone.record.SerializeAsString());
    ASSERT_EQ(trace.blocks.size(), alone.blocks.size());
    for (size_t b = 0; b < trace.blocks.size(); ++b) {
      const HeadBlock& block = trace.blocks[b];
      ASSERT_OK_AND_ASSIGN(const at::Tensor labels,
                           TensorFromBytes(block.labels, at::kHalf, {block.cuts, block.tokens}));
      EXPECT_LT(LargestRelativeError(
                    labels, reference[block.key.head.layer][block.key.head.kv_head], kAbsolute),
                kRelative)
          << HeadBlockKeyText(block.key);
      for (const auto member : {&HeadBlock::keys, &HeadBlock::values}) {
        ASSERT_OK_AND_ASSIGN(const at::Tensor own, TensorFromBytes(block.*member, at::kBFloat16,
                                                                   {block.tokens, block.head_dim}));
        ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                             TensorFromBytes(alone.blocks[b].*member, at::kBFloat16,
                                             {block.tokens, block.head_dim}));
        // A step of bf16 where rounding in fp32 went the other way.
        EXPECT_TRUE(at::allclose(own.to(at::kFloat), expected.to(at::kFloat), 1. / 128, 1e-4));
      }
    }
  }
}

// Each family with groups of two query heads, and with as many KV heads as query heads or a single
// one.
std::vector<TinyFamily> FamiliesWithGroups() {
  std::vector<TinyFamily> families = TinyFamilies();
  for (const TinyFamily& family : TinyFamilies()) {
    for (const int64_t kv_heads : {family.options.query_heads, int64_t{1}}) {
      TinyFamily& other = families.emplace_back(family);
      other.name += absl::StrCat("_", kv_heads, "_kv_heads");
      other.options.kv_heads = kv_heads;
    }
  }
  return families;
}

INSTANTIATE_TEST_SUITE_P(Families, LabelsTest, testing::ValuesIn(FamiliesWithGroups()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace kvp
