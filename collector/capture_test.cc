#include "collector/capture.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "storage/block_quantization.h"
#include "util/naive_importance.h"
#include "util/status_matchers.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// TinyModelOptions' defaults, but for the positions.
constexpr int64_t kLayers = 2;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadDim = 16;
constexpr double kScale = 0.25;
constexpr int64_t kVocab = 300;
constexpr int64_t kPositions = 256;

// Keeps every query of a forward pass over a whole sequence.
class QueryRecorder : public AttentionObserver {
 public:
  absl::Status OnAttention(const AttentionChunk& chunk) override {
    chunks_[chunk.layer].push_back(chunk.queries.clone());
    return absl::OkStatus();
  }
  at::Tensor queries(int64_t layer) const { return at::cat(chunks_[layer], 1); }

 private:
  std::vector<at::Tensor> chunks_[kLayers];
};

class CaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = testing::TempDir() + "/tiny_model/";
    TinyModelOptions tiny;
    tiny.config = {{"max_position_embeddings", kPositions}};
    ASSERT_OK(WriteTinyModel(directory, tiny));
    auto loaded = Decoder::Load(directory, {});
    ASSERT_OK(loaded);
    decoder_ = *std::move(loaded);
    model_ = ModelInfoOf(*decoder_, directory);
  }

  static TokenizedPrompt Prompt(int64_t tokens, int64_t continuation) {
    TokenizedPrompt prompt;
    prompt.origin = "test:1";
    for (int64_t i = 0; i < tokens; ++i) prompt.prompt.push_back((i * 31 + i * i) % kVocab);
    for (int64_t i = 0; i < continuation; ++i) {
      prompt.continuation.push_back((i * 17 + 3) % kVocab);
    }
    return prompt;
  }

  // The blocks' K, V, labels and queries of one head, put together.
  struct Head {
    at::Tensor keys;
    at::Tensor values;
    at::Tensor labels;
    at::Tensor queries;  // undefined where there are none
  };
  static Head Joined(const CapturedTrace& trace, HeadId head) {
    std::vector<at::Tensor> keys, values, labels, queries;
    int32_t expected = 0;
    for (const HeadBlock& block : trace.blocks) {
      if (block.key.head != head) continue;
      EXPECT_EQ(block.key.block, static_cast<int32_t>(keys.size()));
      EXPECT_EQ(block.first_token, expected);
      expected += block.tokens;
      keys.push_back(*TensorFromBytes(block.keys, at::kBFloat16, {block.tokens, block.head_dim}));
      values.push_back(
          *TensorFromBytes(block.values, at::kBFloat16, {block.tokens, block.head_dim}));
      labels.push_back(*TensorFromBytes(block.labels, at::kHalf, {block.cuts, block.tokens}));
      if (block.query_heads == 0) continue;
      queries.push_back(*TensorFromBytes(block.queries, at::kBFloat16,
                                         {block.query_heads, block.tokens, block.head_dim}));
    }
    return {at::cat(keys, 0), at::cat(values, 0), at::cat(labels, 1),
            queries.empty() ? at::Tensor() : at::cat(queries, 1)};
  }

  // Compares a trace with one plain forward pass over its tokens.
  void ExpectTrace(const CapturedTrace& trace) {
    const std::vector<int32_t> tokens(trace.record.token_ids().begin(),
                                      trace.record.token_ids().end());
    const std::vector<int64_t> cuts(trace.record.cuts().begin(), trace.record.cuts().end());
    const int64_t entries = trace.record.entries();
    ASSERT_EQ(entries, cuts.back());
    KvCache cache = decoder_->NewCache();
    QueryRecorder recorder;
    Decoder::ForwardOptions forward;
    forward.observer = &recorder;
    ASSERT_OK(decoder_->Forward(tokens, cache, forward));
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      for (int32_t head = 0; head < kKvHeads; ++head) {
        const Head joined = Joined(trace, {layer, head});
        ASSERT_EQ(joined.keys.size(0), entries);
        // bf16 keeps 8 bits; chunked compute differs by rounding in fp32.
        EXPECT_TRUE(at::allclose(joined.keys.to(at::kFloat),
                                 cache.keys(layer, head).narrow(0, 0, entries), 1. / 256, 1e-4));
        EXPECT_TRUE(at::allclose(joined.values.to(at::kFloat),
                                 cache.values(layer, head).narrow(0, 0, entries), 1. / 256, 1e-4));
        const at::Tensor queries = recorder.queries(layer).narrow(0, 2 * head, 2);
        const at::Tensor reference =
            NaiveImportance(queries, cache.keys(layer, head), kScale, /*window=*/0, cuts);
        // fp16 keeps 11 bits, and 6e-8 at least.
        EXPECT_LT(LargestRelativeError(joined.labels, reference, 1e-6), 1e-3);
        if (!joined.queries.defined()) continue;
        EXPECT_TRUE(at::allclose(joined.queries.to(at::kFloat), queries.narrow(1, 0, entries),
                                 1. / 256, 1e-4));
      }
    }
  }

  std::unique_ptr<Decoder> decoder_;
  ModelInfo model_;
};

TEST_F(CaptureTest, AForcedContinuationIsTheFuture) {
  CaptureOptions options;
  options.block_tokens = 16;
  options.chunk_tokens = 13;
  const TokenizedPrompt prompt = Prompt(50, 21);
  ASSERT_OK_AND_ASSIGN(const CapturedTrace trace, Capture(*decoder_, model_, prompt, options));
  EXPECT_FALSE(trace.empty());
  EXPECT_EQ(trace.record.prompt_tokens(), 50);
  EXPECT_EQ(trace.record.continuation_tokens(), 21);
  EXPECT_THAT(trace.record.cuts(), ElementsAre(50));
  EXPECT_EQ(trace.record.model().fingerprint(), decoder_->fingerprint());
  EXPECT_EQ(trace.record.model().name(), "tiny_model");
  EXPECT_EQ(trace.record.token_ids_size(), 71);
  EXPECT_EQ(trace.blocks.size(), kLayers * kKvHeads * 4);
  ExpectTrace(trace);
}

TEST_F(CaptureTest, AGeneratedContinuationIsTheFuture) {
  CaptureOptions options;
  options.max_new_tokens = 30;
  options.sampling.temperature = 1;
  options.sampling.seed = 9;
  ASSERT_OK_AND_ASSIGN(const CapturedTrace trace,
                       Capture(*decoder_, model_, Prompt(40, 0), options));
  EXPECT_EQ(trace.record.continuation_tokens(), 30);
  EXPECT_EQ(trace.blocks.size(), kLayers * kKvHeads);
  ExpectTrace(trace);
  ASSERT_OK_AND_ASSIGN(const CapturedTrace again,
                       Capture(*decoder_, model_, Prompt(40, 0), options));
  EXPECT_EQ(again.record.SerializeAsString(), trace.record.SerializeAsString());
  EXPECT_EQ(again.blocks[0].labels, trace.blocks[0].labels);
}

TEST_F(CaptureTest, GenerationEndsWithTheModelsContext) {
  CaptureOptions options;
  options.max_new_tokens = 100;
  ASSERT_OK_AND_ASSIGN(const CapturedTrace trace,
                       Capture(*decoder_, model_, Prompt(kPositions - 5, 0), options));
  EXPECT_EQ(trace.record.continuation_tokens(), 5);
}

TEST_F(CaptureTest, RandomCutsGetTheirOwnLabels) {
  CaptureOptions options;
  options.cuts = 5;
  options.chunk_tokens = 16;
  ASSERT_OK_AND_ASSIGN(const CapturedTrace trace,
                       Capture(*decoder_, model_, Prompt(60, 20), options));
  ASSERT_EQ(trace.record.cuts_size(), 5);
  EXPECT_EQ(trace.record.cuts(4), 60);
  ExpectTrace(trace);
}

TEST_F(CaptureTest, QueriesAreRecordedWhereTheyAreWanted) {
  CaptureOptions options;
  options.record_queries = true;
  options.block_tokens = 16;
  options.chunk_tokens = 13;
  ASSERT_OK_AND_ASSIGN(const CapturedTrace trace,
                       Capture(*decoder_, model_, Prompt(50, 21), options));
  EXPECT_EQ(trace.record.recorded_query_heads(), 2);
  EXPECT_EQ(trace.blocks[0].query_heads, 2);
  ASSERT_TRUE(Joined(trace, {1, 1}).queries.defined());
  ExpectTrace(trace);
}

TEST_F(CaptureTest, InFloat8KAndVAreTheQuantizedOnesAndLabelsAreTheSame) {
  CaptureOptions options;
  options.block_tokens = 16;
  ASSERT_OK_AND_ASSIGN(const CapturedTrace exact,
                       Capture(*decoder_, model_, Prompt(50, 21), options));
  options.kv_dtype = KvDtype::kFloat8;
  ASSERT_OK_AND_ASSIGN(const CapturedTrace trace,
                       Capture(*decoder_, model_, Prompt(50, 21), options));
  EXPECT_EQ(trace.record.kv_dtype(), TraceRecord::FLOAT8);
  EXPECT_NE(trace.record.trace_id(), exact.record.trace_id());
  ASSERT_EQ(trace.blocks.size(), exact.blocks.size());
  for (size_t i = 0; i < trace.blocks.size(); ++i) {
    ASSERT_OK_AND_ASSIGN(const HeadBlock expected, QuantizeToFloat8(exact.blocks[i]));
    EXPECT_EQ(trace.blocks[i].kv_dtype, KvDtype::kFloat8);
    EXPECT_EQ(trace.blocks[i].keys, expected.keys);
    EXPECT_EQ(trace.blocks[i].values, expected.values);
    EXPECT_EQ(trace.blocks[i].key_scales, expected.key_scales);
    EXPECT_EQ(trace.blocks[i].labels, exact.blocks[i].labels);
  }
}

TEST_F(CaptureTest, ATraceIsTheSameInABatchAsAlone) {
  CaptureOptions options;
  options.cuts = 3;
  options.max_new_tokens = 12;
  options.sampling.temperature = 1;
  options.block_tokens = 16;
  options.chunk_tokens = 19;  // chunks hold ends and beginnings of prompts
  // Forced and generated, of very different lengths.
  const std::vector<TokenizedPrompt> prompts = {Prompt(50, 21), Prompt(3, 0), Prompt(120, 2),
                                                Prompt(1, 60), Prompt(41, 0)};
  ASSERT_OK_AND_ASSIGN(const CapturedBatch batch,
                       CaptureBatch(*decoder_, model_, prompts, options));
  ASSERT_EQ(batch.traces.size(), prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_OK_AND_ASSIGN(const CapturedTrace alone,
                         Capture(*decoder_, model_, prompts[i], options));
    EXPECT_EQ(batch.traces[i].record.SerializeAsString(), alone.record.SerializeAsString());
    ASSERT_EQ(batch.traces[i].blocks.size(), alone.blocks.size());
    ExpectTrace(batch.traces[i]);
  }
}

TEST_F(CaptureTest, AnErrorOfABatchNamesItsFirstAndLastPrompt) {
  std::vector<TokenizedPrompt> prompts = {Prompt(5, 2), Prompt(6, 2)};
  prompts[1].origin = "test:7";
  CaptureOptions options;
  options.chunk_tokens = 0;
  EXPECT_THAT(CaptureBatch(*decoder_, model_, prompts, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("test:1 … test:7: ")));
  options = {};
  prompts[1].prompt.clear();
  EXPECT_THAT(CaptureBatch(*decoder_, model_, prompts, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("test:7: the prompt has")));
}

TEST_F(CaptureTest, AnImpossiblePromptIsNamedWithItsPlace) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const auto error = [&](const TokenizedPrompt& prompt) {
    return Capture(*decoder_, model_, prompt, {});
  };
  EXPECT_THAT(error(Prompt(0, 3)),
              StatusIs(kInvalid, HasSubstr("test:1: the prompt has no tokens")));
  EXPECT_THAT(error(Prompt(250, 7)),
              StatusIs(kInvalid, AllOf(HasSubstr("test:1: 250 prompt and 7 answer tokens"),
                                       HasSubstr("--max-model-len=256"))));
  EXPECT_THAT(error(Prompt(256, 0)), StatusIs(kInvalid, HasSubstr("256 prompt")));
  TokenizedPrompt outside = Prompt(5, 5);
  outside.continuation[2] = kVocab;
  EXPECT_THAT(error(outside), StatusIs(kInvalid, HasSubstr("token 300 is outside")));
}

TEST_F(CaptureTest, OptionsOutsideTheirRangeAreNamed) {
  CaptureOptions options;
  options.cuts = 0;
  EXPECT_THAT(options.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuts=0")));
  options = {};
  options.block_tokens = kMaxBlockTokens + 1;
  EXPECT_THAT(options.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("block_tokens=4097")));
}

TEST(TraceIdTest, ChangesWithWhatChangesTheTraceAndWithNothingElse) {
  TokenizedPrompt prompt;
  prompt.prompt = {1, 2, 3};
  CaptureOptions options;
  DecoderIdentity decoder;
  decoder.fingerprint = "f";
  decoder.dtype = "float32";
  decoder.rope_frequencies = {1, 0.5};
  decoder.max_model_len = 1000;
  decoder.eos_token_ids = {7};
  const auto id = [&] { return TraceIdText(IdOfTrace(decoder, prompt, options)); };
  const std::string generated = id();
  // As any other SHA-256 says. Ids are stored: they may never change.
  EXPECT_EQ(generated, "8822b618205fee9b2d96e18ad8cb5782");
  prompt.origin = "elsewhere";
  options.chunk_tokens = 7;
  options.sampling.seed = 1;
  options.cut_seed = 1;
  EXPECT_EQ(id(), generated) << "greedy choice knows no seed, one cut no cut seed";
  options.sampling.temperature = 1;
  const std::string sampled = id();
  EXPECT_NE(sampled, generated);
  options.sampling.seed = 2;
  EXPECT_NE(id(), sampled);
  options.max_new_tokens = 5;
  const std::string shorter = id();
  decoder.max_model_len = 7;
  EXPECT_NE(id(), shorter) << "the context ends the continuation earlier";
  decoder.max_model_len = 500;
  EXPECT_EQ(id(), shorter);
  decoder.eos_token_ids = {7, 8};
  EXPECT_NE(id(), shorter);
  decoder.eos_token_ids = {7};
  prompt.continuation = {4};
  const std::string forced = id();
  EXPECT_NE(forced, shorter);
  options.kv_dtype = KvDtype::kFloat8;
  EXPECT_NE(id(), forced);
  options.kv_dtype = KvDtype::kBf16;
  options.record_queries = true;
  EXPECT_NE(id(), forced);
  options.record_queries = false;
  options.max_new_tokens = 6;
  options.sampling.seed = 3;
  EXPECT_EQ(id(), forced) << "sampling plays no part in a forced continuation";
  options.cuts = 2;
  const std::string two_cuts = id();
  EXPECT_NE(two_cuts, forced);
  options.cut_seed = 2;
  EXPECT_NE(id(), two_cuts);
  prompt.prompt = {1, 2};
  prompt.continuation = {3, 4};
  options = {};
  const std::string moved = id();
  EXPECT_NE(moved, forced) << "where the prompt ends is part of the trace";
  decoder.dtype = "bfloat16";
  EXPECT_NE(id(), moved);
  decoder.dtype = "float32";
  decoder.rope_frequencies = {1, 0.25};
  EXPECT_NE(id(), moved) << "another regime of longrope";
  decoder.rope_frequencies = {1, 0.5};
  decoder.fingerprint = "g";
  EXPECT_NE(id(), moved);
}

TEST(CutsTest, AreDistinctAscendAndEndWithThePrompt) {
  for (const int64_t tokens : {1, 2, 3, 10, 100}) {
    for (const int64_t wanted : {1, 2, 8, 256}) {
      TraceId id{};
      for (uint8_t draw = 0; draw < 20; ++draw) {
        id[0] = draw;
        const std::vector<int64_t> cuts = CutsOfTrace(id, tokens, wanted);
        const int64_t lowest = std::max<int64_t>(1, tokens / 4);
        EXPECT_EQ(cuts.size(), std::min(wanted, tokens - lowest + 1));
        EXPECT_EQ(cuts.back(), tokens);
        EXPECT_GE(cuts.front(), lowest);
        for (size_t i = 1; i < cuts.size(); ++i) EXPECT_GT(cuts[i], cuts[i - 1]);
        EXPECT_EQ(CutsOfTrace(id, tokens, wanted), cuts);
      }
    }
  }
}

}  // namespace
}  // namespace kvp
