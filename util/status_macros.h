// RETURN_IF_ERROR and ASSIGN_OR_RETURN: the one way in which a failed absl::Status travels up.
//
//   absl::Status Load() {
//     RETURN_IF_ERROR(Open());
//     ASSIGN_OR_RETURN(Config config, ParseConfig(text));
//     ...
//   }

#ifndef KVP_UTIL_STATUS_MACROS_H_
#define KVP_UTIL_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define KVP_STATUS_CONCAT_INNER(a, b) a##b
#define KVP_STATUS_CONCAT(a, b) KVP_STATUS_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                                 \
  do {                                                              \
    if (absl::Status kvp_status = (expression); !kvp_status.ok()) { \
      return kvp_status;                                            \
    }                                                               \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expression) \
  KVP_ASSIGN_OR_RETURN(KVP_STATUS_CONCAT(kvp_status_or_, __LINE__), lhs, expression)

#define KVP_ASSIGN_OR_RETURN(result, lhs, expression)  \
  auto result = (expression);                          \
  if (!result.ok()) return std::move(result).status(); \
  lhs = std::move(result).value()

#endif  // KVP_UTIL_STATUS_MACROS_H_
