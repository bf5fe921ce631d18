#include "llm/decoder.h"

#include <cstdio>
#include <map>

#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Fails in the second layer.
class FailingObserver : public AttentionObserver {
 public:
  absl::Status OnAttention(const AttentionChunk& chunk) override {
    return chunk.layer == 1 ? absl::AbortedError("enough") : absl::OkStatus();
  }
};

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

TEST_F(DecoderTest, LongRopeRunsNoLongerThanItsFactorsAreRight) {
  for (const TinyFamily& family : TinyFamilies()) {
    if (family.name != "phi3_longrope") continue;
    ASSERT_OK(WriteTinyModel(directory_, family.options));
  }
  Decoder::Options options;
  ASSERT_OK_AND_ASSIGN(const auto by_default, Decoder::Load(directory_, options));
  EXPECT_EQ(by_default->max_model_len(), 256);
  const std::vector<int32_t> tokens(257, 1);
  KvCache cache = by_default->NewCache();
  EXPECT_THAT(
      by_default->Forward(tokens, cache, {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than max_model_len=256")));
  options.max_model_len = 257;
  ASSERT_OK_AND_ASSIGN(const auto longer, Decoder::Load(directory_, options));
  cache = longer->NewCache();
  EXPECT_OK(longer->Forward(tokens, cache, {}));
  EXPECT_NE(longer->rope_frequencies(), by_default->rope_frequencies());
  EXPECT_EQ(longer->rope_frequencies().size(), 6);  // of 12 rotated numbers
}

TEST_F(DecoderTest, PassesAnObserversErrorOn) {
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory_, {}));
  FailingObserver observer;
  Decoder::ForwardOptions options;
  options.observer = &observer;
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
