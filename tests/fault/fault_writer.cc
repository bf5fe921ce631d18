// A collector without a model: writes the traces of the fault tests until it is killed, and keeps a
// journal of what it begins to commit ("begin N") and what is acknowledged ("done N"). Like a
// collector it asks first what is committed already.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "storage/test_traces.h"
#include "storage/trace_writer.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/shard_process.h"
#include "util/command_line.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, shards, "", "HOST:PORT of each shard, with commas between them.");
ABSL_FLAG(std::string, journal, "", "File that the journal is added to.");
ABSL_FLAG(uint32_t, first, 1, "Number of the first trace.");

namespace {

// Ids asked for at once.
constexpr uint32_t kAsked = 50;

class Journal {
 public:
  explicit Journal(const std::string& path)
      : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600)) {}
  ~Journal() { close(fd_); }

  // A kill leaves the line whole or not at all.
  absl::Status Add(const std::string& word, uint32_t number) {
    const std::string line = absl::StrCat(word, " ", number, "\n");
    if (write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size())) {
      return absl::OkStatus();
    }
    return absl::UnavailableError(absl::StrCat("journal: ", std::strerror(errno)));
  }

 private:
  const int fd_;
};

absl::Status Run() {
  Journal journal(absl::GetFlag(FLAGS_journal));
  kvp::TraceWriter::Options options =
      kvp::FaultWriterOptions(absl::StrSplit(absl::GetFlag(FLAGS_shards), ','));
  options.tls = kvp::TlsFilesFromFlags();
  ASSIGN_OR_RETURN(const std::unique_ptr<kvp::TraceWriter> writer,
                   kvp::TraceWriter::Connect(options));
  for (uint32_t begin = absl::GetFlag(FLAGS_first);; begin += kAsked) {
    std::vector<kvp::TraceId> asked;
    for (uint32_t i = 0; i < kAsked; ++i) asked.push_back(kvp::TestTraceId(begin + i));
    ASSIGN_OR_RETURN(const std::vector<kvp::TraceId> committed, writer->Committed(asked));
    const std::set<kvp::TraceId> done(committed.begin(), committed.end());
    for (uint32_t number = begin; number < begin + kAsked; ++number) {
      if (done.count(kvp::TestTraceId(number)) == 0) {
        RETURN_IF_ERROR(journal.Add("begin", number));
        RETURN_IF_ERROR(kvp::WriteFaultTrace(*writer, number));
      }
      RETURN_IF_ERROR(journal.Add("done", number));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  kvp::ParseCommandLine(argc, argv, "fault_writer: writes traces and a journal of them.");
  return kvp::ExitStatus(Run());
}
