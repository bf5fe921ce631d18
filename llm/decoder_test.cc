#include "llm/decoder.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using Logits = Decoder::Logits;

constexpr char kReference[] = "llm/testdata/reference_llama.py";
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
};

// GQA in two files, tied bf16 without grouping, fp16 with one KV head.
std::vector<Case> Cases() {
  std::vector<Case> cases(3);
  cases[0].name = "untied_gqa_fp32";
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
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(Directory(case_), {}));
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
  for (const int64_t chunk : {1, 4, 7, 20}) {
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
    return chunk.layer == fail_at ? absl::AbortedError("enough") : absl::OkStatus();
  }

  std::map<int64_t, int64_t> next_position;
  std::map<int64_t, std::vector<at::Tensor>> parts;
  int64_t fail_at = -1;
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

INSTANTIATE_TEST_SUITE_P(Models, DecoderReferenceTest, testing::Values(0, 1, 2),
                         [](const auto& info) { return Cases()[info.param].name; });

class DecoderTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/",
                              testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(WriteTinyModel(directory_));
  }

  absl::Status LoadError() const { return Decoder::Load(directory_, {}).status(); }
  std::string File() const { return directory_ + "/model.safetensors"; }

  std::string directory_;
};

TEST_F(DecoderTest, RefusesBadInputAndLeavesTheCache) {
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory_, {}));
  KvCache cache = decoder->NewCache();
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(decoder->Forward({}, cache, {}), StatusIs(invalid, HasSubstr("empty")));
  EXPECT_THAT(decoder->Forward({1, 300}, cache, {}),
              StatusIs(invalid, AllOf(HasSubstr("token 1 is 300"), HasSubstr("vocabulary"))));
  EXPECT_THAT(decoder->Forward({-1}, cache, {}), StatusIs(invalid, HasSubstr("-1")));
  Decoder::ForwardOptions options;
  options.chunk_tokens = 0;
  EXPECT_THAT(decoder->Forward({1}, cache, options),
              StatusIs(invalid, HasSubstr("chunk_tokens is 0")));
  EXPECT_EQ(cache.next_position(), 0);
  EXPECT_EQ(cache.length(0, 0), 0);
}

TEST_F(DecoderTest, PassesAnObserversErrorOn) {
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory_, {}));
  Recorder recorder;
  recorder.fail_at = 1;
  Decoder::ForwardOptions options;
  options.observer = &recorder;
  KvCache cache = decoder->NewCache();
  EXPECT_THAT(decoder->Forward({1, 2}, cache, options),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("enough")));
}

TEST_F(DecoderTest, FingerprintIsOfTheModelNotOfItsFiles) {
  ASSERT_OK_AND_ASSIGN(const auto one_file, Decoder::Load(directory_, {}));
  EXPECT_EQ(one_file->fingerprint().size(), 64);
  const std::map<std::string, at::Tensor> tensors = TinyModelTensors({});

  ASSERT_EQ(std::remove(File().c_str()), 0);
  ASSERT_OK(WriteTinyWeights(directory_, 2, tensors));
  ASSERT_OK_AND_ASSIGN(const auto two_files, Decoder::Load(directory_, {}));
  EXPECT_EQ(two_files->fingerprint(), one_file->fingerprint());

  tensors.at("lm_head.weight")[0][0].add_(1);
  ASSERT_OK(WriteTinyWeights(directory_, 2, tensors));
  ASSERT_OK_AND_ASSIGN(const auto changed, Decoder::Load(directory_, {}));
  EXPECT_NE(changed->fingerprint(), one_file->fingerprint());
}

TEST_F(DecoderTest, NamesTheMissingFile) {
  ASSERT_EQ(std::remove(File().c_str()), 0);
  EXPECT_THAT(LoadError(), StatusIs(absl::StatusCode::kNotFound, HasSubstr(File())));
}

TEST_F(DecoderTest, NamesTheMissingFileOfAnIndex) {
  ASSERT_EQ(std::remove(File().c_str()), 0);
  ASSERT_OK(WriteTinyWeights(directory_, 2, TinyModelTensors({})));
  const std::string second = directory_ + "/model-00002-of-00002.safetensors";
  ASSERT_EQ(std::remove(second.c_str()), 0);
  EXPECT_THAT(LoadError(), StatusIs(absl::StatusCode::kNotFound, HasSubstr(second)));
  ASSERT_OK(WriteFileAtomically(File() + ".index.json", {R"({"weight_map": {"x": "../y"}})"}));
  EXPECT_THAT(LoadError(), StatusIs(absl::StatusCode::kInvalidArgument,
                                    AllOf(HasSubstr("weight_map.x"), HasSubstr("../y"))));
}

TEST_F(DecoderTest, NamesTheTruncatedFile) {
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(File()));
  for (const size_t size :
       {size_t{0}, size_t{5}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    ASSERT_OK(WriteFileAtomically(File(), {absl::string_view(bytes).substr(0, size)}));
    EXPECT_THAT(LoadError(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(File())))
        << size;
  }
}

TEST_F(DecoderTest, NamesTheMissingTensor) {
  std::map<std::string, at::Tensor> tensors = TinyModelTensors({});
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  tensors.erase(name);
  ASSERT_OK(WriteTinyWeights(directory_, 1, tensors));
  EXPECT_THAT(LoadError(),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr(File()), HasSubstr(name))));
}

TEST_F(DecoderTest, NamesTheTensorOfAnotherShape) {
  std::map<std::string, at::Tensor> tensors = TinyModelTensors({});
  const std::string name = "model.layers.0.self_attn.k_proj.weight";
  tensors[name] = tensors[name].narrow(0, 0, 16).clone();
  ASSERT_OK(WriteTinyWeights(directory_, 1, tensors));
  EXPECT_THAT(LoadError(), StatusIs(absl::StatusCode::kInvalidArgument,
                                    AllOf(HasSubstr(File()), HasSubstr(name), HasSubstr("[16, 32]"),
                                          HasSubstr("[32, 32]"))));
}

TEST_F(DecoderTest, NamesTheTensorOfAnUnsupportedDtype) {
  std::map<std::string, at::Tensor> tensors = TinyModelTensors({});
  tensors["model.norm.weight"] = tensors["model.norm.weight"].to(at::kChar);
  ASSERT_OK(WriteTinyWeights(directory_, 1, tensors));
  EXPECT_THAT(LoadError(), StatusIs(absl::StatusCode::kUnimplemented,
                                    AllOf(HasSubstr("model.norm.weight"), HasSubstr("I8"))));
}

TEST_F(DecoderTest, NamesTheTensorThatItWouldLeaveOut) {
  std::map<std::string, at::Tensor> tensors = TinyModelTensors({});
  const std::string name = "model.layers.0.self_attn.q_proj.bias";
  tensors[name] = at::empty({64}, at::TensorOptions().dtype(at::kFloat)).zero_();
  ASSERT_OK(WriteTinyWeights(directory_, 1, tensors));
  EXPECT_THAT(LoadError(), StatusIs(absl::StatusCode::kUnimplemented,
                                    AllOf(HasSubstr(File()), HasSubstr(name))));
}

TEST_F(DecoderTest, NamesUnknownDevicesAndDtypes) {
  const auto load = [&](const char* device, const char* dtype) {
    Decoder::Options options;
    options.devices = {device};
    options.dtype = dtype;
    return Decoder::Load(directory_, options).status();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(load("gpu", "float32"), StatusIs(invalid, HasSubstr("gpu")));
  EXPECT_THAT(load("cuda:x", "float32"), StatusIs(invalid, HasSubstr("cuda:x")));
  EXPECT_THAT(load("cpu", "int8"), StatusIs(invalid, HasSubstr("int8")));
}

}  // namespace
}  // namespace kvp
