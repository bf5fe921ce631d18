// Writes the shard of storage/testdata, with which golden_shard_test checks that shards on disk
// stay readable: write_golden_shard FOLDER. To be run anew only when the format's version changes.

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "storage/head_block.h"
#include "storage/shard.h"
#include "storage/test_traces.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace {

absl::Status PutTrace(kvp::Shard& shard, uint32_t number, bool commit) {
  std::vector<std::string> encoded;
  for (const kvp::HeadBlock& block : kvp::TestBlocks(number, 10, 4)) {
    ASSIGN_OR_RETURN(std::string bytes, kvp::EncodeHeadBlock(block));
    encoded.push_back(std::move(bytes));
  }
  std::vector<kvp::HeadBlockView> views;
  for (const std::string& bytes : encoded) {
    ASSIGN_OR_RETURN(const kvp::HeadBlockView view, kvp::ParseHeadBlock(bytes));
    views.push_back(view);
  }
  for (const absl::Status& status : shard.PutBlocks(views)) RETURN_IF_ERROR(status);
  if (!commit) return absl::OkStatus();
  kvp::TraceRecord record = kvp::TestRecord(number, 10, "train");
  record.set_blocks(static_cast<int32_t>(views.size()));
  return shard.Commit({record})[0];
}

absl::Status Run(const std::string& dir) {
  RETURN_IF_ERROR(kvp::MakeDirectories(dir));
  kvp::Shard::Options options;
  options.dir = dir;
  {
    // One trace in a sorted file …
    options.sorted_file_bytes = 1;
    ASSIGN_OR_RETURN(const std::unique_ptr<kvp::Shard> shard, kvp::Shard::Open(options));
    RETURN_IF_ERROR(shard->Hello(kvp::TestModel(), 0, 1).status());
    RETURN_IF_ERROR(PutTrace(*shard, 1, true));
  }
  {
    // … and one in the log, with one that isn't committed.
    options.sorted_file_bytes = int64_t{1} << 20;
    ASSIGN_OR_RETURN(const std::unique_ptr<kvp::Shard> shard, kvp::Shard::Open(options));
    RETURN_IF_ERROR(PutTrace(*shard, 2, true));
    RETURN_IF_ERROR(PutTrace(*shard, 3, false));
  }
  // What no reader needs.
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("OPTIONS", 0) == 0 || name == "LOCK" || name.rfind("LOG", 0) == 0) {
      std::filesystem::remove(entry.path());
    }
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> folders = kvp::ParseCommandLine(
      argc, argv, "write_golden_shard FOLDER: the shard of storage/testdata.");
  if (folders.size() != 1) return kvp::UsageError("write_golden_shard takes one folder");
  return kvp::ExitStatus(Run(folders[0]));
}
