// An input as a file, for decoders that take a path.

#ifndef KVP_TESTS_FUZZ_INPUT_FILE_H_
#define KVP_TESTS_FUZZ_INPUT_FILE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

// A file in memory alone, which is gone with the object.
class InputFile {
 public:
  explicit InputFile(absl::string_view contents);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::string path_;
};

// A new empty folder, for decoders that take one; it stays. A target makes one, once.
std::string MakeInputFolder();
// Replaces the file.
void WriteInput(const std::string& path, absl::string_view contents);

}  // namespace kvp

#endif  // KVP_TESTS_FUZZ_INPUT_FILE_H_
