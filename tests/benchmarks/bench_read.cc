// `kvp bench read`: how fast one head's blocks come back, against reading a file.

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "storage/shard_server.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"
#include "tests/benchmarks/disk.h"
#include "tests/benchmarks/store_traces.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/head_split.h"
#include "util/malloc_tuning.h"
#include "util/median.h"
#include "util/status_macros.h"

ABSL_FLAG(int64_t, traces, 24, "Traces in the store, of 128 MB each.");
ABSL_FLAG(int64_t, heads, 56, "Heads of a round, of the model's 112.");
ABSL_FLAG(int64_t, block_tokens, kvp::kStoreBenchBlockTokens,
          "Tokens of a block: 512 are 272 KiB.");
ABSL_FLAG(int64_t, rounds, 5, "Rounds of each way of reading, in turn.");
ABSL_FLAG(std::string, json, "", "Write the results to this file.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(bench read: MB/s of a head's blocks, read through the shard's folder and through its server in a
shuffled order of traces, checked and decoded, against reading a file of the same size from begin to end; and how many
bytes the disk read for one of 112 heads. Nothing is in the page cache. In TMPDIR, or /tmp: that disk is measured.

Example:
  bench_read --json read.json)";

double MegabytesPerSecond(int64_t bytes, absl::Duration elapsed) {
  return static_cast<double>(bytes) / 1e6 / absl::ToDoubleSeconds(elapsed);
}

class ReadBench {
 public:
  explicit ReadBench(const std::string& folder) : folder_(folder) {}

  absl::Status Run() {
    ShardServer::Options options;
    options.shard.dir = folder_ + "/shard";
    ASSIGN_OR_RETURN(std::unique_ptr<ShardServer> server, ShardServer::Start(options));
    RETURN_IF_ERROR(Fill(server->address()));
    // Opening again moves what the log holds into files.
    server.reset();
    ASSIGN_OR_RETURN(server, ShardServer::Start(options));
    RETURN_IF_ERROR(MeasureOneHead(options.shard.dir));
    std::vector<double> raw, local, remote, local_ratio, remote_ratio;
    for (int64_t round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
      ASSIGN_OR_RETURN(const double local_speed, TimeHeads(options.shard.dir, round));
      ASSIGN_OR_RETURN(const double raw_speed, TimeRaw());
      ASSIGN_OR_RETURN(const double remote_speed, TimeHeads(server->address(), round));
      local.push_back(local_speed);
      raw.push_back(raw_speed);
      remote.push_back(remote_speed);
      local_ratio.push_back(local_speed / raw_speed);
      remote_ratio.push_back(remote_speed / raw_speed);
      std::cout << absl::StreamFormat(
          "raw file %.0f MB/s; heads through the folder %.0f MB/s: %.2f of it; through the server "
          "%.0f MB/s: %.2f\n",
          raw_speed, local_speed, local_ratio.back(), remote_speed, remote_ratio.back());
    }
    nlohmann::ordered_json json;
    json["ratio_to_raw"] = Median(local_ratio);
    json["ratio_to_raw_remote"] = Median(remote_ratio);
    json["read_amplification"] = amplification_;
    json["raw_file_mb_per_s"] = Median(raw);
    json["local_mb_per_s"] = Median(local);
    json["remote_mb_per_s"] = Median(remote);
    json["head_bytes"] = head_bytes_;
    json["traces"] = absl::GetFlag(FLAGS_traces);
    json["block_tokens"] = absl::GetFlag(FLAGS_block_tokens);
    json["heads"] = absl::GetFlag(FLAGS_heads);
    json["rounds"] = absl::GetFlag(FLAGS_rounds);
    std::cout << absl::StreamFormat(
        "median of %d rounds: folder %.2f, server %.2f of the raw file; for one of 112 heads the "
        "disk read %.3f times its bytes\n",
        absl::GetFlag(FLAGS_rounds), Median(local_ratio), Median(remote_ratio), amplification_);
    const std::string path = absl::GetFlag(FLAGS_json);
    if (path.empty()) return absl::OkStatus();
    return WriteFileAtomically(path, {json.dump(2), "\n"});
  }

 private:
  absl::Status Fill(const std::string& address) {
    TraceWriter::Options options;
    options.shards = {address};
    options.model = StoreBenchModel();
    ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> writer, TraceWriter::Connect(options));
    for (int64_t i = 0; i < absl::GetFlag(FLAGS_traces); ++i) {
      RETURN_IF_ERROR(
          WriteStoreBenchTrace(*writer, static_cast<uint32_t>(i),
                               static_cast<int32_t>(absl::GetFlag(FLAGS_block_tokens))));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<double> TimeRaw() {
    const std::string folder = folder_ + "/raw";
    RETURN_IF_ERROR(MakeDirectories(folder));
    const std::string file = folder + "/file";
    RETURN_IF_ERROR(TimeRawWrite(file, round_bytes_, RandomBytes(int64_t{1} << 20, 3)).status());
    RETURN_IF_ERROR(DropCaches(folder));
    ASSIGN_OR_RETURN(const absl::Duration elapsed, TimeRawRead(file, int64_t{1} << 20));
    std::remove(file.c_str());
    return MegabytesPerSecond(round_bytes_, elapsed);
  }

  // What the disk reads for one head of 112, opening the shard included.
  absl::Status MeasureOneHead(const std::string& folder) {
    RETURN_IF_ERROR(DropCaches(folder_));
    const int64_t before = CostsSoFar().read_bytes;
    TraceReader::Options options;
    options.shards = {folder};
    ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader, TraceReader::Connect(options));
    ASSIGN_OR_RETURN(const TraceReader::ReadResult result,
                     reader->ReadHead({14, 2}, "", [](HeadBlock) { return absl::OkStatus(); }));
    amplification_ =
        static_cast<double>(CostsSoFar().read_bytes - before) / static_cast<double>(result.bytes);
    return absl::OkStatus();
  }

  absl::StatusOr<double> TimeHeads(const std::string& source, int64_t round) {
    RETURN_IF_ERROR(DropCaches(folder_));
    TraceReader::Options options;
    options.shards = {source};
    ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader, TraceReader::Connect(options));
    const ModelInfo model = StoreBenchModel();
    const int64_t all = int64_t{model.layers()} * model.kv_heads();
    const int64_t heads = absl::GetFlag(FLAGS_heads);
    round_bytes_ = 0;
    const absl::Time begin = absl::Now();
    for (int64_t i = 0; i < heads; ++i) {
      TraceReader::HeadRead read;
      // Spread over the model, so that no read goes on where another ended.
      read.head = HeadId::FromIndex(i * all / heads, model.kv_heads());
      read.order_seed = static_cast<uint64_t>(round) + 1;
      ASSIGN_OR_RETURN(const TraceReader::ReadResult result,
                       reader->ReadHead(read, [](HeadBlock) { return absl::OkStatus(); }));
      if (result.corrupt_blocks > 0) return absl::DataLossError("corrupt blocks");
      round_bytes_ += result.bytes;
    }
    const absl::Duration elapsed = absl::Now() - begin;
    head_bytes_ = round_bytes_ / heads;
    return MegabytesPerSecond(round_bytes_, elapsed);
  }

  const std::string folder_;
  int64_t round_bytes_ = 0;
  int64_t head_bytes_ = 0;
  double amplification_ = 0;
};

absl::Status RunBench() {
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Make());
  return ReadBench(folder.path()).Run();
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  if (!kvp::ParseCommandLine(argc, argv, kvp::kUsage).empty()) {
    return kvp::UsageError("bench read takes flags only");
  }
  if (absl::GetFlag(FLAGS_traces) < 1 || absl::GetFlag(FLAGS_heads) < 1 ||
      absl::GetFlag(FLAGS_heads) > 112 || absl::GetFlag(FLAGS_rounds) < 1) {
    return kvp::UsageError("--traces and --rounds must be positive, --heads from 1 to 112");
  }
  const int64_t block_tokens = absl::GetFlag(FLAGS_block_tokens);
  if (block_tokens < 1 || kvp::kStoreBenchTokens % block_tokens != 0) {
    return kvp::UsageError(absl::StrCat("--block-tokens must divide ", kvp::kStoreBenchTokens));
  }
  return kvp::ExitStatus(kvp::RunBench());
}
