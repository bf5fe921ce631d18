// Lines of files, plain or compressed with gzip (util/line_reader.h).

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input_file.h"
#include "util/line_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const kvp::InputFile file(input);
  int64_t last = 0;
  const absl::Status status =
      kvp::ForEachLine(file.path(), [&](absl::string_view line, int64_t number) -> absl::Status {
        FUZZ_CHECK(number > last);
        FUZZ_CHECK(line.find('\n') == absl::string_view::npos && !line.empty());
        last = number;
        return absl::OkStatus();
      });
  FUZZ_CHECK(status.ok() || status.code() == absl::StatusCode::kInvalidArgument);
  return 0;
}
