#include "storage/ingest_conversation.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"
#include "storage/channel.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A message keeps what it doesn't know, uncounted, and a record would be stored with it.
absl::Status CheckAllKnown(const google::protobuf::Message& message) {
  const google::protobuf::Reflection* reflection = message.GetReflection();
  if (!reflection->GetUnknownFields(message).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(message.GetDescriptor()->name(), ": has field ",
                     reflection->GetUnknownFields(message).field(0).number(), ", which protocol ",
                     kIngestProtocolVersion, " doesn't know"));
  }
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const google::protobuf::FieldDescriptor* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      RETURN_IF_ERROR(CheckAllKnown(reflection->GetMessage(message, field)));
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      RETURN_IF_ERROR(CheckAllKnown(reflection->GetRepeatedMessage(message, field, i)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<IngestConversation::Message> IngestConversation::Take(const IngestRequest& request) {
  Message message;
  RETURN_IF_ERROR(CheckAllKnown(request));
  if (request.kind_case() == IngestRequest::kHello) {
    ASSIGN_OR_RETURN(message.hello, TakeHello(request.hello()));
    return message;
  }
  if (!greeted_) return absl::InvalidArgumentError("hello: must be the first message");
  if (request.kind_case() == IngestRequest::kResume) {
    const absl::StatusOr<TraceId> id = TraceIdFromBytes(request.resume());
    if (id.ok()) return message;
    return absl::InvalidArgumentError(absl::StrCat("resume: ", id.status().message()));
  }
  RETURN_IF_ERROR(TakeSequence(request.sequence()));
  switch (request.kind_case()) {
    case IngestRequest::kBlock: {
      const absl::StatusOr<HeadBlockView> block = ParseHeadBlock(request.block());
      if (!block.ok()) return absl::InvalidArgumentError(block.status().message());
      RETURN_IF_ERROR(shard_->CheckBlock(*block));
      message.block = *block;
      return message;
    }
    case IngestRequest::kCommit:
      RETURN_IF_ERROR(shard_->CheckRecord(request.commit()));
      return message;
    default:
      return absl::InvalidArgumentError("kind: neither hello, block, commit nor resume");
  }
}

absl::Status IngestConversation::TakeSequence(uint64_t sequence) {
  if (next_sequence_.has_value() && sequence != *next_sequence_) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence is ", sequence, ", not ", *next_sequence_));
  }
  if (sequence == 0) return absl::InvalidArgumentError("sequence is 0");
  next_sequence_ = sequence + 1;
  return absl::OkStatus();
}

absl::StatusOr<ShardIdentity> IngestConversation::TakeHello(const IngestHello& hello) {
  if (greeted_) return absl::InvalidArgumentError("hello: came twice");
  if (hello.protocol_version() != kIngestProtocolVersion) {
    return absl::InvalidArgumentError(absl::StrCat("protocol_version is ", hello.protocol_version(),
                                                   ", not ", kIngestProtocolVersion));
  }
  ASSIGN_OR_RETURN(ShardIdentity identity,
                   shard_->Hello(hello.model(), hello.shard_index(), hello.shard_count()));
  greeted_ = true;
  return identity;
}

}  // namespace kvp
