// The encoding is described in FORMAT.md: table, limits and rationale.

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
constexpr uint8_t kVersion = 2;
constexpr uint8_t kFp16Labels = 1;
constexpr uint8_t kBf16Queries = 1;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kHeaderCrcOffset = 60;
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
  RETURN_IF_ERROR(CheckRange("cuts", block.cuts, 0, kMaxCuts));
  RETURN_IF_ERROR(CheckRange("query_heads", block.query_heads, 0, kMaxQueryHeads));
  return CheckRange("dtype of keys and values", static_cast<int64_t>(block.kv_dtype),
                    static_cast<int64_t>(KvDtype::kBf16), static_cast<int64_t>(KvDtype::kFloat8));
}

// Bytes of a block's tensors.
struct PayloadSizes {
  int64_t scales = 0;  // of keys, and of values
  int64_t keys = 0;    // and of values
  int64_t labels = 0;
  int64_t queries = 0;

  int64_t total() const { return 2 * scales + 2 * keys + labels + queries; }
};

PayloadSizes SizesOf(int64_t tokens, int64_t head_dim, int64_t cuts, KvDtype kv_dtype,
                     int64_t query_heads) {
  const bool float8 = kv_dtype == KvDtype::kFloat8;
  PayloadSizes sizes;
  sizes.scales = float8 ? 4 * head_dim : 0;
  sizes.keys = tokens * head_dim * (float8 ? 1 : 2);
  sizes.labels = 2 * tokens * cuts;
  sizes.queries = 2 * tokens * head_dim * query_heads;
  return sizes;
}

template <typename Block>
PayloadSizes SizesOf(const Block& block) {
  return SizesOf(block.tokens, block.head_dim, block.cuts, block.kv_dtype, block.query_heads);
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

int64_t EncodedBlockBytes(int64_t tokens, int64_t head_dim, int64_t cuts, KvDtype kv_dtype,
                          int64_t query_heads) {
  return kHeaderBytes + SizesOf(tokens, head_dim, cuts, kv_dtype, query_heads).total() + kCrcBytes;
}

absl::StatusOr<std::string> EncodeHeadBlock(const HeadBlock& block) {
  RETURN_IF_ERROR(CheckFields(block));
  const PayloadSizes sizes = SizesOf(block);
  const auto check_size = [](absl::string_view field, const std::string& bytes, int64_t size) {
    return CheckRange(absl::StrCat(field, "' size"), bytes.size(), size, size);
  };
  RETURN_IF_ERROR(check_size("key_scales", block.key_scales, sizes.scales));
  RETURN_IF_ERROR(check_size("value_scales", block.value_scales, sizes.scales));
  RETURN_IF_ERROR(check_size("keys", block.keys, sizes.keys));
  RETURN_IF_ERROR(check_size("values", block.values, sizes.keys));
  RETURN_IF_ERROR(check_size("labels", block.labels, sizes.labels));
  RETURN_IF_ERROR(check_size("queries", block.queries, sizes.queries));
  const int64_t payload_bytes = sizes.total();
  RETURN_IF_ERROR(CheckRange("encoded size", kHeaderBytes + payload_bytes + kCrcBytes, 0,
                             kMaxEncodedBlockBytes));

  char header[kHeaderBytes] = {};
  std::memcpy(header, kMagic, sizeof(kMagic));
  header[4] = kVersion;
  header[5] = static_cast<char>(block.kv_dtype);
  header[6] = kFp16Labels;
  header[7] = block.query_heads > 0 ? kBf16Queries : 0;
  PutUint32(block.key.head.layer, header + 8);
  PutUint32(block.key.head.kv_head, header + 12);
  std::memcpy(header + 16, block.key.trace_id.data(), block.key.trace_id.size());
  PutUint32(block.key.block, header + 32);
  PutUint32(block.first_token, header + 36);
  PutUint32(block.tokens, header + 40);
  PutUint32(block.head_dim, header + 44);
  PutUint32(block.cuts, header + 48);
  PutUint32(block.query_heads, header + 52);
  PutUint32(static_cast<uint32_t>(payload_bytes), header + 56);
  PutUint32(Crc32c(absl::string_view(header, kHeaderCrcOffset)), header + kHeaderCrcOffset);

  std::string encoded;
  encoded.reserve(kHeaderBytes + payload_bytes + kCrcBytes);
  absl::StrAppend(&encoded, absl::string_view(header, kHeaderBytes), block.key_scales);
  absl::StrAppend(&encoded, block.value_scales, block.keys, block.values, block.labels);
  absl::StrAppend(&encoded, block.queries);
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
      CheckRange("dtype of labels", static_cast<uint8_t>(encoded[6]), kFp16Labels, kFp16Labels));

  HeadBlockView view;
  view.encoded = encoded;
  view.key.head = {GetInt32(encoded, 8), GetInt32(encoded, 12)};
  std::memcpy(view.key.trace_id.data(), encoded.data() + 16, view.key.trace_id.size());
  view.key.block = GetInt32(encoded, 32);
  view.first_token = GetInt32(encoded, 36);
  view.tokens = GetInt32(encoded, 40);
  view.head_dim = GetInt32(encoded, 44);
  view.cuts = GetInt32(encoded, 48);
  view.query_heads = GetInt32(encoded, 52);
  view.kv_dtype = static_cast<KvDtype>(encoded[5]);
  RETURN_IF_ERROR(CheckFields(view));
  const uint8_t query_dtype = view.query_heads > 0 ? kBf16Queries : 0;
  RETURN_IF_ERROR(
      CheckRange("dtype of queries", static_cast<uint8_t>(encoded[7]), query_dtype, query_dtype));
  const PayloadSizes sizes = SizesOf(view);
  const int64_t payload_bytes = sizes.total();
  RETURN_IF_ERROR(
      CheckRange("payload bytes", GetUint32(encoded, 56), payload_bytes, payload_bytes));
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
  size_t offset = kHeaderBytes;
  const auto take = [&](int64_t bytes) {
    const absl::string_view taken = encoded.substr(offset, bytes);
    offset += bytes;
    return taken;
  };
  view.key_scales = take(sizes.scales);
  view.value_scales = take(sizes.scales);
  view.keys = take(sizes.keys);
  view.values = take(sizes.keys);
  view.labels = take(sizes.labels);
  view.queries = take(sizes.queries);
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
  block.kv_dtype = view.kv_dtype;
  block.query_heads = view.query_heads;
  block.key_scales = std::string(view.key_scales);
  block.value_scales = std::string(view.value_scales);
  block.keys = std::string(view.keys);
  block.values = std::string(view.values);
  block.labels = std::string(view.labels);
  block.queries = std::string(view.queries);
  return block;
}

}  // namespace kvp
