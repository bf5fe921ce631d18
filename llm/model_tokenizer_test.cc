#include "llm/model_tokenizer.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ModelTokenizerTest, ATokenWithoutAnEmbeddingIsNamed) {
  const std::string directory = testing::TempDir() + "/model_tokenizer";
  ASSERT_OK(WriteTinyModel(directory));
  ASSERT_OK_AND_ASSIGN(ModelConfig config, LoadModelConfig(directory));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, LoadModelTokenizer(directory, config));
  const int64_t tokens = tokenizer->vocab_size();
  config.vocab_size = tokens;
  EXPECT_OK(LoadModelTokenizer(directory, config));
  config.vocab_size = tokens - 1;
  EXPECT_THAT(LoadModelTokenizer(directory, config),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(directory + "/tokenizer.json"),
                             HasSubstr(std::to_string(tokens - 1)), HasSubstr("vocab_size"))));
}

}  // namespace
}  // namespace kvp
