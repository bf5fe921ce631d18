// q-filters: makes the filters of policy q_filter from a store's traces.

#include <algorithm>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "policy/q_filter_file.h"
#include "storage/trace_reader.h"
#include "trainer/q_filter_training.h"
#include "util/command_line.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/progress.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, shards, "",
          "HOST:PORT of each shard, comma-separated, in the order of their heads.");
ABSL_FLAG(std::string, split, "train", "Traces that filters are made from.");
ABSL_FLAG(std::string, output, "", "The file to write, as in q_filters.safetensors.");
ABSL_FLAG(absl::Duration, connect_deadline, absl::Seconds(30), "How long to try to reach a shard.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(q-filters: makes the filters of policy q_filter: for each head, the main direction of its queries in the traces of a
store, which must have been collected with --record-queries.

Example:
  kvp q-filters --shards localhost:7001 --output q_filters.safetensors)";

absl::Status Run() {
  const std::string output = absl::GetFlag(FLAGS_output);
  RETURN_IF_ERROR(CheckOutputPaths({output}));
  TraceReader::Options options;
  options.shards = absl::StrSplit(absl::GetFlag(FLAGS_shards), ',');
  options.tls = TlsFilesFromFlags();
  options.connect_deadline = absl::GetFlag(FLAGS_connect_deadline);
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader, TraceReader::Connect(options));
  std::unique_ptr<Progress> progress;
  ASSIGN_OR_RETURN(
      const QFilterFile file,
      TrainQFilters(*reader, absl::GetFlag(FLAGS_split), [&progress](int64_t done, int64_t heads) {
        if (!progress) {
          progress = std::make_unique<Progress>("heads", heads);
        }
        if (done < heads) {
          progress->Update(done, "filters");
        } else {
          progress->Finish(done, "filters");
        }
      }));
  RETURN_IF_ERROR(SaveQFilters(output, file));
  LogInfo(absl::StrCat(output, ": filters of ", file.filters.size(0), " x ", file.filters.size(1),
                       " heads, each from ", file.queries, " queries"));
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  const auto positional = kvp::ParseCommandLine(argc, argv, kvp::kUsage);
  if (!positional.empty()) return kvp::UsageError("unexpected argument " + positional[0]);
  if (absl::GetFlag(FLAGS_shards).empty()) return kvp::UsageError("--shards is missing");
  if (absl::GetFlag(FLAGS_output).empty()) return kvp::UsageError("--output is missing");
  kvp::SetLogName("q-filters");
  return kvp::ExitStatus(kvp::Run());
}
