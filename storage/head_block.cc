// Encoding of a head block, version 1. Integers are little-endian.
//
//   offset  bytes  field
//        0      4  magic "KVPB"
//        4      1  version, 1
//        5      1  dtype of keys and values: 1 = bf16
//        6      1  dtype of labels: 1 = fp16
//        7      1  0
//        8      4  layer
//       12      4  kv_head
//       16     16  trace id
//       32      4  block: its number within the trace and head
//       36      4  first_token
//       40      4  tokens, 1 … kMaxBlockTokens
//       44      4  head_dim, 1 … kMaxHeadDim
//       48      4  cuts, 0 … kMaxCuts
//       52      4  payload bytes P = tokens * (4 * head_dim + 2 * cuts)
//       56      4  CRC32C of bytes [0, 56)
//       60      P  payload: keys [tokens, head_dim], values the same, labels [cuts, tokens]
//   60 + P      4  CRC32C of bytes [0, 60 + P)
//
// Rationale. A block says by itself which block of which trace it is, so that one that was stored
// under a wrong key, or found in a damaged file, is recognised. The header has a checksum of its
// own: sizes are believed, and a corrupt block's key reported, only where that is right. The
// payload's length follows from the sizes; it is written all the same, so that a reader may skip a
// block of a version or dtype that it doesn't know. The last checksum covers everything before it,
// so that no bit of a block is unprotected. Each tensor is contiguous: a reader that wants K alone
// reads one range. The payload isn't compressed: mantissas of bf16 activations are close to noise.

#include "storage/head_block.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "util/crc32c.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr char kMagic[] = {'K', 'V', 'P', 'B'};
constexpr uint8_t kVersion = 1;
constexpr uint8_t kBf16 = 1;
constexpr uint8_t kFp16 = 1;
constexpr size_t kHeaderBytes = 60;
constexpr size_t kHeaderCrcOffset = 56;
constexpr size_t kCrcBytes = 4;

void PutUint32(uint32_t value, char* out) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i));
}

uint32_t GetUint32(absl::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    value |= uint32_t{static_cast<uint8_t>(bytes[offset + i])} << (8 * i);
  }
  return value;
}

int32_t GetInt32(absl::string_view bytes, size_t offset) {
  return static_cast<int32_t>(GetUint32(bytes, offset));
}

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("head block: ", field, " is ", value, ", not between ", least, " and ", most));
}

// Of a HeadBlock or a HeadBlockView.
template <typename Block>
absl::Status CheckFields(const Block& block) {
  RETURN_IF_ERROR(CheckRange("layer", block.key.head.layer, 0, INT32_MAX));
  RETURN_IF_ERROR(CheckRange("kv_head", block.key.head.kv_head, 0, INT32_MAX));
  RETURN_IF_ERROR(CheckRange("block", block.key.block, 0, INT32_MAX));
  RETURN_IF_ERROR(CheckRange("tokens", block.tokens, 1, kMaxBlockTokens));
  RETURN_IF_ERROR(CheckRange("first_token", block.first_token, 0, INT32_MAX - block.tokens));
  RETURN_IF_ERROR(CheckRange("head_dim", block.head_dim, 1, kMaxHeadDim));
  return CheckRange("cuts", block.cuts, 0, kMaxCuts);
}

template <typename Block>
int64_t PayloadBytes(const Block& block) {
  return int64_t{block.tokens} * (4 * int64_t{block.head_dim} + 2 * int64_t{block.cuts});
}

}  // namespace

std::string TraceIdText(const TraceId& id) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(id.data()), id.size()));
}

absl::StatusOr<TraceId> TraceIdFromBytes(absl::string_view bytes) {
  TraceId id;
  if (bytes.size() != id.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("trace_id has ", bytes.size(), " bytes, not ", id.size()));
  }
  std::memcpy(id.data(), bytes.data(), id.size());
  return id;
}

std::string HeadBlockKeyText(const HeadBlockKey& key) {
  return absl::StrCat("layer ", key.head.layer, " kv_head ", key.head.kv_head, " trace ",
                      TraceIdText(key.trace_id), " block ", key.block);
}

absl::StatusOr<std::string> EncodeHeadBlock(const HeadBlock& block) {
  RETURN_IF_ERROR(CheckFields(block));
  const int64_t tensor_bytes = int64_t{2} * block.tokens * block.head_dim;
  const int64_t label_bytes = int64_t{2} * block.tokens * block.cuts;
  RETURN_IF_ERROR(CheckRange("keys' size", block.keys.size(), tensor_bytes, tensor_bytes));
  RETURN_IF_ERROR(CheckRange("values' size", block.values.size(), tensor_bytes, tensor_bytes));
  RETURN_IF_ERROR(CheckRange("labels' size", block.labels.size(), label_bytes, label_bytes));
  const int64_t payload_bytes = PayloadBytes(block);
  RETURN_IF_ERROR(CheckRange("encoded size", kHeaderBytes + payload_bytes + kCrcBytes, 0,
                             kMaxEncodedBlockBytes));

  char header[kHeaderBytes] = {};
  std::memcpy(header, kMagic, sizeof(kMagic));
  header[4] = kVersion;
  header[5] = kBf16;
  header[6] = kFp16;
  PutUint32(block.key.head.layer, header + 8);
  PutUint32(block.key.head.kv_head, header + 12);
  std::memcpy(header + 16, block.key.trace_id.data(), block.key.trace_id.size());
  PutUint32(block.key.block, header + 32);
  PutUint32(block.first_token, header + 36);
  PutUint32(block.tokens, header + 40);
  PutUint32(block.head_dim, header + 44);
  PutUint32(block.cuts, header + 48);
  PutUint32(static_cast<uint32_t>(payload_bytes), header + 52);
  PutUint32(Crc32c(absl::string_view(header, kHeaderCrcOffset)), header + kHeaderCrcOffset);

  std::string encoded;
  encoded.reserve(kHeaderBytes + payload_bytes + kCrcBytes);
  absl::StrAppend(&encoded, absl::string_view(header, kHeaderBytes), block.keys, block.values,
                  block.labels);
  char crc[kCrcBytes];
  PutUint32(Crc32c(encoded), crc);
  encoded.append(crc, kCrcBytes);
  return encoded;
}

absl::StatusOr<HeadBlockView> ParseHeadBlock(absl::string_view encoded) {
  if (encoded.size() < kHeaderBytes + kCrcBytes) {
    return absl::DataLossError(
        absl::StrCat("head block: ", encoded.size(), " bytes are less than a header"));
  }
  if (encoded.substr(0, sizeof(kMagic)) != absl::string_view(kMagic, sizeof(kMagic))) {
    return absl::InvalidArgumentError("head block: magic is wrong");
  }
  RETURN_IF_ERROR(CheckRange("version", static_cast<uint8_t>(encoded[4]), kVersion, kVersion));
  if (Crc32c(encoded.substr(0, kHeaderCrcOffset)) != GetUint32(encoded, kHeaderCrcOffset)) {
    return absl::DataLossError("head block: the header's checksum is wrong");
  }
  RETURN_IF_ERROR(
      CheckRange("dtype of keys and values", static_cast<uint8_t>(encoded[5]), kBf16, kBf16));
  RETURN_IF_ERROR(CheckRange("dtype of labels", static_cast<uint8_t>(encoded[6]), kFp16, kFp16));
  RETURN_IF_ERROR(CheckRange("byte 7", static_cast<uint8_t>(encoded[7]), 0, 0));

  HeadBlockView view;
  view.encoded = encoded;
  view.key.head = {GetInt32(encoded, 8), GetInt32(encoded, 12)};
  std::memcpy(view.key.trace_id.data(), encoded.data() + 16, view.key.trace_id.size());
  view.key.block = GetInt32(encoded, 32);
  view.first_token = GetInt32(encoded, 36);
  view.tokens = GetInt32(encoded, 40);
  view.head_dim = GetInt32(encoded, 44);
  view.cuts = GetInt32(encoded, 48);
  RETURN_IF_ERROR(CheckFields(view));
  const int64_t payload_bytes = PayloadBytes(view);
  RETURN_IF_ERROR(
      CheckRange("payload bytes", GetUint32(encoded, 52), payload_bytes, payload_bytes));
  RETURN_IF_ERROR(CheckRange("encoded size", kHeaderBytes + payload_bytes + kCrcBytes, 0,
                             kMaxEncodedBlockBytes));

  if (encoded.size() != kHeaderBytes + payload_bytes + kCrcBytes) {
    return absl::DataLossError(absl::StrCat("head block ", HeadBlockKeyText(view.key), ": ",
                                            encoded.size(), " bytes, not ",
                                            kHeaderBytes + payload_bytes + kCrcBytes));
  }
  const size_t crc_offset = kHeaderBytes + payload_bytes;
  if (Crc32c(encoded.substr(0, crc_offset)) != GetUint32(encoded, crc_offset)) {
    return absl::DataLossError(
        absl::StrCat("head block ", HeadBlockKeyText(view.key), ": the checksum is wrong"));
  }
  const size_t tensor_bytes = size_t{2} * view.tokens * view.head_dim;
  view.keys = encoded.substr(kHeaderBytes, tensor_bytes);
  view.values = encoded.substr(kHeaderBytes + tensor_bytes, tensor_bytes);
  view.labels =
      encoded.substr(kHeaderBytes + 2 * tensor_bytes, size_t{2} * view.tokens * view.cuts);
  return view;
}

absl::StatusOr<HeadBlock> DecodeHeadBlock(absl::string_view encoded) {
  ASSIGN_OR_RETURN(const HeadBlockView view, ParseHeadBlock(encoded));
  HeadBlock block;
  block.key = view.key;
  block.first_token = view.first_token;
  block.tokens = view.tokens;
  block.head_dim = view.head_dim;
  block.cuts = view.cuts;
  block.keys = std::string(view.keys);
  block.values = std::string(view.values);
  block.labels = std::string(view.labels);
  return block;
}

}  // namespace kvp
