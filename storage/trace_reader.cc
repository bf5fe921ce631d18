#include "storage/trace_reader.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "storage/head_response.h"
#include "storage/shard_checks.h"
#include "storage/shard_source.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Sources = std::vector<std::unique_ptr<ShardSource>>;

class ShardedTraceReader final : public TraceReader {
 public:
  explicit ShardedTraceReader(Sources sources) : sources_(std::move(sources)) {}

  // Asks every shard what it is.
  absl::Status Identify() {
    std::vector<ShardIdentity> identities;
    for (const auto& source : sources_) {
      ASSIGN_OR_RETURN(ShardIdentity identity, source->Identity());
      identities.push_back(std::move(identity));
    }
    RETURN_IF_ERROR(CheckWhole(identities));
    absl::MutexLock lock(&mutex_);
    identities_ = std::move(identities);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<TraceRecord>> ListTraces(const std::string& split) override {
    ASSIGN_OR_RETURN(std::vector<TraceRecord> records, sources_[0]->List(split, false));
    for (size_t i = 1; i < sources_.size(); ++i) {
      ASSIGN_OR_RETURN(const std::vector<TraceRecord> others, sources_[i]->List(split, true));
      std::vector<TraceRecord> common;
      auto other = others.begin();
      for (TraceRecord& record : records) {
        while (other != others.end() && other->trace_id() < record.trace_id()) ++other;
        if (other == others.end()) break;
        if (other->trace_id() != record.trace_id()) continue;
        record.set_blocks(record.blocks() + other->blocks());
        common.push_back(std::move(record));
      }
      records = std::move(common);
    }
    return records;
  }

  absl::StatusOr<ReadResult> ReadHead(
      const HeadRead& read, const std::function<absl::Status(HeadBlock block)>& consume) override {
    ASSIGN_OR_RETURN(ShardSource* const source, SourceOf(read.head));
    // A trace that another shard hasn't committed is in no head; ListTraces names no such one. And
    // a read that was cut off and goes on must not see what was committed since it began.
    std::optional<std::set<std::string>> everywhere;
    if (read.traces.empty() && (sources_.size() > 1 || source->grows())) {
      ASSIGN_OR_RETURN(everywhere, IdsEverywhere(read.split));
    }
    ShardSource::HeadRequest request;
    request.head = read.head;
    request.split = read.split;
    request.order_seed = read.order_seed;
    request.traces = read.traces;
    if (read.after.has_value()) request.after_trace = &*read.after;
    ReadResult result;
    RETURN_IF_ERROR(source->ReadHead(
        request,
        [&](const TraceId& id, int32_t number,
            const absl::StatusOr<absl::string_view>& encoded) -> absl::Status {
          if (everywhere.has_value() && everywhere->count(std::string(id.begin(), id.end())) == 0) {
            return absl::OkStatus();
          }
          HeadBlockKey key;
          key.head = read.head;
          key.trace_id = id;
          key.block = number;
          absl::StatusOr<HeadBlock> block =
              encoded.ok() ? DecodeReadBlock(key, *encoded) : encoded.status();
          if (!block.ok()) {
            ++result.corrupt_blocks;
            LogWarning(absl::StrCat(source->name(), ": ", HeadBlockKeyText(key),
                                    " skipped: ", block.status().message()));
            return absl::OkStatus();
          }
          ++result.blocks;
          result.bytes += encoded->size();
          return consume(*std::move(block));
        }));
    return result;
  }

 private:
  // The shards that have had their hello must be the whole set of one model's shards.
  absl::Status CheckWhole(const std::vector<ShardIdentity>& identities) const {
    std::map<int32_t, std::string> seen;
    const ShardIdentity* first = nullptr;
    for (size_t i = 0; i < identities.size(); ++i) {
      const ShardIdentity& identity = identities[i];
      if (identity.shard_count() == 0) continue;
      const std::string& name = sources_[i]->name();
      if (first == nullptr) first = &identity;
      if (absl::Status same = CheckSameModel(identity.model(), first->model()); !same.ok()) {
        return absl::FailedPreconditionError(
            absl::StrCat(name, ": another model than the first shard's: ", same.message()));
      }
      if (identity.shard_count() != static_cast<int32_t>(sources_.size())) {
        return absl::FailedPreconditionError(absl::StrCat(name, ": is one of ",
                                                          identity.shard_count(), " shards, but ",
                                                          sources_.size(), " are given"));
      }
      const auto [place, added] = seen.emplace(identity.shard_index(), name);
      if (!added) {
        return absl::FailedPreconditionError(
            absl::StrCat(name, ": is shard ", identity.shard_index(), ", as is ", place->second));
      }
    }
    return absl::OkStatus();
  }

  ShardSource* FindSource(HeadId head) {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < identities_.size(); ++i) {
      const ShardIdentity& identity = identities_[i];
      const int32_t kv_heads = identity.model().kv_heads();
      if (head.layer < 0 || head.kv_head < 0 || head.kv_head >= kv_heads) continue;
      const int64_t index = head.Index(kv_heads);
      if (index >= identity.head_begin() && index < identity.head_end()) return sources_[i].get();
    }
    return nullptr;
  }

  absl::StatusOr<ShardSource*> SourceOf(HeadId head) {
    ShardSource* source = FindSource(head);
    if (source == nullptr) {
      // A shard may have had its first hello since.
      RETURN_IF_ERROR(Identify());
      source = FindSource(head);
    }
    if (source == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("no shard holds layer ", head.layer, " kv_head ", head.kv_head));
    }
    return source;
  }

  absl::StatusOr<std::set<std::string>> IdsEverywhere(const std::string& split) const {
    std::map<std::string, size_t> shards_with;
    for (const auto& source : sources_) {
      ASSIGN_OR_RETURN(const std::vector<TraceRecord> records, source->List(split, true));
      for (const TraceRecord& record : records) ++shards_with[record.trace_id()];
    }
    std::set<std::string> ids;
    for (const auto& [id, count] : shards_with) {
      if (count == sources_.size()) ids.insert(id);
    }
    return ids;
  }

  const Sources sources_;
  absl::Mutex mutex_;
  std::vector<ShardIdentity> identities_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<TraceReader>> TraceReader::Connect(const Options& options) {
  if (options.shards.empty()) return absl::InvalidArgumentError("shards is empty");
  Sources sources;
  for (const std::string& shard : options.shards) {
    ASSIGN_OR_RETURN(std::unique_ptr<ShardSource> source,
                     absl::StrContains(shard, '/')
                         ? LocalShard(shard)
                         : RemoteShard(shard, options.tls, options.connect_deadline));
    sources.push_back(std::move(source));
  }
  auto reader = std::make_unique<ShardedTraceReader>(std::move(sources));
  RETURN_IF_ERROR(reader->Identify());
  return reader;
}

}  // namespace kvp
