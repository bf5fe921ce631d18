#include "tests/gpu/llama_8b.h"

#include <algorithm>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/small_floats.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr int64_t kLayersPerFile = 8;
// A prime, so that equal numbers don't lie in the same column of a matrix.
constexpr int64_t kPeriod = 16777213;
constexpr uint16_t kOne = 0x3f80;
// About what trained checkpoints have.
constexpr float kDeviation = 0.02f;

// Bytes that all tensors of a kind share.
class Numbers {
 public:
  explicit Numbers(int64_t largest) : random_(largest), ones_(largest, kOne) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, kDeviation);
    const int64_t drawn = std::min(largest, kPeriod);
    for (int64_t i = 0; i < drawn; ++i) random_[i] = Bfloat16FromFloat(normal(generator));
    for (int64_t i = drawn; i < largest; ++i) random_[i] = random_[i - drawn];
  }

  SafetensorsEntry Matrix(int64_t rows, int64_t columns) const {
    return {"BF16", {rows, columns}, Bytes(random_, rows * columns)};
  }
  SafetensorsEntry Norm(int64_t size) const { return {"BF16", {size}, Bytes(ones_, size)}; }

 private:
  static absl::string_view Bytes(const std::vector<uint16_t>& numbers, int64_t count) {
    return {reinterpret_cast<const char*>(numbers.data()), count * sizeof(uint16_t)};
  }

  std::vector<uint16_t> random_;
  std::vector<uint16_t> ones_;
};

void AddLayer(const LlamaGeometry& geometry, int64_t layer, const Numbers& numbers,
              std::map<std::string, SafetensorsEntry>& entries) {
  const int64_t hidden = geometry.hidden_size;
  const int64_t query_rows = geometry.num_attention_heads * geometry.head_dim;
  const int64_t kv_rows = geometry.num_key_value_heads * geometry.head_dim;
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  const auto add = [&](absl::string_view name, SafetensorsEntry entry) {
    entries[absl::StrCat(prefix, name, ".weight")] = std::move(entry);
  };
  add("input_layernorm", numbers.Norm(hidden));
  add("self_attn.q_proj", numbers.Matrix(query_rows, hidden));
  add("self_attn.k_proj", numbers.Matrix(kv_rows, hidden));
  add("self_attn.v_proj", numbers.Matrix(kv_rows, hidden));
  add("self_attn.o_proj", numbers.Matrix(hidden, query_rows));
  add("post_attention_layernorm", numbers.Norm(hidden));
  add("mlp.gate_proj", numbers.Matrix(geometry.intermediate_size, hidden));
  add("mlp.up_proj", numbers.Matrix(geometry.intermediate_size, hidden));
  add("mlp.down_proj", numbers.Matrix(hidden, geometry.intermediate_size));
}

// The fields of the published config.json that describe the model.
Json Config(const LlamaGeometry& geometry) {
  return {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"vocab_size", geometry.vocab_size},
      {"hidden_size", geometry.hidden_size},
      {"intermediate_size", geometry.intermediate_size},
      {"num_hidden_layers", geometry.num_hidden_layers},
      {"num_attention_heads", geometry.num_attention_heads},
      {"num_key_value_heads", geometry.num_key_value_heads},
      {"head_dim", geometry.head_dim},
      {"max_position_embeddings", 131072},
      {"rms_norm_eps", 1e-5},
      {"rope_theta", 500000.0},
      {"rope_scaling",
       {{"rope_type", "llama3"},
        {"factor", 8.0},
        {"low_freq_factor", 1.0},
        {"high_freq_factor", 4.0},
        {"original_max_position_embeddings", 8192}}},
      {"hidden_act", "silu"},
      {"attention_bias", false},
      {"mlp_bias", false},
      {"tie_word_embeddings", false},
      {"bos_token_id", 0},
      {"torch_dtype", "bfloat16"},
  };
}

}  // namespace

LlamaGeometry TinyLlamaGeometry() {
  LlamaGeometry geometry;
  geometry.vocab_size = 512;
  geometry.hidden_size = 128;
  geometry.intermediate_size = 256;
  geometry.num_hidden_layers = 4;
  geometry.num_attention_heads = 8;
  geometry.num_key_value_heads = 2;
  geometry.head_dim = 16;
  return geometry;
}

absl::Status WriteRandomLlama(const std::string& directory, const LlamaGeometry& geometry) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  const Numbers numbers(geometry.hidden_size *
                        std::max(geometry.vocab_size, geometry.intermediate_size));
  const int64_t files = (geometry.num_hidden_layers + kLayersPerFile - 1) / kLayersPerFile;
  Json weight_map = Json::object();
  for (int64_t file = 0; file < files; ++file) {
    std::map<std::string, SafetensorsEntry> entries;
    const int64_t first = file * kLayersPerFile;
    const int64_t end = std::min(first + kLayersPerFile, geometry.num_hidden_layers);
    for (int64_t layer = first; layer < end; ++layer) AddLayer(geometry, layer, numbers, entries);
    if (file == 0) {
      entries["model.embed_tokens.weight"] =
          numbers.Matrix(geometry.vocab_size, geometry.hidden_size);
    }
    if (file == files - 1) {
      entries["model.norm.weight"] = numbers.Norm(geometry.hidden_size);
      entries["lm_head.weight"] = numbers.Matrix(geometry.vocab_size, geometry.hidden_size);
    }
    const std::string name = absl::StrFormat("model-%05d-of-%05d.safetensors", file + 1, files);
    for (const auto& [tensor, entry] : entries) weight_map[tensor] = name;
    RETURN_IF_ERROR(WriteSafetensors(absl::StrCat(directory, "/", name), entries));
  }
  const Json index = {{"metadata", Json::object()}, {"weight_map", weight_map}};
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(directory, "/model.safetensors.index.json"),
                                      {index.dump()}));
  return WriteFileAtomically(absl::StrCat(directory, "/config.json"), {Config(geometry).dump(2)});
}

}  // namespace kvp
