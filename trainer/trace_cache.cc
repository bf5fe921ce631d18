#include "trainer/trace_cache.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "util/file.h"

namespace kvp {
namespace {

// MemAvailable of /proc/meminfo; 0 where it can't be had.
int64_t AvailableBytes() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/meminfo");
  if (!text.ok()) return 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    int64_t kib = 0;
    if (!absl::ConsumePrefix(&line, "MemAvailable:")) continue;
    if (absl::ConsumeSuffix(&line, "kB") && absl::SimpleAtoi(line, &kib)) return kib << 10;
  }
  return 0;
}

// What the control group (version 2) allows beyond what it uses; -1 where there is no limit.
int64_t ControlGroupBytes() {
  int64_t limit = 0;
  int64_t used = 0;
  const absl::StatusOr<std::string> limit_text = ReadFile("/sys/fs/cgroup/memory.max");
  const absl::StatusOr<std::string> used_text = ReadFile("/sys/fs/cgroup/memory.current");
  if (!limit_text.ok() || !used_text.ok() || !absl::SimpleAtoi(*limit_text, &limit) ||
      !absl::SimpleAtoi(*used_text, &used)) {
    return -1;
  }
  return std::max<int64_t>(0, limit - used);
}

}  // namespace

std::shared_ptr<const HeadGroupTensors> TraceCache::Find(const Key& key) const {
  absl::MutexLock lock(&mutex_);
  const auto found = tensors_.find(key);
  return found == tensors_.end() ? nullptr : found->second;
}

void TraceCache::Offer(const Key& key, std::shared_ptr<const HeadGroupTensors> tensors,
                       int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (bytes_ + bytes > capacity_bytes_) return;
  if (tensors_.emplace(key, std::move(tensors)).second) bytes_ += bytes;
}

int64_t TraceCache::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

int64_t DefaultCacheBytes(int ranks_on_machine) {
  int64_t bytes = AvailableBytes();
  const int64_t allowed = ControlGroupBytes();
  if (allowed >= 0) bytes = std::min(bytes, allowed);
  return bytes / 2 / std::max(1, ranks_on_machine);
}

}  // namespace kvp
