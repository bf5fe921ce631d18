#include "eval/agents.h"

#include <memory>
#include <string>
#include <vector>

#include "ATen/ops/ones.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "policy/q_filter_file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// TinyModelOptions' defaults.
constexpr int64_t kLayers = 2;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadDim = 16;

class AgentsTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = testing::TempDir() + "/tiny_agents";
    ASSERT_OK(WriteTinyModel(directory));
    ASSERT_OK_AND_ASSIGN(decoder_, Decoder::Load(directory, {}));
  }
  std::string Saved(int64_t layers, int64_t kv_heads, int64_t head_dim,
                    const std::string& fingerprint) const {
    QFilterFile file;
    file.filters = at::ones({layers, kv_heads, head_dim});
    file.model_fingerprint = fingerprint;
    const std::string path = testing::TempDir() + "/q_filters.safetensors";
    EXPECT_OK(SaveQFilters(path, file));
    return path;
  }

  std::unique_ptr<Decoder> decoder_;
};

TEST_F(AgentsTest, QFiltersOfAnotherModelAreRefusedByField) {
  const std::string& right = decoder_->fingerprint();
  EXPECT_OK(CheckQFilters(Saved(kLayers, kKvHeads, kHeadDim, right), *decoder_));
  const auto expect_mismatch = [&](const std::string& path, const std::string& field,
                                   const std::string& value) {
    EXPECT_THAT(CheckQFilters(path, *decoder_),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr(path), HasSubstr(field), HasSubstr(value))));
  };
  expect_mismatch(Saved(3, kKvHeads, kHeadDim, right), "layers", "3");
  expect_mismatch(Saved(kLayers, 5, kHeadDim, right), "kv_heads", "5");
  expect_mismatch(Saved(kLayers, kKvHeads, 7, right), "head_dim", "7");
  expect_mismatch(Saved(kLayers, kKvHeads, kHeadDim, "feed"), "model_fingerprint", "feed");
}

TEST_F(AgentsTest, PoliciesWithoutTheirFilesAreLeftOutUnlessTheyAreNamed) {
  ASSERT_OK_AND_ASSIGN(const std::vector<std::unique_ptr<Policy>> without, MakePolicies({}, {}));
  EXPECT_EQ(without.size(), PolicyNames().size() - 2);
  PolicyOptions files;
  files.q_filters_path = Saved(kLayers, kKvHeads, kHeadDim, "");
  ASSERT_OK_AND_ASSIGN(const std::vector<std::unique_ptr<Policy>> with, MakePolicies({}, files));
  EXPECT_EQ(with.size(), PolicyNames().size() - 1);
  EXPECT_THAT(MakePolicies({"random", "kvp"}, files),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--agents")));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::unique_ptr<Policy>> named,
                       MakePolicies({"ada:cur", "q_filter"}, files));
  EXPECT_EQ(named[0]->name(), "ada:cur");
  EXPECT_EQ(named[1]->name(), "q_filter");
}

}  // namespace
}  // namespace kvp
