// The head block: K, V, labels and, where wanted, Q of up to kMaxBlockTokens consecutive tokens of
// one (trace, layer, KV head). It is the unit of storage and of sending, and the only format in
// which traces' tensors are kept. Free of torch.
//
// The encoding is described as a byte table in FORMAT.md.

#ifndef KVP_STORAGE_HEAD_BLOCK_H_
#define KVP_STORAGE_HEAD_BLOCK_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "util/head_split.h"

namespace kvp {

using TraceId = std::array<uint8_t, 16>;

// 32 lower-case hex digits.
std::string TraceIdText(const TraceId& id);
// INVALID_ARGUMENT unless `bytes` has 16 bytes.
absl::StatusOr<TraceId> TraceIdFromBytes(absl::string_view bytes);

// Names a block, in the order in which blocks are stored: a head's blocks are one contiguous range
// of keys.
struct HeadBlockKey {
  HeadId head;
  TraceId trace_id{};
  // Number of the block within the trace and head; it holds the tokens from first_token on.
  int32_t block = 0;

  friend bool operator==(const HeadBlockKey& a, const HeadBlockKey& b) {
    return a.head == b.head && a.trace_id == b.trace_id && a.block == b.block;
  }
  friend bool operator!=(const HeadBlockKey& a, const HeadBlockKey& b) { return !(a == b); }
};

// "layer 0 kv_head 1 trace 00…0f block 2", for messages.
std::string HeadBlockKeyText(const HeadBlockKey& key);

// How K and V are written; the numbers are those of the encoding.
enum class KvDtype : uint8_t {
  kBf16 = 1,
  // float8 e4m3 (util/small_floats.h), each channel of the block's K, and of its V, divided by a
  // scale of its own. See storage/block_quantization.h.
  kFloat8 = 2,
};

struct HeadBlock {
  HeadBlockKey key;
  int32_t first_token = 0;
  int32_t tokens = 0;
  int32_t head_dim = 0;
  int32_t cuts = 0;
  KvDtype kv_dtype = KvDtype::kBf16;
  // Query heads of the KV head whose queries are recorded; 0: none are.
  int32_t query_heads = 0;
  // Row-major, little-endian. K and Q are post-RoPE.
  std::string key_scales;    // fp32 [head_dim] with float8, else empty
  std::string value_scales;  // the same
  std::string keys;          // bf16 or float8 [tokens, head_dim]
  std::string values;        // the same
  std::string labels;        // fp16 [cuts, tokens]: future importance, see util/future_importance.h
  std::string queries;       // bf16 [query_heads, tokens, head_dim]
};

constexpr int32_t kMaxBlockTokens = 4096;
constexpr int32_t kMaxHeadDim = 1024;
constexpr int32_t kMaxCuts = 256;
constexpr int32_t kMaxQueryHeads = 256;
// Above every valid encoded block and below gRPC's message cap.
constexpr int64_t kMaxEncodedBlockBytes = int64_t{7} << 20;

// Encodes with a CRC32C over header and payload. INVALID_ARGUMENT, naming the field, for sizes that
// don't agree or exceed the limits above.
absl::StatusOr<std::string> EncodeHeadBlock(const HeadBlock& block);

// Encoded bytes of a block of these sizes; they needn't be valid ones.
int64_t EncodedBlockBytes(int64_t tokens, int64_t head_dim, int64_t cuts, KvDtype kv_dtype,
                          int64_t query_heads);

// DATA_LOSS where the CRC is wrong or bytes are missing; INVALID_ARGUMENT, naming the field, where
// the header makes no sense or is of another version. Never reads outside `encoded`.
absl::StatusOr<HeadBlock> DecodeHeadBlock(absl::string_view encoded);

// An encoded block whose header and checksum were found right. Refers to the bytes it was parsed
// from.
struct HeadBlockView {
  HeadBlockKey key;
  int32_t first_token = 0;
  int32_t tokens = 0;
  int32_t head_dim = 0;
  int32_t cuts = 0;
  KvDtype kv_dtype = KvDtype::kBf16;
  int32_t query_heads = 0;
  absl::string_view key_scales;
  absl::string_view value_scales;
  absl::string_view keys;
  absl::string_view values;
  absl::string_view labels;
  absl::string_view queries;
  absl::string_view encoded;
};

// Checks as DecodeHeadBlock does, without copying.
absl::StatusOr<HeadBlockView> ParseHeadBlock(absl::string_view encoded);

}  // namespace kvp

#endif  // KVP_STORAGE_HEAD_BLOCK_H_
