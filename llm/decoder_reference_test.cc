#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "llm/decoder.h"
#include "llm/tiny_model.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using Json = nlohmann::json;
using Logits = Decoder::Logits;

constexpr char kReference[] = "llm/testdata/reference_decoder.py";
constexpr int64_t kTokens = 21;
constexpr int64_t kContext = 14;  // what is thinned out where entries are removed
constexpr int kGreedy = 6;

at::Tensor Floats(const std::string& path, std::vector<int64_t> shape) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  const absl::StatusOr<std::string> bytes = ReadFile(path);
  EXPECT_OK(bytes);
  EXPECT_TRUE(bytes.ok() && bytes->size() == tensor.nbytes()) << path;
  if (bytes.ok() && bytes->size() == tensor.nbytes()) {
    std::memcpy(tensor.data_ptr(), bytes->data(), bytes->size());
  }
  return tensor;
}

// The largest difference, relative to the largest value.
double Difference(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  const at::Tensor wide = expected.to(at::kDouble);
  return actual.to(at::kDouble).sub(wide).abs().max().item<double>() /
         wide.abs().max().item<double>();
}

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size) {
  std::mt19937 random(5);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab_size);
  return tokens;
}

// Which of the first kContext entries a (layer, KV head) keeps, with or without the same number for
// all.
std::vector<int64_t> KeptEntries(int64_t layer, int64_t head, bool ragged) {
  std::mt19937 random(static_cast<uint32_t>(100 + layer * 10 + head));
  std::vector<int64_t> kept(kContext);
  for (int64_t i = 0; i < kContext; ++i) kept[i] = i;
  std::shuffle(kept.begin(), kept.end(), random);
  kept.resize(ragged ? 1 + (layer * 3 + head * 5) % (kContext - 1) : 5);
  std::sort(kept.begin(), kept.end());
  return kept;
}

at::Tensor IndicesOf(const std::vector<int64_t>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

struct Case {
  std::string name;
  TinyModelOptions options;
  int64_t max_model_len = 0;
};

// Geometries, dtypes and files of Llama.
std::vector<Case> LlamaCases() {
  std::vector<Case> cases(3);
  cases[0].name = "untied_gqa_fp32_in_three_files";
  cases[0].options.files = 3;
  cases[1].name = "tied_mha_bf16";
  cases[1].options.tied = true;
  cases[1].options.dtype = at::kBFloat16;
  cases[1].options.query_heads = cases[1].options.kv_heads = 4;
  cases[1].options.head_dim = 8;
  cases[1].options.config = {{"head_dim", nullptr}, {"rope_theta", 300.0}};
  cases[2].name = "mqa_fp16";
  cases[2].options.dtype = at::kHalf;
  cases[2].options.query_heads = 3;
  cases[2].options.kv_heads = 1;
  cases[2].options.layers = 3;
  cases[2].options.config = {{"rms_norm_eps", 0.1}};
  return cases;
}

TinyModelOptions FamilyOptions(const std::string& name) {
  for (const TinyFamily& family : TinyFamilies()) {
    if (family.name == name) return family.options;
  }
  ADD_FAILURE() << name;
  return TinyModelOptions();
}

std::vector<Case> Cases() {
  std::vector<Case> cases = LlamaCases();
  for (const TinyFamily& family : TinyFamilies()) cases.push_back({family.name, family.options});

  Case long_factors{"phi3_longrope_long_factors", FamilyOptions("phi3_longrope"), 1024};
  cases.push_back(long_factors);
  // The sequence itself is longer than the original length.
  Case extended{"phi3_longrope_extended", FamilyOptions("phi3_longrope"), 1024};
  extended.options.config["original_max_position_embeddings"] = 16;
  cases.push_back(extended);

  Case yarn{"qwen2_yarn_all_fields", FamilyOptions("qwen2_yarn")};
  yarn.options.config["rope_scaling"] = {
      {"rope_type", "yarn"},     {"factor", 3.0},    {"original_max_position_embeddings", 100},
      {"attention_factor", 1.3}, {"beta_fast", 6.0}, {"beta_slow", 0.5},
      {"truncate", false}};
  cases.push_back(yarn);

  Case qwen3{"qwen3_biases_and_named_layers_in_two_files", FamilyOptions("qwen3")};
  qwen3.options.layers = 3;
  qwen3.options.files = 2;
  qwen3.options.config = {
      {"attention_bias", true},
      {"use_sliding_window", true},
      {"layer_types", {"sliding_attention", "full_attention", "sliding_attention"}}};
  cases.push_back(qwen3);
  return cases;
}

// Writes the models and runs the reference on all of them, once.
class DecoderReferenceTest : public testing::TestWithParam<int> {
 protected:
  static std::string Directory(const Case& c) { return testing::TempDir() + "/" + c.name; }
  static std::string Output(const Case& c, const char* variant) {
    return absl::StrCat(Directory(c), "/", variant);
  }

  static void SetUpTestSuite() {
    Json jobs = Json::array();
    for (const Case& c : Cases()) {
      ASSERT_OK(WriteTinyModel(Directory(c), c.options));
      const std::vector<int32_t> tokens = RandomTokens(kTokens, c.options.vocab_size);
      jobs.push_back({{"model", Directory(c)},
                      {"tokens", tokens},
                      {"greedy", kGreedy},
                      {"max_model_len", c.max_model_len},
                      {"output", Output(c, "whole")}});
      for (const bool ragged : {false, true}) {
        Json kept = Json::object();
        for (int64_t layer = 0; layer < c.options.layers; ++layer) {
          for (int64_t head = 0; head < c.options.kv_heads; ++head) {
            kept[absl::StrCat(layer, ",", head)] = KeptEntries(layer, head, ragged);
          }
        }
        jobs.push_back({{"model", Directory(c)},
                        {"tokens", tokens},
                        {"context", kContext},
                        {"kept", kept},
                        {"max_model_len", c.max_model_len},
                        {"output", Output(c, ragged ? "ragged" : "uniform")}});
      }
    }
    const std::string path = testing::TempDir() + "/cases.json";
    ASSERT_OK(WriteFileAtomically(path, {jobs.dump()}));
    const std::string command = absl::StrCat("/usr/bin/python3 ", kReference, " '", path, "'");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }

  void SetUp() override {
    case_ = Cases()[GetParam()];
    Decoder::Options options;
    options.max_model_len = case_.max_model_len;
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(Directory(case_), options));
    tokens_ = RandomTokens(kTokens, case_.options.vocab_size);
  }

  at::Tensor ReferenceLogits(const char* variant) const {
    return Floats(Output(case_, variant) + ".logits", {kTokens, case_.options.vocab_size});
  }

  absl::StatusOr<at::Tensor> Run(absl::Span<const int32_t> tokens, KvCache& cache,
                                 int64_t chunk_tokens = 512) const {
    Decoder::ForwardOptions options;
    options.logits = Logits::kAll;
    options.chunk_tokens = chunk_tokens;
    return decoder_->Forward(tokens, cache, options);
  }

  Case case_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<int32_t> tokens_;
};

TEST_P(DecoderReferenceTest, LogitsAgreeWithTheReference) {
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits, Run(tokens_, cache));
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  const at::Tensor expected = ReferenceLogits("whole");
  for (int64_t i = 0; i < kTokens; ++i) {
    EXPECT_LT(Difference(logits[i], expected[i]), 1e-4) << "token " << i;
  }
}

TEST_P(DecoderReferenceTest, KeysAndValuesAgreeWithTheReference) {
  KvCache cache = decoder_->NewCache();
  ASSERT_OK(Run(tokens_, cache));
  const TinyModelOptions& o = case_.options;
  const std::vector<int64_t> shape = {o.layers, o.kv_heads, kTokens, o.head_dim};
  const at::Tensor keys = Floats(Output(case_, "whole") + ".keys", shape);
  const at::Tensor values = Floats(Output(case_, "whole") + ".values", shape);
  for (int64_t layer = 0; layer < o.layers; ++layer) {
    for (int64_t head = 0; head < o.kv_heads; ++head) {
      EXPECT_LT(Difference(cache.keys(layer, head), keys[layer][head]), 1e-4);
      EXPECT_LT(Difference(cache.values(layer, head), values[layer][head]), 1e-4);
    }
  }
}

TEST_P(DecoderReferenceTest, ChunksOfAnySizeGiveTheSame) {
  const at::Tensor expected = ReferenceLogits("whole");
  for (const int64_t chunk : {1, 3, 20}) {
    KvCache cache = decoder_->NewCache();
    ASSERT_OK_AND_ASSIGN(const at::Tensor logits, Run(tokens_, cache, chunk));
    EXPECT_LT(Difference(logits, expected), 1e-4) << "chunk " << chunk;
    EXPECT_EQ(cache.next_position(), kTokens);
  }
}

TEST_P(DecoderReferenceTest, PrefillThenDecodeGivesTheSame) {
  const at::Tensor expected = ReferenceLogits("whole");
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor last,
                       decoder_->Forward(absl::MakeSpan(tokens_).first(10), cache, {}));
  EXPECT_LT(Difference(last, expected.narrow(0, 9, 1)), 1e-4);
  for (int64_t i = 10; i < kTokens; ++i) {
    ASSERT_OK_AND_ASSIGN(const at::Tensor logits, decoder_->Forward({tokens_[i]}, cache, {}));
    EXPECT_LT(Difference(logits[0], expected[i]), 1e-4) << "token " << i;
  }
}

TEST_P(DecoderReferenceTest, GreedyContinuationIsTheReferences) {
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(Output(case_, "whole") + ".json"));
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(at::Tensor logits, decoder_->Forward(tokens_, cache, {}));
  std::vector<int32_t> continuation;
  for (int i = 0; i < kGreedy; ++i) {
    continuation.push_back(static_cast<int32_t>(logits[0].argmax().item<int64_t>()));
    ASSERT_OK_AND_ASSIGN(logits, decoder_->Forward({continuation.back()}, cache, {}));
  }
  EXPECT_EQ(continuation, Json::parse(text)["continuation"].get<std::vector<int32_t>>());
}

TEST_P(DecoderReferenceTest, RemovedEntriesAreAsIfMasked) {
  const TinyModelOptions& o = case_.options;
  for (const bool ragged : {false, true}) {
    for (const int64_t chunk : {512, 3}) {
      KvCache cache = decoder_->NewCache();
      ASSERT_OK(decoder_->Forward(absl::MakeSpan(tokens_).first(kContext), cache, {}));
      int64_t entries = 0;
      for (int64_t layer = 0; layer < o.layers; ++layer) {
        for (int64_t head = 0; head < o.kv_heads; ++head) {
          const std::vector<int64_t> kept = KeptEntries(layer, head, ragged);
          ASSERT_OK(cache.Keep(layer, head, IndicesOf(kept)));
          entries += static_cast<int64_t>(kept.size());
        }
      }
      EXPECT_EQ(cache.allocated_bytes(), entries * 2 * o.head_dim * 4);
      ASSERT_OK_AND_ASSIGN(const at::Tensor logits,
                           Run(absl::MakeSpan(tokens_).subspan(kContext), cache, chunk));
      const at::Tensor expected = ReferenceLogits(ragged ? "ragged" : "uniform");
      EXPECT_LT(Difference(logits, expected.narrow(0, kContext, kTokens - kContext)), 1e-4)
          << (ragged ? "ragged" : "uniform") << ", chunk " << chunk;
      EXPECT_GT(
          Difference(logits, ReferenceLogits("whole").narrow(0, kContext, kTokens - kContext)),
          1e-3);
    }
  }
}

// Collects what it is shown.
class Recorder : public AttentionObserver {
 public:
  absl::Status OnAttention(const AttentionChunk& chunk) override {
    EXPECT_EQ(chunk.first_position, next_position[chunk.layer]);
    EXPECT_GE(chunk.cache->length(chunk.layer, 0), chunk.first_position + chunk.queries.size(1));
    next_position[chunk.layer] += chunk.queries.size(1);
    parts[chunk.layer].push_back(chunk.queries.clone());
    return absl::OkStatus();
  }

  std::map<int64_t, int64_t> next_position;
  std::map<int64_t, std::vector<at::Tensor>> parts;
};

TEST_P(DecoderReferenceTest, ObserverSeesTheReferencesQueries) {
  const TinyModelOptions& o = case_.options;
  const at::Tensor expected =
      Floats(Output(case_, "whole") + ".queries", {o.layers, o.query_heads, kTokens, o.head_dim});
  Recorder recorder;
  Decoder::ForwardOptions options;
  options.observer = &recorder;
  options.chunk_tokens = 8;
  options.logits = Logits::kNone;
  KvCache cache = decoder_->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits, decoder_->Forward(tokens_, cache, options));
  EXPECT_FALSE(logits.defined());
  ASSERT_EQ(static_cast<int64_t>(recorder.parts.size()), o.layers);
  for (int64_t layer = 0; layer < o.layers; ++layer) {
    EXPECT_LT(Difference(at::cat(recorder.parts[layer], 1), expected[layer]), 1e-4);
  }
}

TEST_P(DecoderReferenceTest, HalfPrecisionIsClose) {
  Decoder::Options options;
  options.max_model_len = case_.max_model_len;
  options.dtype = "bfloat16";
  ASSERT_OK_AND_ASSIGN(const auto half, Decoder::Load(Directory(case_), options));
  EXPECT_EQ(half->fingerprint(), decoder_->fingerprint());
  KvCache cache = half->NewCache();
  Decoder::ForwardOptions all;
  all.logits = Logits::kAll;
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits, half->Forward(tokens_, cache, all));
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  EXPECT_EQ(cache.keys(0, 0).scalar_type(), at::kBFloat16);
  EXPECT_LT(Difference(logits, ReferenceLogits("whole")), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Models, DecoderReferenceTest,
                         testing::Range(0, static_cast<int>(Cases().size())),
                         [](const auto& info) { return Cases()[info.param].name; });

// The same model under both spellings of config.json, the second without the fields of the first.
TEST(ConfigSpellingTest, BothGiveTheSameLogits) {
  struct Spelling {
    const char* family;
    Json newer;
  };
  const Spelling spellings[] = {
      {"llama", {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 10000.0}}}}},
      {"llama3",
       {{"rope_parameters",
         {{"rope_type", "llama3"},
          {"rope_theta", 10000.0},
          {"factor", 8.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", 64}}}}},
      {"qwen2_yarn",
       {{"rope_parameters",
         {{"rope_type", "yarn"},
          {"rope_theta", 10000.0},
          {"factor", 4.0},
          {"original_max_position_embeddings", 256}}}}},
      {"phi3_longrope",
       {{"partial_rotary_factor", nullptr},
        {"original_max_position_embeddings", nullptr},
        {"rope_parameters",
         {{"rope_type", "longrope"},
          {"rope_theta", 10000.0},
          {"partial_rotary_factor", 0.75},
          {"original_max_position_embeddings", 256},
          {"short_factor", {1.0, 1.05, 1.1, 1.3, 1.7, 2.0}},
          {"long_factor", {1.0, 1.2, 2.5, 6.0, 15.0, 30.0}}}}}}};
  for (const Spelling& spelling : spellings) {
    SCOPED_TRACE(spelling.family);
    at::Tensor logits[2];
    for (const bool newer : {false, true}) {
      TinyModelOptions options = FamilyOptions(spelling.family);
      if (newer) {
        const Json removed = {{"rope_theta", nullptr},
                              {"rope_scaling", nullptr},
                              {"torch_dtype", nullptr},
                              {"dtype", "float32"}};
        options.config.update(removed);
        options.config.update(spelling.newer);
      }
      const std::string directory = absl::StrCat(testing::TempDir(), "/spelling_", newer);
      ASSERT_OK(WriteTinyModel(directory, options));
      ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory, {}));
      KvCache cache = decoder->NewCache();
      ASSERT_OK_AND_ASSIGN(logits[newer], decoder->Forward(RandomTokens(kTokens, 300), cache, {}));
    }
    EXPECT_TRUE(logits[0].equal(logits[1]));
  }
}

}  // namespace
}  // namespace kvp
