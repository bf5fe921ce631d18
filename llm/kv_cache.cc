#include "llm/kv_cache.h"

#include <algorithm>
#include <set>
#include <string>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"

namespace kvp {
namespace {

// A cache that grows by less than 1/kGrowth of itself gets room for that much, and at least
// kMinGrowth entries.
constexpr int64_t kGrowth = 8;
constexpr int64_t kMinGrowth = 16;

int64_t GrownCapacity(int64_t length, int64_t tokens) {
  if (tokens * kGrowth >= length) return length + tokens;
  return length + std::max({tokens, length / kGrowth, kMinGrowth});
}

std::string HeadName(int64_t layer, int64_t kv_head) {
  return absl::StrCat("layer ", layer, ", KV head ", kv_head, ": ");
}

absl::Status CheckIndices(const at::Tensor& indices, int64_t length) {
  if (!indices.defined() || indices.dim() != 1 || indices.scalar_type() != at::kLong) {
    return absl::InvalidArgumentError("indices must be an int64 tensor of one dimension");
  }
  const at::Tensor host = indices.to(at::kCPU).contiguous();
  const int64_t* index = host.data_ptr<int64_t>();
  for (int64_t i = 0; i < host.numel(); ++i) {
    if (index[i] < 0 || index[i] >= length) {
      return absl::InvalidArgumentError(
          absl::StrCat("index ", index[i], " is outside of [0, ", length, ")"));
    }
    if (i > 0 && index[i] <= index[i - 1]) {
      return absl::InvalidArgumentError(absl::StrCat("index ", index[i], " after ", index[i - 1],
                                                     " is not ascending and unique"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool KvCache::Layer::same_length() const {
  return std::all_of(heads.begin(), heads.end(),
                     [&](const Head& head) { return head.length == heads[0].length; });
}

KvCache::KvCache(const ModelConfig& config, at::TensorOptions options)
    : KvCache(config, c10::typeMetaToScalarType(options.dtype()),
              std::vector<at::Device>(config.layers, options.device())) {}

KvCache::KvCache(const ModelConfig& config, at::ScalarType dtype,
                 const std::vector<at::Device>& layer_devices)
    : head_dim_(config.head_dim), layers_(config.layers) {
  for (int64_t i = 0; i < config.layers; ++i) {
    Layer& layer = layers_[i];
    const at::TensorOptions options = at::TensorOptions().dtype(dtype).device(layer_devices[i]);
    layer.heads.resize(config.kv_heads);
    layer.keys = at::empty({config.kv_heads, 0, head_dim_}, options);
    layer.values = at::empty({config.kv_heads, 0, head_dim_}, options);
  }
}

KvCache::KvCache(const KvCache& other)
    : head_dim_(other.head_dim_), layers_(other.layers_), next_position_(other.next_position_) {
  for (Layer& layer : layers_) {
    if (layer.together() && !layer.same_length()) {
      Separate(layer);
    } else if (layer.together()) {
      layer.capacity = layer.heads[0].length;
      layer.keys = layer.keys.narrow(1, 0, layer.capacity).clone(at::MemoryFormat::Contiguous);
      layer.values = layer.values.narrow(1, 0, layer.capacity).clone(at::MemoryFormat::Contiguous);
    } else {
      for (Head& head : layer.heads) {
        head.keys = head.keys.narrow(0, 0, head.length).clone(at::MemoryFormat::Contiguous);
        head.values = head.values.narrow(0, 0, head.length).clone(at::MemoryFormat::Contiguous);
      }
    }
  }
}

KvCache& KvCache::operator=(const KvCache& other) {
  if (this != &other) *this = KvCache(other);
  return *this;
}

int64_t KvCache::layers() const { return layers_.size(); }
int64_t KvCache::kv_heads() const { return layers_[0].heads.size(); }
int64_t KvCache::next_position() const { return next_position_; }

int64_t KvCache::length(int64_t layer, int64_t kv_head) const {
  return layers_[layer].heads[kv_head].length;
}

bool KvCache::complete(int64_t layer, int64_t kv_head) const {
  const Head& head = layers_[layer].heads[kv_head];
  if (head.removed) return false;
  const int64_t written = head.positions.size();
  if (written > 0 && head.positions.back() != written - 1) return false;
  return head.length == written ? written > 0 || next_position_ == 0
                                : head.tail_position == written;
}

at::Tensor KvCache::keys(int64_t layer, int64_t kv_head) const {
  const Layer& at_layer = layers_[layer];
  const Head& head = at_layer.heads[kv_head];
  return (at_layer.together() ? at_layer.keys[kv_head] : head.keys).narrow(0, 0, head.length);
}

at::Tensor KvCache::values(int64_t layer, int64_t kv_head) const {
  const Layer& at_layer = layers_[layer];
  const Head& head = at_layer.heads[kv_head];
  return (at_layer.together() ? at_layer.values[kv_head] : head.values).narrow(0, 0, head.length);
}

at::Tensor KvCache::layer_keys(int64_t layer) const {
  const Layer& at_layer = layers_[layer];
  if (!at_layer.together() || !at_layer.same_length()) return at::Tensor();
  return at_layer.keys.narrow(1, 0, at_layer.heads[0].length);
}

at::Tensor KvCache::layer_values(int64_t layer) const {
  const Layer& at_layer = layers_[layer];
  if (!at_layer.together() || !at_layer.same_length()) return at::Tensor();
  return at_layer.values.narrow(1, 0, at_layer.heads[0].length);
}

at::Tensor KvCache::positions(int64_t layer, int64_t kv_head) const {
  const Head& head = layers_[layer].heads[kv_head];
  at::Tensor result = at::empty({head.length}, at::kLong);
  int64_t* position =
      std::copy(head.positions.begin(), head.positions.end(), result.data_ptr<int64_t>());
  int64_t next = head.tail_position;
  for (size_t i = head.positions.size(); i < static_cast<size_t>(head.length); ++i) {
    *position++ = next++;
  }
  return result;
}

absl::Status KvCache::CheckHead(int64_t layer, int64_t kv_head) const {
  if (layer >= 0 && layer < layers() && kv_head >= 0 && kv_head < kv_heads()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(HeadName(layer, kv_head), "there are ", layers(),
                                                 " layers of ", kv_heads(), " KV heads"));
}

absl::Status KvCache::Keep(int64_t layer, int64_t kv_head, const at::Tensor& indices) {
  if (absl::Status status = CheckHead(layer, kv_head); !status.ok()) return status;
  Layer& at_layer = layers_[layer];
  Head& head = at_layer.heads[kv_head];
  if (const absl::Status status = CheckIndices(indices, head.length); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(HeadName(layer, kv_head), status.message()));
  }
  Separate(at_layer);

  const at::Tensor kept_positions =
      positions(layer, kv_head).index_select(0, indices.to(at::kCPU)).contiguous();
  const int64_t* position = kept_positions.data_ptr<int64_t>();
  const at::Tensor on_device = indices.to(head.keys.device());
  head.keys = head.keys.index_select(0, on_device);
  head.values = head.values.index_select(0, on_device);
  head.length = indices.numel();
  head.positions.assign(position, position + head.length);
  head.positions.shrink_to_fit();
  head.tail_position = next_position_;
  return absl::OkStatus();
}

absl::Status KvCache::Remove(int64_t layer, int64_t kv_head, int64_t index) {
  if (absl::Status status = CheckHead(layer, kv_head); !status.ok()) return status;
  Head& head = layers_[layer].heads[kv_head];
  if (index < 0 || index >= head.length) {
    return absl::InvalidArgumentError(absl::StrCat(HeadName(layer, kv_head), "index ", index,
                                                   " is outside of [0, ", head.length, ")"));
  }
  WriteTail(head);
  const int64_t last = head.length - 1;
  if (index != last) {
    for (const at::Tensor& rows : {keys(layer, kv_head), values(layer, kv_head)}) {
      rows.select(0, index).copy_(rows.select(0, last));
    }
    head.positions[index] = head.positions[last];
  }
  head.positions.pop_back();
  head.length = last;
  head.removed = true;
  return absl::OkStatus();
}

int64_t KvCache::allocated_bytes() const {
  std::set<const void*> storages;
  int64_t bytes = 0;
  const auto count = [&](const at::Tensor& tensor) {
    if (tensor.defined() && storages.insert(tensor.storage().unsafeGetStorageImpl()).second) {
      bytes += tensor.storage().nbytes();
    }
  };
  for (const Layer& layer : layers_) {
    count(layer.keys);
    count(layer.values);
    for (const Head& head : layer.heads) {
      count(head.keys);
      count(head.values);
    }
  }
  return bytes;
}

void KvCache::Separate(Layer& layer) const {
  const auto exact = [](const at::Tensor& rows, int64_t length) {
    const at::Tensor filled = rows.narrow(0, 0, length);
    return filled.storage().nbytes() == filled.nbytes()
               ? filled
               : filled.clone(at::MemoryFormat::Contiguous);
  };
  for (size_t h = 0; h < layer.heads.size(); ++h) {
    Head& head = layer.heads[h];
    head.keys = exact(layer.together() ? layer.keys[h] : head.keys, head.length);
    head.values = exact(layer.together() ? layer.values[h] : head.values, head.length);
  }
  layer.keys = layer.values = at::Tensor();
  layer.capacity = 0;
}

void KvCache::Reserve(int64_t layer, int64_t tokens) {
  Layer& at_layer = layers_[layer];
  const int64_t heads = at_layer.heads.size();
  if (!at_layer.same_length()) {
    if (at_layer.together()) Separate(at_layer);
    for (Head& head : at_layer.heads) {
      if (head.keys.size(0) >= head.length + tokens) continue;
      const int64_t capacity = GrownCapacity(head.length, tokens);
      for (at::Tensor* rows : {&head.keys, &head.values}) {
        const at::Tensor grown = at::empty({capacity, head_dim_}, rows->options());
        grown.narrow(0, 0, head.length).copy_(rows->narrow(0, 0, head.length));
        *rows = grown;
      }
    }
    return;
  }
  const int64_t length = at_layer.heads[0].length;
  if (at_layer.together() && at_layer.capacity >= length + tokens) return;
  const int64_t capacity = GrownCapacity(length, tokens);
  const auto grow = [&](at::Tensor& together, at::Tensor Head::*own) {
    const at::TensorOptions options =
        together.defined() ? together.options() : (at_layer.heads[0].*own).options();
    const at::Tensor grown = at::empty({heads, capacity, head_dim_}, options);
    if (together.defined()) {
      grown.narrow(1, 0, length).copy_(together.narrow(1, 0, length));
    } else {
      for (int64_t h = 0; h < heads; ++h) {
        at::Tensor& rows = at_layer.heads[h].*own;
        grown[h].narrow(0, 0, length).copy_(rows.narrow(0, 0, length));
        rows = at::Tensor();
      }
    }
    together = grown;
  };
  grow(at_layer.keys, &Head::keys);
  grow(at_layer.values, &Head::values);
  at_layer.capacity = capacity;
}

void KvCache::Append(int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
  const int64_t tokens = keys.size(1);
  Reserve(layer, tokens);
  Layer& at_layer = layers_[layer];
  if (at_layer.together()) {
    const int64_t length = at_layer.heads[0].length;
    at_layer.keys.narrow(1, length, tokens).copy_(keys);
    at_layer.values.narrow(1, length, tokens).copy_(values);
  }
  for (size_t h = 0; h < at_layer.heads.size(); ++h) {
    Head& head = at_layer.heads[h];
    if (!at_layer.together()) {
      head.keys.narrow(0, head.length, tokens).copy_(keys[h]);
      head.values.narrow(0, head.length, tokens).copy_(values[h]);
    }
    // A tail that doesn't go on at next_position_ is written out, and a new one begins.
    const int64_t tail = head.length - static_cast<int64_t>(head.positions.size());
    if (tail == 0 || head.tail_position + tail != next_position_) {
      WriteTail(head);
      head.tail_position = next_position_;
    }
    head.length += tokens;
  }
}

void KvCache::WriteTail(Head& head) {
  while (static_cast<int64_t>(head.positions.size()) < head.length) {
    head.positions.push_back(head.tail_position++);
  }
}

void KvCache::AdvancePosition(int64_t tokens) { next_position_ += tokens; }

}  // namespace kvp
