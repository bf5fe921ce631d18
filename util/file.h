// Whole small files: read, and written atomically.

#ifndef KVP_UTIL_FILE_H_
#define KVP_UTIL_FILE_H_

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// NOT_FOUND, or UNAVAILABLE on an I/O error, with the path in the message.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Replaces `path` by `pieces`, one after another, atomically and durably: a temporary file beside
// it is written, fsynced and renamed. A reader sees the old file or the new one, whole. UNAVAILABLE
// with the path on an I/O error.
absl::Status WriteFileAtomically(const std::string& path,
                                 std::initializer_list<absl::string_view> pieces);
absl::Status WriteFileAtomically(const std::string& path, const absl::string_view* pieces,
                                 size_t count);

// Creates the folder and its parents; OK where it exists already.
absl::Status MakeDirectories(const std::string& path);

}  // namespace kvp

#endif  // KVP_UTIL_FILE_H_
