// q_filters.safetensors: the filters of policy q_filter for a whole model (policy/heuristics/
// q_filter.h). One tensor, "filters" fp32 [layers, kv_heads, head_dim], each of length 1; the
// metadata, strings, says what they were made for:
//
//   format_version      "1"
//   kind                "q_filters"
//   model, model_fingerprint
//                       the model whose cache they score
//   training_data_hash  over the ids of the traces
//   queries             how many each filter was made from, at least

#ifndef KVP_POLICY_Q_FILTER_FILE_H_
#define KVP_POLICY_Q_FILTER_FILE_H_

#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvp {

struct QFilterFile {
  at::Tensor filters;  // fp32 [layers, kv_heads, head_dim]
  std::string model_name;
  std::string model_fingerprint;
  std::string training_data_hash;
  int64_t queries = 0;
};

// Writes atomically; the same filters give the same bytes.
absl::Status SaveQFilters(const std::string& path, const QFilterFile& file);

// NOT_FOUND or INVALID_ARGUMENT, naming the file, the field and the value.
absl::StatusOr<QFilterFile> LoadQFilters(const std::string& path);

}  // namespace kvp

#endif  // KVP_POLICY_Q_FILTER_FILE_H_
