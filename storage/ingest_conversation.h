// What one client says in an ingestion stream, message by message: checked before anything of it is
// queued.

#ifndef KVP_STORAGE_INGEST_CONVERSATION_H_
#define KVP_STORAGE_INGEST_CONVERSATION_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "proto/ingest.pb.h"
#include "proto/shard.pb.h"
#include "storage/head_block.h"
#include "storage/shard.h"

namespace kvp {

// Not thread-safe. Waits for the disk only at the first hello that a new shard gets.
class IngestConversation {
 public:
  // A message that makes sense.
  struct Message {
    // The answer to a hello; of a hello alone.
    std::optional<ShardIdentity> hello;
    // Of a block; refers to the request's bytes.
    HeadBlockView block;
  };

  // `shard` must outlive the conversation.
  explicit IngestConversation(Shard* shard) : shard_(shard) {}

  // Checks the next message. INVALID_ARGUMENT, naming the field, where it makes no sense or isn't
  // due; FAILED_PRECONDITION where it contradicts what the shard is. The conversation is over then.
  absl::StatusOr<Message> Take(const IngestRequest& request);

 private:
  absl::StatusOr<ShardIdentity> TakeHello(const IngestHello& hello);
  absl::Status TakeSequence(uint64_t sequence);

  Shard* const shard_;
  bool greeted_ = false;
  std::optional<uint64_t> next_sequence_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_INGEST_CONVERSATION_H_
