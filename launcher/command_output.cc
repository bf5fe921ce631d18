#include "launcher/command_output.h"

#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "launcher/process.h"

namespace kvp {

absl::StatusOr<std::string> CommandOutput(const std::vector<std::string>& argv) {
  const std::string line = ShellLine(argv);
  FILE* const pipe = popen(line.c_str(), "re");
  if (pipe == nullptr) {
    return absl::UnavailableError(absl::StrCat(line, ": ", std::strerror(errno)));
  }
  std::string output;
  char buffer[4096];
  for (size_t bytes; (bytes = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    output.append(buffer, bytes);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return output;
  return absl::UnavailableError(absl::StrCat(line, ": failed with status ", status));
}

}  // namespace kvp
