#include "policy/q_filter_file.h"

#include <string>

#include "ATen/ATen.h"
#include "policy/seeded_random.h"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_matchers.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

QFilterFile Filters() {
  QFilterFile file;
  file.filters = SeededNormal({3, 2, 8}, 1);
  file.model_name = "tiny";
  file.model_fingerprint = "abc";
  file.training_data_hash = "def";
  file.queries = 1234;
  return file;
}

std::string Path(const std::string& name) { return testing::TempDir() + "/" + name; }

TEST(QFilterFileTest, ComesBackAsItWasAndTheSameBytes) {
  ASSERT_OK(SaveQFilters(Path("a"), Filters()));
  ASSERT_OK(SaveQFilters(Path("b"), Filters()));
  EXPECT_EQ(*ReadFile(Path("a")), *ReadFile(Path("b")));
  ASSERT_OK_AND_ASSIGN(const QFilterFile file, LoadQFilters(Path("a")));
  EXPECT_TRUE(at::equal(file.filters, Filters().filters));
  EXPECT_EQ(file.model_name, "tiny");
  EXPECT_EQ(file.model_fingerprint, "abc");
  EXPECT_EQ(file.training_data_hash, "def");
  EXPECT_EQ(file.queries, 1234);
}

TEST(QFilterFileTest, RefusesOtherFilesByNameFieldAndValue) {
  const auto expect_invalid = [](const at::Tensor& filters,
                                 const std::map<std::string, std::string>& metadata,
                                 const std::string& text) {
    ASSERT_OK(WriteTensors(Path("bad"), {{"filters", filters}}, metadata));
    EXPECT_THAT(LoadQFilters(Path("bad")),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(Path("bad")), HasSubstr(text))));
  };
  const std::map<std::string, std::string> good = {
      {"kind", "q_filters"}, {"format_version", "1"}, {"queries", "5"}};
  expect_invalid(at::zeros({2, 2, 4}), {}, "kind \"\"");
  expect_invalid(at::zeros({2, 2, 4}), {{"kind", "agents"}}, "kind \"agents\"");
  expect_invalid(at::zeros({2, 2, 4}), {{"kind", "q_filters"}, {"format_version", "2"}},
                 "format_version \"2\"");
  expect_invalid(at::zeros({2, 2, 4}), {{"kind", "q_filters"}, {"format_version", "1"}}, "queries");
  expect_invalid(at::zeros({2, 4}), good, "F32 [2, 4]");
  expect_invalid(at::zeros({2, 2, 4}, at::kHalf), good, "F16 [2, 2, 4]");
  expect_invalid(at::full({2, 2, 4}, NAN), good, "finite");
  EXPECT_THAT(LoadQFilters(Path("missing")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
}

}  // namespace
}  // namespace kvp
