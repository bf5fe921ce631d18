#include "util/line_reader.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"
#include "zlib.h"

namespace kvp {
namespace {

constexpr size_t kBufferBytes = 1 << 18;
// A small compressed file may hold a line that no memory does.
constexpr size_t kMaxLineBytes = size_t{64} << 20;

struct CloseGzip {
  void operator()(gzFile_s* file) const { gzclose(file); }
};
using GzipFile = std::unique_ptr<gzFile_s, CloseGzip>;

absl::StatusOr<GzipFile> Open(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return absl::UnavailableError(absl::StrCat(path, ": is a folder"));
  }
  errno = 0;
  GzipFile file(gzopen(path.c_str(), "rbe"));
  if (file != nullptr) return file;
  const std::string message = absl::StrCat(path, ": ", std::strerror(errno));
  return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

absl::Status ReadError(gzFile file, const std::string& path) {
  int code = Z_OK;
  const char* message = gzerror(file, &code);
  if (code == Z_OK || code == Z_STREAM_END) return absl::OkStatus();
  if (code == Z_ERRNO) {
    return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  // zlib's message begins with the path or with "<fd:…>".
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": damaged or cut short as a gzip file (", message, ")"));
}

}  // namespace

absl::Status ForEachLine(
    const std::string& path,
    const std::function<absl::Status(absl::string_view line, int64_t number)>& visit) {
  ASSIGN_OR_RETURN(const GzipFile file, Open(path));
  std::vector<char> buffer(kBufferBytes);
  std::string line;
  int64_t number = 1;
  const auto end_line = [&]() -> absl::Status {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!absl::StripAsciiWhitespace(line).empty()) RETURN_IF_ERROR(visit(line, number));
    ++number;
    line.clear();
    return absl::OkStatus();
  };
  while (true) {
    const int bytes = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()));
    if (bytes <= 0) break;
    absl::string_view rest(buffer.data(), bytes);
    for (size_t end = rest.find('\n'); end != absl::string_view::npos; end = rest.find('\n')) {
      line.append(rest.data(), end);
      rest.remove_prefix(end + 1);
      RETURN_IF_ERROR(end_line());
    }
    line.append(rest.data(), rest.size());
    if (line.size() > kMaxLineBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", number, ": the line has more than ", kMaxLineBytes, " bytes"));
    }
  }
  // Also after a clean end: a file cut short ends so, with an error noted.
  RETURN_IF_ERROR(ReadError(file.get(), path));
  return end_line();
}

}  // namespace kvp
