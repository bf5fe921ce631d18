#include "tests/fuzz/input_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "tests/fuzz/check.h"

namespace kvp {
namespace {

void WriteAll(int descriptor, absl::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = write(descriptor, contents.data(), contents.size());
    FUZZ_CHECK(written > 0);
    contents.remove_prefix(written);
  }
}

}  // namespace

InputFile::InputFile(absl::string_view contents)
    : descriptor_(memfd_create("input", MFD_CLOEXEC)),
      path_(absl::StrCat("/proc/self/fd/", descriptor_)) {
  FUZZ_CHECK(descriptor_ >= 0);
  WriteAll(descriptor_, contents);
}

InputFile::~InputFile() { close(descriptor_); }

std::string MakeInputFolder() {
  // In memory, where there is such a place.
  const char* parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::getenv("TEST_TMPDIR");
  std::string path = absl::StrCat(parent == nullptr ? "/tmp" : parent, "/kvp_fuzz_XXXXXX");
  FUZZ_CHECK(mkdtemp(path.data()) != nullptr);
  return path;
}

void WriteInput(const std::string& path, absl::string_view contents) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  FUZZ_CHECK(descriptor >= 0);
  WriteAll(descriptor, contents);
  close(descriptor);
}

}  // namespace kvp
