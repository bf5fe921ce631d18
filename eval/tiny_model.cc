#include "eval/tiny_model.h"

#include <deque>
#include <map>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kHidden = 32;
constexpr int64_t kIntermediate = 48;
constexpr int64_t kQueryHeads = 4;

class RandomWeights {
 public:
  explicit RandomWeights(uint64_t seed) : random_(seed) {}

  void Add(const std::string& name, std::vector<int64_t> shape, float mean, float deviation) {
    int64_t count = 1;
    for (int64_t size : shape) count *= size;
    std::vector<float>& values = values_.emplace_back(count);
    std::normal_distribution<float> normal(mean, deviation);
    for (float& value : values) value = normal(random_);
    entries_[name] = {"F32", std::move(shape),
                      absl::string_view(reinterpret_cast<const char*>(values.data()),
                                        values.size() * sizeof(float))};
  }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }

 private:
  std::mt19937_64 random_;
  std::deque<std::vector<float>> values_;
  std::map<std::string, SafetensorsEntry> entries_;
};

std::string Utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3F))};
}

// GPT-2's spelling of bytes: printable ones as themselves, the others as the characters from U+0100
// on.
nlohmann::json ByteVocabulary() {
  nlohmann::json vocabulary = nlohmann::json::object();
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
                           (byte >= 0xAE && byte <= 0xFF);
    vocabulary[Utf8(printable ? byte : next++)] = byte;
  }
  vocabulary["<end>"] = 256;
  return vocabulary;
}

}  // namespace

absl::Status WriteTinyModel(const std::string& directory, uint64_t seed) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"vocab_size", kTinyVocabulary},
                                 {"hidden_size", kHidden},
                                 {"intermediate_size", kIntermediate},
                                 {"num_hidden_layers", kTinyLayers},
                                 {"num_attention_heads", kQueryHeads},
                                 {"num_key_value_heads", kTinyKvHeads},
                                 {"head_dim", kTinyHeadDim},
                                 {"max_position_embeddings", 512},
                                 {"rms_norm_eps", 1e-5},
                                 {"rope_theta", 10000.0},
                                 {"hidden_act", "silu"},
                                 {"tie_word_embeddings", false},
                                 {"eos_token_id", 256}};
  RETURN_IF_ERROR(WriteFileAtomically(directory + "/config.json", {config.dump()}));

  RandomWeights weights(seed);
  const int64_t query_rows = kQueryHeads * kTinyHeadDim;
  const int64_t kv_rows = kTinyKvHeads * kTinyHeadDim;
  weights.Add("model.embed_tokens.weight", {kTinyVocabulary, kHidden}, 0, 1);
  weights.Add("model.norm.weight", {kHidden}, 1, 0.1F);
  weights.Add("lm_head.weight", {kTinyVocabulary, kHidden}, 0, 0.3F);
  for (int64_t layer = 0; layer < kTinyLayers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    // Large enough for attention that isn't uniform.
    weights.Add(prefix + "self_attn.q_proj.weight", {query_rows, kHidden}, 0, 0.4F);
    weights.Add(prefix + "self_attn.k_proj.weight", {kv_rows, kHidden}, 0, 0.4F);
    weights.Add(prefix + "self_attn.v_proj.weight", {kv_rows, kHidden}, 0, 0.4F);
    weights.Add(prefix + "self_attn.o_proj.weight", {kHidden, query_rows}, 0, 0.4F);
    weights.Add(prefix + "mlp.gate_proj.weight", {kIntermediate, kHidden}, 0, 0.2F);
    weights.Add(prefix + "mlp.up_proj.weight", {kIntermediate, kHidden}, 0, 0.2F);
    weights.Add(prefix + "mlp.down_proj.weight", {kHidden, kIntermediate}, 0, 0.2F);
    weights.Add(prefix + "input_layernorm.weight", {kHidden}, 1, 0.1F);
    weights.Add(prefix + "post_attention_layernorm.weight", {kHidden}, 1, 0.1F);
  }
  RETURN_IF_ERROR(
      WriteSafetensors(directory + "/model.safetensors", weights.entries(), {{"format", "pt"}}));

  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  const nlohmann::json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens",
       {{{"id", 256},
         {"content", "<end>"},
         {"single_word", false},
         {"lstrip", false},
         {"rstrip", false},
         {"normalized", false},
         {"special", true}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"}, {"vocab", ByteVocabulary()}, {"merges", nlohmann::json::array()}}}};
  return WriteFileAtomically(directory + "/tokenizer.json", {tokenizer.dump()});
}

}  // namespace kvp
