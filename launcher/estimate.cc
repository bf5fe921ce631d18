#include "launcher/estimate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "util/file.h"
#include "util/head_split.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

namespace fs = std::filesystem;

// As `kvp train --group-size` has it by default.
constexpr int64_t kGroupSize = 4;
constexpr double kBytesOfAToken = 4;
// `kvp collect` takes no longer contexts unless it is told to.
constexpr int64_t kLongestDefaultContext = 4096;

struct DatasetSize {
  int64_t traces = 0;
  double tokens = 0;
};

// `caveat` gains what isn't known.
absl::StatusOr<DatasetSize> SizeOf(const Job::Dataset& dataset, const ModelGeometry& geometry,
                                   std::string* caveat) {
  DatasetSize size;
  if (!dataset.has_generated()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(dataset.prompts_file()));
    size.traces = std::count(text.begin(), text.end(), '\n');
    if (!text.empty() && text.back() != '\n') ++size.traces;
    size.tokens = text.size() / kBytesOfAToken + double(size.traces) * dataset.max_new_tokens();
    absl::StrAppend(caveat, dataset.name(), ": a token is taken for 4 bytes; ");
    return size;
  }
  const Job::Generated& generated = dataset.generated();
  if (!generated.has_count()) {
    absl::StrAppend(caveat, dataset.name(), ": left out, it has no count; ");
    return size;
  }
  size.traces = generated.count();
  double tokens = 0;
  if (generated.has_context_tokens()) {
    tokens = double(generated.context_tokens()) + dataset.max_new_tokens();
  } else {
    tokens = geometry.max_positions == 0 ? kLongestDefaultContext
                                         : std::min(kLongestDefaultContext, geometry.max_positions);
    absl::StrAppend(caveat, dataset.name(), ": traces are taken to be ", tokens, " tokens; ");
  }
  size.tokens = size.traces * tokens;
  return size;
}

double KvBytes(const Job& job) {
  for (const std::string& flag : job.collectors().flags()) {
    if (flag == "--kv-dtype=fp8" || flag == "--kv_dtype=fp8") return 2;
  }
  return 4;
}

std::string BytesText(double bytes) {
  const char* const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < std::size(units); ++unit) bytes /= 1000;
  return absl::StrFormat("%.3g %s", bytes, units[unit]);
}

// Ranks share groups out; or, where there are more ranks than groups, each group's ranks share its
// batch's contexts. The most that a rank has over the mean.
double RankBalance(int64_t heads, int64_t ranks, int64_t batch) {
  const int64_t groups = (heads + kGroupSize - 1) / kGroupSize;
  if (ranks <= groups) {
    return std::ceil(double(groups) / ranks) / (double(groups) / ranks);
  }
  const int64_t replicas = ranks / groups;
  const double contexts = std::ceil(double(batch) / std::min(replicas, batch));
  return contexts / (double(batch) * groups / ranks);
}

}  // namespace

absl::StatusOr<Estimate> EstimateJob(const Job& job, const ModelGeometry& geometry,
                                     const Plan& plan) {
  Estimate estimate;
  for (const Job::Dataset& dataset : job.datasets()) {
    ASSIGN_OR_RETURN(const DatasetSize size, SizeOf(dataset, geometry, &estimate.caveat));
    estimate.traces += size.traces;
    estimate.tokens += size.tokens;
    estimate.trace_bytes +=
        size.tokens * geometry.heads() * (KvBytes(job) * geometry.head_dim + 2.0 * dataset.cuts());
  }
  if (geometry.head_dim == 0) {
    absl::StrAppend(&estimate.caveat, "config.json doesn't tell the heads' dimension; ");
  }
  int64_t largest = 0;
  for (const HeadRange& range : plan.shard_heads) largest = std::max(largest, range.size());
  estimate.shard_balance =
      double(largest) * plan.shard_heads.size() / static_cast<double>(geometry.heads());
  estimate.largest_shard_bytes = estimate.trace_bytes * largest / geometry.heads();
  if (job.has_trainers()) {
    estimate.rank_balance =
        RankBalance(geometry.heads(), job.trainers().ranks(), job.trainers().batch());
  }
  return estimate;
}

std::string EstimateText(const Estimate& estimate) {
  std::string text = absl::StrFormat(
      "estimate: %d traces of %.4g tokens in all, %s on disk, %s in the fullest shard\n"
      "balance (most over mean): heads of a shard %.2f, work of a rank %.2f\n",
      estimate.traces, estimate.tokens, BytesText(estimate.trace_bytes),
      BytesText(estimate.largest_shard_bytes), estimate.shard_balance, estimate.rank_balance);
  if (!estimate.caveat.empty()) {
    absl::StrAppend(&text, "assumed: ", estimate.caveat.substr(0, estimate.caveat.size() - 2),
                    "\n");
  }
  return text;
}

absl::Status CheckDiskSpace(const Job& job, const Estimate& estimate) {
  fs::path folder = job.shards().dir();
  std::error_code error;
  double there = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder, error)) {
    std::error_code ignored;
    if (entry.is_regular_file(ignored)) there += entry.file_size(ignored);
  }
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  const fs::space_info space = fs::space(folder, error);
  if (error || estimate.trace_bytes <= space.available + there) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "shards.dir: ", job.shards().dir(), ": the traces take about ",
      BytesText(estimate.trace_bytes), ", and there are ", BytesText(space.available), " free"));
}

}  // namespace kvp
