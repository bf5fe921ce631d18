#include "policy/q_filter_file.h"

#include <map>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/safetensors.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

constexpr char kFormatVersion[] = "1";
constexpr char kKind[] = "q_filters";
constexpr char kTensor[] = "filters";

}  // namespace

absl::Status SaveQFilters(const std::string& path, const QFilterFile& file) {
  return WriteTensors(path, {{kTensor, file.filters}},
                      {{"format_version", kFormatVersion},
                       {"kind", kKind},
                       {"model", file.model_name},
                       {"model_fingerprint", file.model_fingerprint},
                       {"training_data_hash", file.training_data_hash},
                       {"queries", absl::StrCat(file.queries)}});
}

absl::StatusOr<QFilterFile> LoadQFilters(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  const auto invalid = [&path](absl::string_view field, absl::string_view value,
                               absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", field, " \"", value, "\": ", what));
  };
  const std::map<std::string, std::string>& metadata = file->metadata();
  const auto text = [&metadata](const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  if (text("kind") != kKind) return invalid("kind", text("kind"), "these are no q_filters");
  if (text("format_version") != kFormatVersion) {
    return invalid("format_version", text("format_version"), "only 1 is understood");
  }
  QFilterFile filters;
  filters.model_name = text("model");
  filters.model_fingerprint = text("model_fingerprint");
  filters.training_data_hash = text("training_data_hash");
  if (!absl::SimpleAtoi(text("queries"), &filters.queries)) {
    return invalid("queries", text("queries"), "isn't a number");
  }
  ASSIGN_OR_RETURN(const SafetensorsEntry* const entry, file->Find(kTensor));
  if (entry->dtype != "F32" || entry->shape.size() != 3 || entry->bytes.empty()) {
    return invalid(kTensor,
                   absl::StrCat(entry->dtype, " [", absl::StrJoin(entry->shape, ", "), "]"),
                   "isn't F32 [layers, kv_heads, head_dim]");
  }
  ASSIGN_OR_RETURN(const at::Tensor mapped, TensorOfEntry(*entry));
  filters.filters = mapped.clone();
  if (!filters.filters.isfinite().all().item<bool>()) {
    return invalid(kTensor, "nan or inf", "isn't a finite number");
  }
  return filters;
}

}  // namespace kvp
