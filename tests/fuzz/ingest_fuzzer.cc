// Ingestion (proto/ingest.proto): a stream of messages as any client may send it, against a shard.
//
// An input is flags (1 byte), then messages, each behind its length (2 bytes, little-endian). Flag
// 1 puts the checksums of blocks right; flag 2 puts a good hello in front.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/stubs/logging.h"
#include "proto/ingest.pb.h"
#include "rocksdb/env.h"
#include "storage/channel.h"
#include "storage/ingest_conversation.h"
#include "storage/shard.h"
#include "storage/test_traces.h"
#include "tests/fuzz/block_checksums.h"
#include "tests/fuzz/check.h"

namespace kvp {
namespace {

constexpr uint8_t kRightChecksums = 1;
constexpr uint8_t kHello = 2;
// After so many stored blocks the shard is made anew: it is all in memory.
constexpr int kBlocksOfShard = 2000;

IngestRequest Hello() {
  IngestRequest request;
  request.mutable_hello()->set_protocol_version(kIngestProtocolVersion);
  *request.mutable_hello()->mutable_model() = TestModel();
  request.mutable_hello()->set_shard_count(1);
  return request;
}

class MemoryShard {
 public:
  MemoryShard() : env_(rocksdb::NewMemEnv(rocksdb::Env::Default())) {
    Shard::Options options;
    options.dir = "/shard";
    options.env = env_.get();
    options.write_buffer_bytes = 1 << 20;
    absl::StatusOr<std::unique_ptr<Shard>> shard = Shard::Open(options);
    FUZZ_CHECK(shard.ok());
    shard_ = *std::move(shard);
    // The model that an input's blocks are of.
    FUZZ_CHECK(shard_->Hello(TestModel(), 0, 1).ok());
  }

  bool is_full() const { return blocks_ >= kBlocksOfShard; }

  // Up to the first message that is refused.
  void Converse(const std::vector<IngestRequest>& requests) {
    IngestConversation conversation(shard_.get());
    for (const IngestRequest& request : requests) {
      const absl::StatusOr<IngestConversation::Message> message = conversation.Take(request);
      if (!message.ok()) {
        FUZZ_CHECK(absl::IsInvalidArgument(message.status()) ||
                   absl::IsFailedPrecondition(message.status()));
        return;
      }
      if (message->hello.has_value()) continue;
      if (request.kind_case() == IngestRequest::kResume) {
        FUZZ_CHECK(shard_->Held(*TraceIdFromBytes(request.resume()), int64_t{1} << 20).ok());
      } else if (request.kind_case() == IngestRequest::kBlock) {
        ++blocks_;
        CheckStatus(shard_->PutBlocks({message->block})[0]);
      } else {
        CheckStatus(shard_->Commit({request.commit()})[0]);
      }
    }
  }

  // What is visible is whole.
  void CheckCommitted() {
    const int64_t committed = shard_->committed_traces();
    if (committed == committed_) return;
    committed_ = committed;
    int64_t listed = 0;
    const absl::Status status = shard_->List("", [&](const TraceRecord& record) -> absl::Status {
      ++listed;
      return shard_->CheckRecord(record);
    });
    FUZZ_CHECK(status.ok());
    FUZZ_CHECK(listed == committed);
  }

 private:
  static void CheckStatus(const absl::Status& status) {
    FUZZ_CHECK(status.ok() || absl::IsFailedPrecondition(status));
  }

  const std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<Shard> shard_;
  int64_t blocks_ = 0;
  int64_t committed_ = 0;
};

// Up to the first that is no message: gRPC ends the stream there.
std::vector<IngestRequest> Requests(absl::string_view input) {
  std::vector<IngestRequest> requests;
  if (input.empty()) return requests;
  const uint8_t flags = input[0];
  input.remove_prefix(1);
  if (flags & kHello) requests.push_back(Hello());
  while (input.size() >= 2) {
    const size_t size = static_cast<uint8_t>(input[0]) | static_cast<uint8_t>(input[1]) << 8;
    input.remove_prefix(2);
    const absl::string_view bytes = input.substr(0, size);
    input.remove_prefix(bytes.size());
    IngestRequest& request = requests.emplace_back();
    if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      requests.pop_back();
      break;
    }
    const bool has_block = request.kind_case() == IngestRequest::kBlock;
    if (has_block && (flags & kRightChecksums)) {
      request.set_block(WithChecksums(request.block()));
    }
  }
  return requests;
}

}  // namespace
}  // namespace kvp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A line for each text that isn't UTF-8 says nothing here.
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(quiet);
  // Not destroyed at the end: what RocksDB needs for that may be gone before it.
  static kvp::MemoryShard* shard = nullptr;
  if (shard == nullptr || shard->is_full()) {
    delete shard;
    shard = new kvp::MemoryShard();
  }
  shard->Converse(kvp::Requests(absl::string_view(reinterpret_cast<const char*>(data), size)));
  shard->CheckCommitted();
  return 0;
}
