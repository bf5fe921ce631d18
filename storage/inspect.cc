// kvp inspect: what is in a shard, or in an agent file.

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "proto/admin.grpc.pb.h"
#include "storage/channel.h"
#include "storage/inspection.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"
#include "util/tls_flags.h"

ABSL_FLAG(std::string, json, "", "File to write the same as JSON to.");
ABSL_FLAG(bool, verify, false,
          "Read every block of the shard and check its checksum; exit with 1 if any is corrupt.");

ABSL_FLAG(std::string, trace, "", "Describe one trace of the shard, by its id of 32 hex digits.");
ABSL_FLAG(bool, compact, false,
          "Rewrite the shard's files without what was deleted; no server may have it open.");
ABSL_FLAG(bool, drop_run, false,
          "Remove the shard with everything in it; no server may have it open.");
ABSL_FLAG(
    std::string, checkpoint, "",
    "Take PATH for the HOST:PORT of a running shard and make a checkpoint of this name there: "
    "a copy of hard links in checkpoints/NAME of its folder.");

namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);
constexpr absl::Duration kCheckpointLimit = absl::Minutes(10);

constexpr char kUsage[] =
    R"(inspect PATH: what is in a shard of the trace store (a folder, which a server may have open),
or in an agent file; and what an operator does with a shard.

Examples:
  kvp inspect /data/shard0
  kvp inspect /data/shard0 --verify --json shard0.json
  kvp inspect /data/shard0 --trace 5f0c2a9d3b7e41d8a6c1f2e3d4b5a697
  kvp inspect /data/shard0 --compact
  kvp inspect /data/shard0 --drop-run
  kvp inspect 127.0.0.1:7000 --checkpoint before-retraining
  kvp inspect 10.0.0.7:7000 --checkpoint before-retraining --tls-cert client.pem \
    --tls-key client.key --tls-ca ca.pem
  kvp inspect out/quickstart/agents.safetensors

Exit status: 0 done, 1 failed or corrupt blocks found, 2 wrong usage.)";

// Of a running shard.
absl::Status MakeCheckpoint(const std::string& address, const std::string& name) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                   kvp::MakeChannel(address, kvp::TlsFilesFromFlags()));
  const auto stub = kvp::ShardAdmin::NewStub(channel);
  kvp::CheckpointRequest request;
  request.set_name(name);
  kvp::CheckpointResponse response;
  RETURN_IF_ERROR(kvp::CallWithRetry(*channel, address, kPatience, kCheckpointLimit,
                                     [&](grpc::ClientContext& context) {
                                       return stub->Checkpoint(&context, request, &response);
                                     }));
  std::cout << response.path() << ": " << response.committed_traces() << " traces committed"
            << std::endl;
  return absl::OkStatus();
}

absl::Status Compact(const std::string& path) {
  ASSIGN_OR_RETURN(const kvp::CompactionResult result, kvp::CompactShard(path));
  std::cout << path << ": " << result.bytes_before << " bytes before, " << result.bytes_after
            << " after" << std::endl;
  return absl::OkStatus();
}

absl::StatusOr<kvp::Inspection> Inspect(const std::string& path) {
  const std::string trace = absl::GetFlag(FLAGS_trace);
  return trace.empty() ? kvp::InspectPath(path, absl::GetFlag(FLAGS_verify))
                       : kvp::InspectTrace(path, trace);
}

absl::Status Run(const std::string& path) {
  if (const std::string name = absl::GetFlag(FLAGS_checkpoint); !name.empty()) {
    return MakeCheckpoint(path, name);
  }
  if (absl::GetFlag(FLAGS_compact)) return Compact(path);
  if (absl::GetFlag(FLAGS_drop_run)) return kvp::DropShard(path);
  ASSIGN_OR_RETURN(const kvp::Inspection inspection, Inspect(path));
  std::cout << inspection.text << std::flush;
  if (const std::string file = absl::GetFlag(FLAGS_json); !file.empty()) {
    RETURN_IF_ERROR(kvp::WriteFileAtomically(file, {inspection.json}));
  }
  if (inspection.corrupt_blocks > 0) {
    return absl::DataLossError(
        absl::StrCat(path, ": ", inspection.corrupt_blocks, " corrupt blocks"));
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> paths = kvp::ParseCommandLine(argc, argv, kUsage);
  if (paths.size() != 1) {
    return kvp::UsageError(absl::StrCat("inspect takes one PATH, not ", paths.size()));
  }
  const int actions = !absl::GetFlag(FLAGS_checkpoint).empty() + absl::GetFlag(FLAGS_compact) +
                      absl::GetFlag(FLAGS_drop_run) + !absl::GetFlag(FLAGS_trace).empty() +
                      absl::GetFlag(FLAGS_verify);
  if (actions > 1) {
    return kvp::UsageError(
        "only one of --verify, --trace, --compact, --drop-run and --checkpoint is possible");
  }
  if (!absl::GetFlag(FLAGS_checkpoint).empty() || absl::GetFlag(FLAGS_compact) ||
      absl::GetFlag(FLAGS_drop_run)) {
    const std::string problem =
        kvp::MisplacedFlag({"json"}, "to --compact, --drop-run and --checkpoint");
    if (!problem.empty()) return kvp::UsageError(problem);
  }
  std::error_code error;
  if (std::filesystem::is_regular_file(paths[0], error)) {
    const std::string problem = kvp::MisplacedFlag({"verify", "trace", "compact", "drop_run"},
                                                   absl::StrCat("to a file, as ", paths[0], " is"));
    if (!problem.empty()) return kvp::UsageError(problem);
  }
  return kvp::ExitStatus(Run(paths[0]));
}
