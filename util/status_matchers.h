// Google Test matchers and assertions for absl::Status and absl::StatusOr.
//
//   ASSERT_OK(writer->Finish());
//   ASSERT_OK_AND_ASSIGN(Config config, ParseConfig(text));
//   EXPECT_THAT(Load("x"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("x")));

#ifndef KVP_UTIL_STATUS_MATCHERS_H_
#define KVP_UTIL_STATUS_MATCHERS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_macros.h"

namespace kvp {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

MATCHER_P2(StatusIs, code, message,
           std::string("has code ") + absl::StatusCodeToString(code) + " and a message that " +
               testing::DescribeMatcher<std::string>(message)) {
  const absl::Status& status = GetStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code && testing::Matches(message)(std::string(status.message()));
}

}  // namespace kvp

#define ASSERT_OK(expression) ASSERT_THAT(expression, ::kvp::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT(expression, ::kvp::IsOk())
#define ASSERT_OK_AND_ASSIGN(lhs, expression) \
  KVP_ASSERT_OK_AND_ASSIGN(KVP_STATUS_CONCAT(kvp_status_or_, __LINE__), lhs, expression)
#define KVP_ASSERT_OK_AND_ASSIGN(result, lhs, expression) \
  auto result = (expression);                             \
  ASSERT_THAT(result, ::kvp::IsOk());                     \
  lhs = std::move(result).value()

#endif  // KVP_UTIL_STATUS_MATCHERS_H_
