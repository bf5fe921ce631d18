#include "llm/embedded/training_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

// One clone of a function per instruction set; the loader picks. Sanitizers
// aren't ready yet when it does.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KVP_CLONES __attribute__((target_clones("avx512f", "fma", "default"), flatten))
#else
#define KVP_CLONES
#endif
#define KVP_INLINE inline __attribute__((always_inline))

namespace kvp {
namespace {

constexpr int kLanes = 16;
// Queries that are attended for at once: their probabilities over 1,024 keys
// are 128 KiB.
constexpr int64_t kQueryBlock = kSequenceMultiple;
// Keys are padded to a multiple of this.
constexpr int64_t kKeyTile = 64;

typedef float Vec __attribute__((vector_size(64)));
typedef float UnalignedVec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(64)));

// Vectors travel by reference or stay in always-inlined code: their calling
// convention depends on the instruction set.
KVP_INLINE Vec Load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
KVP_INLINE void Store(float* p, const Vec& v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
KVP_INLINE Vec Broadcast(float x) { return x - Vec{}; }
KVP_INLINE float Sum(const Vec& v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

// e^x to about 2 ulp for x in [-87, 88]; smaller x count as -87.
KVP_INLINE Vec Exp(const Vec& argument) {
  const Vec lowest = Broadcast(-87.0f);
  const Vec x = argument < lowest ? lowest : argument;
  // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
  const Vec magic = Broadcast(12582912.0f);
  const Vec shifted = x * 1.44269504088896341f + magic;
  const Vec n = shifted - magic;
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = Broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVec exponent = (reinterpret_cast<IntVec>(shifted) - 0x4b400000 + 127) << 23;
  return p * reinterpret_cast<Vec>(exponent);
}

// c[rows, columns] = a[rows, d] * b[d, columns]; rows % 4 == 0,
// columns % 64 == 0.
KVP_INLINE void MultiplyByHead(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                               int64_t rows, int64_t columns, float* c, int64_t c_stride) {
  for (int64_t j = 0; j < columns; j += 4 * kLanes) {
    for (int64_t i = 0; i < rows; i += 4) {
      Vec sum[4][4] = {};
      for (int k = 0; k < kHeadDim; ++k) {
        const float* b_row = b + k * b_stride + j;
        const Vec b0 = Load(b_row), b1 = Load(b_row + kLanes);
        const Vec b2 = Load(b_row + 2 * kLanes), b3 = Load(b_row + 3 * kLanes);
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) {
          const float x = a[(i + r) * a_stride + k];
          sum[r][0] += x * b0;
          sum[r][1] += x * b1;
          sum[r][2] += x * b2;
          sum[r][3] += x * b3;
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        float* c_row = c + (i + r) * c_stride + j;
        Store(c_row, sum[r][0]);
        Store(c_row + kLanes, sum[r][1]);
        Store(c_row + 2 * kLanes, sum[r][2]);
        Store(c_row + 3 * kLanes, sum[r][3]);
      }
    }
  }
}

// c[rows, d] = a[rows, inner] * b[inner, d]; rows % 8 == 0.
KVP_INLINE void MultiplyToHead(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                               int64_t rows, int64_t inner, float* c, int64_t c_stride) {
  for (int64_t i = 0; i < rows; i += 8) {
    Vec sum[8][2] = {};
    for (int64_t k = 0; k < inner; ++k) {
      const Vec b0 = Load(b + k * b_stride);
      const Vec b1 = Load(b + k * b_stride + kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        const float x = a[(i + r) * a_stride + k];
        sum[r][0] += x * b0;
        sum[r][1] += x * b1;
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      Store(c + (i + r) * c_stride, sum[r][0]);
      Store(c + (i + r) * c_stride + kLanes, sum[r][1]);
    }
  }
}

// c[columns, d] += a[rows, columns]^T * b[rows, d]; columns % 8 == 0.
KVP_INLINE void AddTransposedToHead(const float* a, int64_t a_stride, const float* b,
                                    int64_t b_stride, int64_t rows, int64_t columns, float* c,
                                    int64_t c_stride) {
  for (int64_t j = 0; j < columns; j += 8) {
    Vec sum[8][2];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      sum[r][0] = Load(c + (j + r) * c_stride);
      sum[r][1] = Load(c + (j + r) * c_stride + kLanes);
    }
    for (int64_t i = 0; i < rows; ++i) {
      const Vec b0 = Load(b + i * b_stride);
      const Vec b1 = Load(b + i * b_stride + kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        const float x = a[i * a_stride + j + r];
        sum[r][0] += x * b0;
        sum[r][1] += x * b1;
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      Store(c + (j + r) * c_stride, sum[r][0]);
      Store(c + (j + r) * c_stride + kLanes, sum[r][1]);
    }
  }
}

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Copies `tokens` rows of one head to [d, padded], zero beyond the tokens.
void TransposeHead(const float* head, int64_t stride, int64_t tokens, int64_t padded,
                   std::vector<float>* transposed) {
  transposed->assign(kHeadDim * padded, 0.0f);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int k = 0; k < kHeadDim; ++k) {
      (*transposed)[k * padded + t] = head[t * stride + k];
    }
  }
}

// Turns row scores into softmax probabilities over the first `valid` columns,
// zero up to `columns`. Returns the log of the sum, with scale applied.
KVP_INLINE float SoftmaxRow(float* row, int64_t valid, int64_t columns, float scale) {
  for (int64_t j = valid; j < columns; ++j) row[j] = -1e30f;
  Vec maxima = Load(row);
  for (int64_t j = kLanes; j < columns; j += kLanes) {
    const Vec v = Load(row + j);
    maxima = v > maxima ? v : maxima;
  }
  float maximum = maxima[0];
  for (int i = 1; i < kLanes; ++i) maximum = std::max(maximum, maxima[i]);
  Vec sums = {};
  for (int64_t j = 0; j < columns; j += kLanes) {
    const Vec p = Exp((Load(row + j) - maximum) * scale);
    Store(row + j, p);
    sums += p;
  }
  // What lies beyond `valid` was counted as e^-87: nothing in fp32.
  const float sum = Sum(sums);
  const float inverse = 1.0f / sum;
  for (int64_t j = 0; j < columns; j += kLanes) {
    Store(row + j, Load(row + j) * inverse);
  }
  for (int64_t j = valid; j < columns; ++j) row[j] = 0;
  return maximum * scale + std::log(sum);
}

}  // namespace

KVP_CLONES
void RmsNormForward(const float* x, const float* weight, int64_t tokens, int64_t dim, float epsilon,
                    float* y, float* inverse_rms) {
  for (int64_t n = 0; n < tokens; ++n, x += dim, y += dim) {
    Vec squares = {};
    for (int64_t i = 0; i < dim; i += kLanes) {
      const Vec v = Load(x + i);
      squares += v * v;
    }
    const float scale = 1.0f / std::sqrt(Sum(squares) / dim + epsilon);
    inverse_rms[n] = scale;
    for (int64_t i = 0; i < dim; i += kLanes) {
      Store(y + i, Load(x + i) * scale * Load(weight + i));
    }
  }
}

KVP_CLONES
void RmsNormBackward(const float* x, const float* weight, const float* inverse_rms,
                     const float* grad_y, int64_t tokens, int64_t dim, float* grad_x,
                     float* grad_weight) {
  for (int64_t n = 0; n < tokens; ++n, x += dim, grad_y += dim, grad_x += dim) {
    const float scale = inverse_rms[n];
    Vec products = {};
    for (int64_t i = 0; i < dim; i += kLanes) {
      products += Load(grad_y + i) * Load(weight + i) * Load(x + i);
    }
    const float shrink = Sum(products) * scale * scale * scale / dim;
    for (int64_t i = 0; i < dim; i += kLanes) {
      const Vec xi = Load(x + i), gi = Load(grad_y + i) * scale;
      Store(grad_x + i, Load(grad_x + i) + gi * Load(weight + i) - xi * shrink);
      Store(grad_weight + i, Load(grad_weight + i) + gi * xi);
    }
  }
}

RotaryTable::RotaryTable(int64_t positions, float theta)
    : cosines_(positions * kHeadDim / 2), sines_(positions * kHeadDim / 2) {
  for (int64_t t = 0; t < positions; ++t) {
    for (int i = 0; i < kHeadDim / 2; ++i) {
      const double angle = t * std::pow(theta, -2.0 * i / kHeadDim);
      cosines_[t * kHeadDim / 2 + i] = std::cos(angle);
      sines_[t * kHeadDim / 2 + i] = std::sin(angle);
    }
  }
}

void RotaryTable::Rotate(int64_t position, int heads, float direction, float* head) const {
  static_assert(kHeadDim == 2 * kLanes, "a half is one vector");
  const float* cosine = &cosines_[position * kLanes];
  const float* sine = &sines_[position * kLanes];
  for (int h = 0; h < heads; ++h, head += kHeadDim) {
    for (int i = 0; i < kLanes; ++i) {
      const float a = head[i], b = head[kLanes + i];
      head[i] = a * cosine[i] - direction * b * sine[i];
      head[kLanes + i] = b * cosine[i] + direction * a * sine[i];
    }
  }
}

KVP_CLONES
void SwiGluForward(const float* gate_up, int64_t tokens, int64_t dim, float* act) {
  for (int64_t n = 0; n < tokens; ++n, gate_up += 2 * dim, act += dim) {
    for (int64_t i = 0; i < dim; i += kLanes) {
      const Vec gate = Load(gate_up + i);
      Store(act + i, gate / (1.0f + Exp(-gate)) * Load(gate_up + dim + i));
    }
  }
}

KVP_CLONES
void SwiGluBackward(const float* gate_up, const float* grad_act, int64_t tokens, int64_t dim,
                    float* grad_gate_up) {
  for (int64_t n = 0; n < tokens;
       ++n, gate_up += 2 * dim, grad_act += dim, grad_gate_up += 2 * dim) {
    for (int64_t i = 0; i < dim; i += kLanes) {
      const Vec gate = Load(gate_up + i), grad = Load(grad_act + i);
      const Vec sigmoid = 1.0f / (1.0f + Exp(-gate));
      const Vec silu = gate * sigmoid;
      Store(grad_gate_up + dim + i, grad * silu);
      Store(grad_gate_up + i, grad * Load(gate_up + dim + i) * (sigmoid + silu * (1.0f - sigmoid)));
    }
  }
}

KVP_CLONES
void CrossEntropyInPlace(const int32_t* targets, const float* weights, int64_t tokens,
                         int64_t vocabulary, float* logits, float* losses, uint8_t* hits) {
  for (int64_t n = 0; n < tokens; ++n, logits += vocabulary) {
    float maximum = logits[0];
    for (int64_t i = 1; i < vocabulary; ++i) {
      maximum = logits[i] > maximum ? logits[i] : maximum;
    }
    const float target_logit = logits[targets[n]];
    Vec sums = {};
    for (int64_t i = 0; i < vocabulary; i += kLanes) {
      const Vec p = Exp(Load(logits + i) - maximum);
      Store(logits + i, p);
      sums += p;
    }
    const float sum = Sum(sums);
    losses[n] = std::log(sum) + maximum - target_logit;
    hits[n] = target_logit >= maximum;
    const float factor = weights[n] / sum;
    for (int64_t i = 0; i < vocabulary; i += kLanes) {
      Store(logits + i, Load(logits + i) * factor);
    }
    logits[targets[n]] -= weights[n];
  }
}

KVP_CLONES
void AttentionForward(const float* qkv, int64_t tokens, int query_heads, int kv_heads,
                      float* output, float* log_sums, AttentionWorkspace* workspace) {
  const int64_t stride = (query_heads + 2 * kv_heads) * kHeadDim;
  const int64_t output_stride = query_heads * kHeadDim;
  const int64_t padded = RoundUp(tokens, kKeyTile);
  const int group = query_heads / kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
  workspace->probabilities.resize(kQueryBlock * padded);
  float* p = workspace->probabilities.data();
  for (int kv_head = 0; kv_head < kv_heads; ++kv_head) {
    const float* keys = qkv + (query_heads + kv_head) * kHeadDim;
    const float* values = keys + kv_heads * kHeadDim;
    TransposeHead(keys, stride, tokens, padded, &workspace->keys_transposed);
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const float* queries = qkv + head * kHeadDim;
      for (int64_t begin = 0; begin < tokens; begin += kQueryBlock) {
        const int64_t end = begin + kQueryBlock;
        const int64_t columns = RoundUp(end, kKeyTile);
        MultiplyByHead(queries + begin * stride, stride, workspace->keys_transposed.data(), padded,
                       kQueryBlock, columns, p, padded);
        for (int64_t i = 0; i < kQueryBlock; ++i) {
          log_sums[head * tokens + begin + i] =
              SoftmaxRow(p + i * padded, begin + i + 1, columns, scale);
        }
        MultiplyToHead(p, padded, values, stride, kQueryBlock, end,
                       output + begin * output_stride + head * kHeadDim, output_stride);
      }
    }
  }
}

KVP_CLONES
void AttentionBackward(const float* qkv, const float* output, const float* grad_output,
                       const float* log_sums, int64_t tokens, int query_heads, int kv_heads,
                       float* grad_qkv, AttentionWorkspace* workspace) {
  const int64_t stride = (query_heads + 2 * kv_heads) * kHeadDim;
  const int64_t output_stride = query_heads * kHeadDim;
  const int64_t padded = RoundUp(tokens, kKeyTile);
  const int group = query_heads / kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
  workspace->probabilities.resize(kQueryBlock * padded);
  workspace->gradients.resize(kQueryBlock * padded);
  float* p = workspace->probabilities.data();
  float* g = workspace->gradients.data();
  for (int64_t t = 0; t < tokens; ++t) {
    std::memset(grad_qkv + t * stride, 0, stride * sizeof(float));
  }
  for (int kv_head = 0; kv_head < kv_heads; ++kv_head) {
    const int64_t key_offset = (query_heads + kv_head) * kHeadDim;
    const int64_t value_offset = key_offset + kv_heads * kHeadDim;
    TransposeHead(qkv + key_offset, stride, tokens, padded, &workspace->keys_transposed);
    TransposeHead(qkv + value_offset, stride, tokens, padded, &workspace->values_transposed);
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const float* queries = qkv + head * kHeadDim;
      const float* head_grad = grad_output + head * kHeadDim;
      const float* head_output = output + head * kHeadDim;
      for (int64_t begin = 0; begin < tokens; begin += kQueryBlock) {
        const int64_t end = begin + kQueryBlock;
        const int64_t columns = RoundUp(end, kKeyTile);
        const float* block_grad = head_grad + begin * output_stride;
        const float* block_output = head_output + begin * output_stride;
        MultiplyByHead(queries + begin * stride, stride, workspace->keys_transposed.data(), padded,
                       kQueryBlock, columns, p, padded);
        MultiplyByHead(block_grad, output_stride, workspace->values_transposed.data(), padded,
                       kQueryBlock, columns, g, padded);
        for (int64_t i = 0; i < kQueryBlock; ++i) {
          float* p_row = p + i * padded;
          float* g_row = g + i * padded;
          Vec products = {};
          for (int k = 0; k < kHeadDim; k += kLanes) {
            products += Load(block_grad + i * output_stride + k) *
                        Load(block_output + i * output_stride + k);
          }
          const float delta = Sum(products);
          const float log_sum = log_sums[head * tokens + begin + i];
          for (int64_t j = begin + i + 1; j < end; ++j) p_row[j] = -1e30f;
          for (int64_t j = 0; j < end; j += kLanes) {
            const Vec pj = Exp(Load(p_row + j) * scale - log_sum);
            Store(p_row + j, pj);
            Store(g_row + j, pj * (Load(g_row + j) - delta) * scale);
          }
          for (int64_t j = begin + i + 1; j < end; ++j) {
            p_row[j] = g_row[j] = 0;
          }
        }
        AddTransposedToHead(p, padded, block_grad, output_stride, kQueryBlock, end,
                            grad_qkv + value_offset, stride);
        AddTransposedToHead(g, padded, queries + begin * stride, stride, kQueryBlock, end,
                            grad_qkv + key_offset, stride);
        MultiplyToHead(g, padded, qkv + key_offset, stride, kQueryBlock, end,
                       grad_qkv + begin * stride + head * kHeadDim, stride);
      }
    }
  }
}

}  // namespace kvp
