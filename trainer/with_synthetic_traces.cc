// Runs a command beside a store in this process that holds synthetic traces of both splits:
// "@SHARDS" in its arguments becomes the shards' addresses, "@FOLDERS" their folders. Exits with
// the command's status.

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "storage/test_cluster.h"
#include "storage/trace_writer.h"
#include "trainer/synthetic_traces.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::Status WriteTraces(const TestCluster& cluster) {
  for (const char* split : {"train", "held_out"}) {
    SyntheticTraceSpec spec;
    spec.split = split;
    spec.traces = 6;
    const std::vector<SyntheticTrace> traces = MakeSyntheticTraces(spec);
    TraceWriter::Options options;
    options.shards = cluster.addresses();
    options.model = traces[0].record.model();
    ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> writer, TraceWriter::Connect(options));
    for (const SyntheticTrace& trace : traces) {
      for (const HeadBlock& block : trace.blocks) RETURN_IF_ERROR(writer->Add(block));
      RETURN_IF_ERROR(writer->Commit(trace.record));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Run(const std::string& command) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TestCluster> cluster, TestCluster::Start(2));
  RETURN_IF_ERROR(WriteTraces(*cluster));
  const std::string folders = absl::StrCat(cluster->dir(0), ",", cluster->dir(1));
  const int status = std::system(
      absl::StrReplaceAll(command, {{"@SHARDS", cluster->shards_flag()}, {"@FOLDERS", folders}})
          .c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: with_synthetic_traces COMMAND\n";
    return 2;
  }
  const absl::StatusOr<int> status = kvp::Run(argv[1]);
  if (!status.ok()) {
    std::cerr << status.status() << "\n";
    return 1;
  }
  return *status;
}
