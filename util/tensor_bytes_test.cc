#include "util/tensor_bytes.h"

#include <string>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

TEST(TensorBytesTest, TensorsComeBackFromTheirBytesInEveryDtype) {
  for (at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kByte}) {
    const at::Tensor tensor = at::arange(6).reshape({2, 3}).to(dtype);
    ASSERT_OK_AND_ASSIGN(const at::Tensor copy,
                         TensorFromBytes(BytesOfTensor(tensor), dtype, {2, 3}));
    EXPECT_TRUE(at::equal(copy, tensor)) << c10::toString(dtype);
  }
}

TEST(TensorBytesTest, ATransposedTensorIsWrittenRowMajor) {
  const at::Tensor tensor = at::arange(6).reshape({2, 3}).t();
  EXPECT_EQ(BytesOfTensor(tensor), BytesOfTensor(tensor.contiguous()));
}

TEST(TensorBytesTest, AWrongNumberOfBytesIsRefused) {
  EXPECT_THAT(TensorFromBytes("abc", at::kFloat, {2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 bytes")));
}

TEST(TensorBytesTest, TensorsComeBackFromAFile) {
  const std::string path = testing::TempDir() + "/tensors.safetensors";
  const at::Tensor weight = at::randn({3, 5});
  ASSERT_OK(WriteTensors(path, {{"w", weight}, {"b", weight.to(at::kBFloat16)}}, {{"seed", "7"}}));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path));
  ASSERT_OK_AND_ASSIGN(const SafetensorsEntry* entry, file->Find("w"));
  ASSERT_OK_AND_ASSIGN(const at::Tensor copy, TensorOfEntry(*entry));
  EXPECT_TRUE(at::equal(copy, weight));
  EXPECT_EQ((*file->Find("b"))->dtype, "BF16");
}

}  // namespace
}  // namespace kvp
