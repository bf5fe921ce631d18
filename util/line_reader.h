// The lines of a text file, plain or compressed with gzip, one at a time.

#ifndef KVP_UTIL_LINE_READER_H_
#define KVP_UTIL_LINE_READER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace kvp {

// Calls `visit(line, number)` for every line of `path` that isn't blank, in order, without its end;
// numbers count all lines, from 1. Whether the file is compressed is read from its first bytes. One
// line at a time is in memory.
//
// Stops at the first error of `visit` and returns it. NOT_FOUND or UNAVAILABLE where the file can't
// be opened or read, INVALID_ARGUMENT where it is compressed and damaged or cut short, or a line
// has more than 64 MiB; with the path in the message.
absl::Status ForEachLine(
    const std::string& path,
    const std::function<absl::Status(absl::string_view line, int64_t number)>& visit);

}  // namespace kvp

#endif  // KVP_UTIL_LINE_READER_H_
