#include "storage/block_quantization.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "util/small_floats.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::Status CheckSize(const HeadBlock& block, absl::string_view field, const std::string& bytes,
                       int64_t size) {
  if (static_cast<int64_t>(bytes.size()) == size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(HeadBlockKeyText(block.key), ": ", field, " have ",
                                                 bytes.size(), " bytes, not ", size));
}

uint16_t LoadUint16(const char* bytes) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[0]) | static_cast<uint8_t>(bytes[1])
                                                                    << 8);
}

void StoreUint16(uint16_t value, char* bytes) {
  bytes[0] = static_cast<char>(value);
  bytes[1] = static_cast<char>(value >> 8);
}

float LoadFloat(const char* bytes) {
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

void StoreFloat(float value, char* bytes) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<char>(bits >> (8 * i));
}

// `rows` is bf16 [tokens, channels]; becomes float8, and its scales are returned.
std::string Quantize(int64_t tokens, int64_t channels, std::string& rows) {
  std::vector<float> values(tokens * channels);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = FloatFromBfloat16(LoadUint16(rows.data() + 2 * i));
  }
  std::vector<float> largest(channels, 0);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < channels; ++c) {
      const float magnitude = std::abs(values[t * channels + c]);
      if (std::isfinite(magnitude)) largest[c] = std::max(largest[c], magnitude);
    }
  }
  std::string scales(4 * channels, '\0');
  std::vector<float> inverse(channels);
  for (int64_t c = 0; c < channels; ++c) {
    float scale = largest[c] / kFloat8Max;
    // The smallest magnitudes have no inverse in fp32.
    if (!std::isnormal(scale) || !std::isfinite(1 / scale)) scale = 1;
    StoreFloat(scale, &scales[4 * c]);
    inverse[c] = 1 / scale;
  }
  rows.resize(tokens * channels);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = t * channels + c;
      rows[i] = static_cast<char>(Float8FromFloat(values[i] * inverse[c]));
    }
  }
  return scales;
}

std::string Dequantize(const std::string& codes, const std::string& scales, int64_t tokens,
                       int64_t channels) {
  std::string rows(2 * codes.size(), '\0');
  for (int64_t c = 0; c < channels; ++c) {
    const float scale = LoadFloat(scales.data() + 4 * c);
    uint16_t products[256];
    for (int code = 0; code < 256; ++code) {
      products[code] = Bfloat16FromFloat(FloatFromFloat8(static_cast<uint8_t>(code)) * scale);
    }
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t i = t * channels + c;
      StoreUint16(products[static_cast<uint8_t>(codes[i])], &rows[2 * i]);
    }
  }
  return rows;
}

}  // namespace

absl::StatusOr<HeadBlock> QuantizeToFloat8(HeadBlock block) {
  if (block.kv_dtype != KvDtype::kBf16) {
    return absl::InvalidArgumentError(absl::StrCat(HeadBlockKeyText(block.key), ": kv_dtype is ",
                                                   static_cast<int>(block.kv_dtype),
                                                   ", not that of bf16"));
  }
  const int64_t bytes = int64_t{2} * block.tokens * block.head_dim;
  RETURN_IF_ERROR(CheckSize(block, "keys", block.keys, bytes));
  RETURN_IF_ERROR(CheckSize(block, "values", block.values, bytes));
  block.key_scales = Quantize(block.tokens, block.head_dim, block.keys);
  block.value_scales = Quantize(block.tokens, block.head_dim, block.values);
  block.kv_dtype = KvDtype::kFloat8;
  return block;
}

absl::StatusOr<HeadBlock> DequantizeToBf16(HeadBlock block) {
  if (block.kv_dtype == KvDtype::kBf16) return block;
  const int64_t bytes = int64_t{block.tokens} * block.head_dim;
  const int64_t scale_bytes = int64_t{4} * block.head_dim;
  RETURN_IF_ERROR(CheckSize(block, "keys", block.keys, bytes));
  RETURN_IF_ERROR(CheckSize(block, "values", block.values, bytes));
  RETURN_IF_ERROR(CheckSize(block, "key_scales", block.key_scales, scale_bytes));
  RETURN_IF_ERROR(CheckSize(block, "value_scales", block.value_scales, scale_bytes));
  block.keys = Dequantize(block.keys, block.key_scales, block.tokens, block.head_dim);
  block.values = Dequantize(block.values, block.value_scales, block.tokens, block.head_dim);
  block.key_scales.clear();
  block.value_scales.clear();
  block.kv_dtype = KvDtype::kBf16;
  return block;
}

}  // namespace kvp
