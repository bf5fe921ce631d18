#include "policy/agent_file.h"

#include <cmath>
#include <map>
#include <vector>

#include "ATen/ATen.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

constexpr char kFormatVersion[] = "1";
constexpr char kKeyConvention[] = "post-RoPE";
constexpr char kPositionFeatures[] = "log1p/10, 1/(1+p), sin and cos at 1..1e-5";
constexpr char kPositionTable[] = "table";
constexpr char kKvpAgent[] = "kvp";
constexpr char kPaperAgent[] = "paper";
constexpr char kTrainingPrefix[] = "training.";
constexpr int64_t kLargestCount = 1 << 16;

using Metadata = std::map<std::string, std::string>;

absl::Status Invalid(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

absl::StatusOr<std::string> Field(const std::string& path, const Metadata& metadata,
                                  const std::string& field) {
  const auto found = metadata.find(field);
  if (found == metadata.end()) {
    return Invalid(path, absl::StrCat("metadata field ", field, " is missing"));
  }
  return found->second;
}

absl::Status CheckField(const std::string& path, const Metadata& metadata, const std::string& field,
                        absl::string_view expected) {
  ASSIGN_OR_RETURN(const std::string value, Field(path, metadata, field));
  if (value == expected) return absl::OkStatus();
  return Invalid(
      path, absl::StrCat("metadata field ", field, " is \"", value, "\", not \"", expected, "\""));
}

bool ParseNumber(absl::string_view text, double& number) { return absl::SimpleAtod(text, &number); }
template <typename Integer>
bool ParseNumber(absl::string_view text, Integer& number) {
  return absl::SimpleAtoi(text, &number);
}

template <typename Number>
absl::Status ReadNumber(const std::string& path, const Metadata& metadata, const std::string& field,
                        Number& number) {
  ASSIGN_OR_RETURN(const std::string value, Field(path, metadata, field));
  if (ParseNumber(value, number)) return absl::OkStatus();
  return Invalid(path, absl::StrCat("metadata field ", field, " is \"", value, "\", not a number"));
}

// A number of each head, where the file has them.
template <typename Number>
absl::Status ReadOfHeads(const std::string& path, const Metadata& metadata,
                         const std::string& field, const AgentFile& agents,
                         std::vector<Number>& numbers) {
  const auto found = metadata.find(field);
  if (found == metadata.end()) return absl::OkStatus();
  for (const absl::string_view text : absl::StrSplit(found->second, ',')) {
    if (ParseNumber(text, numbers.emplace_back())) continue;
    return Invalid(path,
                   absl::StrCat("metadata field ", field, " has \"", text, "\", not a number"));
  }
  const int64_t heads = agents.layers * agents.kv_heads;
  if (static_cast<int64_t>(numbers.size()) == heads) return absl::OkStatus();
  return Invalid(path, absl::StrCat("metadata field ", field, " has ", numbers.size(),
                                    " numbers, for ", heads, " heads"));
}

std::string FrequenciesText(const std::vector<double>& frequencies) {
  return absl::StrJoin(frequencies, ",", [](std::string* out, double frequency) {
    absl::StrAppendFormat(out, "%.17g", frequency);
  });
}

absl::Status ReadFrequencies(const std::string& path, const Metadata& metadata,
                             std::vector<double>& frequencies) {
  ASSIGN_OR_RETURN(const std::string value, Field(path, metadata, "rope_frequencies"));
  for (const absl::string_view text : absl::StrSplit(value, ',', absl::SkipEmpty())) {
    if (!absl::SimpleAtod(text, &frequencies.emplace_back())) {
      return Invalid(
          path, absl::StrCat("metadata field rope_frequencies has \"", text, "\", not a number"));
    }
  }
  return absl::OkStatus();
}

// Which kind of agent the file has; the fields that depend on it.
absl::Status ReadPositions(const std::string& path, const Metadata& metadata, AgentShape& shape) {
  const auto found = metadata.find("agent");
  const std::string kind = found == metadata.end() ? kKvpAgent : found->second;
  if (kind == kPaperAgent) {
    RETURN_IF_ERROR(CheckField(path, metadata, "position_features", kPositionTable));
    RETURN_IF_ERROR(ReadNumber(path, metadata, "position_table", shape.position_table));
    if (shape.position_table > 0) return absl::OkStatus();
    return Invalid(path, absl::StrCat("metadata field position_table is \"", shape.position_table,
                                      "\", below 1"));
  }
  if (kind != kKvpAgent) {
    return Invalid(path, absl::StrCat("metadata field agent is \"", kind, "\", not \"", kKvpAgent,
                                      "\" or \"", kPaperAgent, "\""));
  }
  return CheckField(path, metadata, "position_features", kPositionFeatures);
}

absl::Status CheckGeometry(const std::string& path, const AgentFile& agents) {
  for (const auto& [field, value] :
       {std::pair("layers", agents.layers), std::pair("kv_heads", agents.kv_heads)}) {
    if (value < 1 || value > kLargestCount) {
      return Invalid(path, absl::StrCat(field, " is ", value, ", not in [1, ", kLargestCount, "]"));
    }
  }
  if (const absl::Status status = agents.shape.Validate(); !status.ok()) {
    return Invalid(path, status.message());
  }
  return absl::OkStatus();
}

std::string ShapeText(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status CheckTensor(const std::string& path, const std::string& name, const at::Tensor& tensor,
                         at::IntArrayRef expected) {
  if (tensor.scalar_type() != at::kFloat) {
    return Invalid(path, absl::StrCat("tensor ", name, " isn't fp32"));
  }
  if (tensor.sizes() == expected) return absl::OkStatus();
  return Invalid(path, absl::StrCat("tensor ", name, " has shape ", ShapeText(tensor.sizes()),
                                    ", not ", ShapeText(expected)));
}

}  // namespace

absl::Status SaveAgents(const std::string& path, const AgentFile& agents) {
  RETURN_IF_ERROR(CheckGeometry(path, agents));
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, dimensions] : ParameterShapes(agents.shape)) {
    const auto found = agents.parameters.find(name);
    if (found == agents.parameters.end() || !found->second.defined()) {
      return Invalid(path, absl::StrCat("tensor ", name, " is missing"));
    }
    std::vector<int64_t> stacked = {agents.layers * agents.kv_heads};
    stacked.insert(stacked.end(), dimensions.begin(), dimensions.end());
    RETURN_IF_ERROR(CheckTensor(path, name, found->second, stacked));
    stacked[0] = agents.layers;
    stacked.insert(stacked.begin() + 1, agents.kv_heads);
    tensors[name] = found->second.detach().reshape(stacked);
  }
  const bool has_table = agents.shape.position_table > 0;
  Metadata metadata = {
      {"format_version", kFormatVersion},
      {"model", agents.model_name},
      {"model_fingerprint", agents.model_fingerprint},
      {"layers", absl::StrCat(agents.layers)},
      {"kv_heads", absl::StrCat(agents.kv_heads)},
      {"head_dim", absl::StrCat(agents.shape.head_dim)},
      {"key_convention", kKeyConvention},
      {"agent", has_table ? kPaperAgent : kKvpAgent},
      {"position_features", has_table ? kPositionTable : kPositionFeatures},
      {"position_feature_count", absl::StrCat(agents.shape.position_features)},
      {"rope_frequencies", FrequenciesText(agents.shape.rope_frequencies)},
      {"width", absl::StrCat(agents.shape.width)},
      {"hidden_layers", absl::StrCat(agents.shape.hidden_layers)},
      {"training_data_hash", agents.training_data_hash},
      {"objective", agents.objective},
      {"seed", absl::StrCat(agents.seed)},
      {"held_out_cost", absl::StrFormat("%.9g", agents.held_out_cost)},
  };
  if (!agents.held_out_costs.empty()) {
    metadata["held_out_costs"] = absl::StrJoin(
        agents.held_out_costs, ",",
        [](std::string* out, double cost) { absl::StrAppendFormat(out, "%.9g", cost); });
  }
  if (!agents.best_steps.empty()) metadata["best_steps"] = absl::StrJoin(agents.best_steps, ",");
  for (const auto& [name, value] : agents.training) metadata[kTrainingPrefix + name] = value;
  if (has_table) metadata["position_table"] = absl::StrCat(agents.shape.position_table);
  return WriteTensors(path, tensors, metadata);
}

absl::StatusOr<AgentFile> LoadAgents(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  const Metadata& metadata = file->metadata();
  RETURN_IF_ERROR(CheckField(path, metadata, "format_version", kFormatVersion));
  RETURN_IF_ERROR(CheckField(path, metadata, "key_convention", kKeyConvention));
  AgentFile agents;
  RETURN_IF_ERROR(ReadPositions(path, metadata, agents.shape));
  RETURN_IF_ERROR(ReadNumber(path, metadata, "layers", agents.layers));
  RETURN_IF_ERROR(ReadNumber(path, metadata, "kv_heads", agents.kv_heads));
  RETURN_IF_ERROR(ReadNumber(path, metadata, "head_dim", agents.shape.head_dim));
  RETURN_IF_ERROR(ReadNumber(path, metadata, "width", agents.shape.width));
  RETURN_IF_ERROR(ReadNumber(path, metadata, "hidden_layers", agents.shape.hidden_layers));
  RETURN_IF_ERROR(
      ReadNumber(path, metadata, "position_feature_count", agents.shape.position_features));
  RETURN_IF_ERROR(ReadFrequencies(path, metadata, agents.shape.rope_frequencies));
  RETURN_IF_ERROR(ReadNumber(path, metadata, "seed", agents.seed));
  RETURN_IF_ERROR(ReadNumber(path, metadata, "held_out_cost", agents.held_out_cost));
  RETURN_IF_ERROR(CheckGeometry(path, agents));
  ASSIGN_OR_RETURN(agents.model_name, Field(path, metadata, "model"));
  ASSIGN_OR_RETURN(agents.model_fingerprint, Field(path, metadata, "model_fingerprint"));
  ASSIGN_OR_RETURN(agents.training_data_hash, Field(path, metadata, "training_data_hash"));
  ASSIGN_OR_RETURN(agents.objective, Field(path, metadata, "objective"));
  RETURN_IF_ERROR(ReadOfHeads(path, metadata, "held_out_costs", agents, agents.held_out_costs));
  RETURN_IF_ERROR(ReadOfHeads(path, metadata, "best_steps", agents, agents.best_steps));
  for (const auto& [name, value] : metadata) {
    absl::string_view option = name;
    if (absl::ConsumePrefix(&option, kTrainingPrefix)) agents.training[std::string(option)] = value;
  }
  for (const auto& [name, dimensions] : ParameterShapes(agents.shape)) {
    ASSIGN_OR_RETURN(const SafetensorsEntry* entry, file->Find(name));
    if (entry->dtype != "F32") {
      return Invalid(path, absl::StrCat("tensor ", name, " is ", entry->dtype, ", not F32"));
    }
    ASSIGN_OR_RETURN(const at::Tensor tensor, TensorOfEntry(*entry));
    std::vector<int64_t> stacked = {agents.layers, agents.kv_heads};
    stacked.insert(stacked.end(), dimensions.begin(), dimensions.end());
    RETURN_IF_ERROR(CheckTensor(path, name, tensor, stacked));
    agents.parameters[name] = tensor.flatten(0, 1).clone();
  }
  return agents;
}

}  // namespace kvp
