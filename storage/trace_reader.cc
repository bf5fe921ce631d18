#include "storage/trace_reader.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "proto/read.grpc.pb.h"
#include "storage/block_quantization.h"
#include "storage/channel.h"
#include "storage/head_stream.h"
#include "storage/shard_checks.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A list of very many traces takes its time.
constexpr absl::Duration kListLimit = absl::Minutes(10);

class ShardedTraceReader final : public TraceReader {
 public:
  explicit ShardedTraceReader(Options options) : options_(std::move(options)) {
    for (const std::string& address : options_.shards) {
      Source source;
      source.address = address;
      source.channel = MakeChannel(address);
      source.stub = TraceReading::NewStub(source.channel);
      sources_.push_back(std::move(source));
    }
  }

  // Asks every shard what it is.
  absl::Status Identify() {
    std::vector<ShardIdentity> identities;
    for (const Source& source : sources_) {
      GetShardResponse response;
      RETURN_IF_ERROR(CallWithRetry(*source.channel, source.address, options_.connect_deadline,
                                    options_.connect_deadline, [&](grpc::ClientContext& context) {
                                      response.Clear();
                                      return source.stub->GetShard(&context, GetShardRequest(),
                                                                   &response);
                                    }));
      identities.push_back(response.identity());
    }
    RETURN_IF_ERROR(CheckWhole(identities));
    absl::MutexLock lock(&mutex_);
    identities_ = std::move(identities);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<TraceRecord>> ListTraces(const std::string& split) override {
    ASSIGN_OR_RETURN(std::vector<TraceRecord> records, List(sources_[0], split, false));
    for (size_t i = 1; i < sources_.size(); ++i) {
      ASSIGN_OR_RETURN(const std::vector<TraceRecord> others, List(sources_[i], split, true));
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
      HeadId head, const std::string& split,
      const std::function<absl::Status(HeadBlock block)>& consume) override {
    ASSIGN_OR_RETURN(const Source* source, SourceOf(head));
    // A trace that another shard hasn't committed is in no head.
    std::optional<std::set<std::string>> everywhere;
    if (sources_.size() > 1) {
      ASSIGN_OR_RETURN(everywhere, IdsEverywhere(split));
    }
    HeadStream::Options options;
    options.address = source->address;
    options.channel = source->channel;
    options.request.set_layer(head.layer);
    options.request.set_kv_head(head.kv_head);
    options.request.set_split(split);
    options.deadline = options_.connect_deadline;
    HeadStream stream(std::move(options));
    ReadResult result;
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<ReadHeadResponse> response, stream.Next());
      if (!response.has_value()) return result;
      for (const BlockPosition& position : response->unreadable()) {
        if (everywhere.has_value() && everywhere->count(position.trace_id()) == 0) continue;
        CountCorrupt(*source, head, position, "the shard can't read it", &result);
      }
      if (response->positions_size() != response->blocks_size()) {
        return absl::InternalError(absl::StrCat(ShardName(source->address), ": ",
                                                response->positions_size(), " positions for ",
                                                response->blocks_size(), " blocks"));
      }
      for (int i = 0; i < response->blocks_size(); ++i) {
        const BlockPosition& position = response->positions(i);
        if (everywhere.has_value() && everywhere->count(position.trace_id()) == 0) continue;
        absl::StatusOr<HeadBlock> block = DecodeHeadBlock(response->blocks(i));
        if (block.ok()) block = DequantizeToBf16(*std::move(block));
        if (!block.ok()) {
          CountCorrupt(*source, head, position, block.status().message(), &result);
          continue;
        }
        if (block->key.head != head || block->key.block != position.block() ||
            position.trace_id() !=
                std::string(block->key.trace_id.begin(), block->key.trace_id.end())) {
          CountCorrupt(*source, head, position,
                       absl::StrCat("it says it is ", HeadBlockKeyText(block->key)), &result);
          continue;
        }
        ++result.blocks;
        result.bytes += response->blocks(i).size();
        RETURN_IF_ERROR(consume(*std::move(block)));
      }
    }
  }

 private:
  struct Source {
    std::string address;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<TraceReading::Stub> stub;
  };

  // The shards that have had their hello must be the whole set of one model's shards.
  absl::Status CheckWhole(const std::vector<ShardIdentity>& identities) const {
    std::map<int32_t, std::string> seen;
    const ShardIdentity* first = nullptr;
    for (size_t i = 0; i < identities.size(); ++i) {
      const ShardIdentity& identity = identities[i];
      if (identity.shard_count() == 0) continue;
      const std::string name = ShardName(sources_[i].address);
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

  const Source* FindSource(HeadId head) {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < identities_.size(); ++i) {
      const ShardIdentity& identity = identities_[i];
      const int32_t kv_heads = identity.model().kv_heads();
      if (head.layer < 0 || head.kv_head < 0 || head.kv_head >= kv_heads) continue;
      const int64_t index = head.Index(kv_heads);
      if (index >= identity.head_begin() && index < identity.head_end()) return &sources_[i];
    }
    return nullptr;
  }

  absl::StatusOr<const Source*> SourceOf(HeadId head) {
    const Source* source = FindSource(head);
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

  absl::StatusOr<std::vector<TraceRecord>> List(const Source& source, const std::string& split,
                                                bool ids_only) const {
    ListTracesRequest request;
    request.set_split(split);
    request.set_ids_only(ids_only);
    std::vector<TraceRecord> records;
    RETURN_IF_ERROR(CallWithRetry(*source.channel, source.address, options_.connect_deadline,
                                  kListLimit, [&](grpc::ClientContext& context) {
                                    records.clear();
                                    const auto reader = source.stub->ListTraces(&context, request);
                                    ListTracesResponse response;
                                    while (reader->Read(&response)) {
                                      for (TraceRecord& record : *response.mutable_records()) {
                                        records.push_back(std::move(record));
                                      }
                                    }
                                    return reader->Finish();
                                  }));
    for (size_t i = 1; i < records.size(); ++i) {
      if (records[i - 1].trace_id() >= records[i].trace_id()) {
        return absl::InternalError(
            absl::StrCat(ShardName(source.address), ": traces aren't in order"));
      }
    }
    return records;
  }

  absl::StatusOr<std::set<std::string>> IdsEverywhere(const std::string& split) const {
    std::map<std::string, size_t> shards_with;
    for (const Source& source : sources_) {
      ASSIGN_OR_RETURN(const std::vector<TraceRecord> records, List(source, split, true));
      for (const TraceRecord& record : records) ++shards_with[record.trace_id()];
    }
    std::set<std::string> ids;
    for (const auto& [id, count] : shards_with) {
      if (count == sources_.size()) ids.insert(id);
    }
    return ids;
  }

  static void CountCorrupt(const Source& source, HeadId head, const BlockPosition& position,
                           absl::string_view why, ReadResult* result) {
    ++result->corrupt_blocks;
    HeadBlockKey key;
    key.head = head;
    key.block = position.block();
    if (absl::StatusOr<TraceId> id = TraceIdFromBytes(position.trace_id()); id.ok()) {
      key.trace_id = *id;
    }
    LogWarning(
        absl::StrCat(ShardName(source.address), ": ", HeadBlockKeyText(key), " skipped: ", why));
  }

  const Options options_;
  std::vector<Source> sources_;
  absl::Mutex mutex_;
  std::vector<ShardIdentity> identities_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<TraceReader>> TraceReader::Connect(Options options) {
  if (options.shards.empty()) return absl::InvalidArgumentError("shards is empty");
  for (const std::string& address : options.shards) {
    RETURN_IF_ERROR(ParseHostPort(address).status());
  }
  auto reader = std::make_unique<ShardedTraceReader>(std::move(options));
  RETURN_IF_ERROR(reader->Identify());
  return reader;
}

}  // namespace kvp
