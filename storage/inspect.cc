// kvp inspect: what is in a shard, or in an agent file.

#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "storage/inspection.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"

ABSL_FLAG(std::string, json, "", "File to write the same as JSON to.");
ABSL_FLAG(bool, verify, false,
          "Read every block of the shard and check its checksum; exit with 1 if any is corrupt.");

namespace {

constexpr char kUsage[] =
    R"(inspect PATH: what is in a shard of the trace store (a folder, which a server may have open),
or in an agent file.

Examples:
  kvp inspect /data/shard0
  kvp inspect /data/shard0 --verify --json shard0.json
  kvp inspect out/quickstart/agents.safetensors)";

absl::Status Run(const std::string& path) {
  ASSIGN_OR_RETURN(const kvp::Inspection inspection,
                   kvp::InspectPath(path, absl::GetFlag(FLAGS_verify)));
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
  return kvp::ExitStatus(Run(paths[0]));
}
