#include "storage/inspection.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "storage/head_block.h"
#include "storage/shard.h"
#include "util/safetensors.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Corrupt blocks named in the output; the rest are only counted.
constexpr size_t kNamedCorrupt = 20;

using Counts = std::map<std::string, int64_t>;

std::string CountsText(const Counts& counts) {
  return absl::StrJoin(counts, ", ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.first, " ", entry.second);
  });
}

struct Verified {
  int64_t blocks = 0;
  std::vector<std::string> corrupt;
};

absl::StatusOr<Verified> Verify(const Shard& shard) {
  Verified verified;
  RETURN_IF_ERROR(
      shard.ScanAll([&](const HeadBlockKey& key, const absl::StatusOr<absl::string_view>& encoded) {
        ++verified.blocks;
        const std::string name = HeadBlockKeyText(key);
        const auto why = [&]() -> std::optional<std::string> {
          if (!encoded.ok()) return std::string(encoded.status().message());
          const absl::StatusOr<HeadBlockView> block = ParseHeadBlock(*encoded);
          if (!block.ok()) return std::string(block.status().message());
          if (block->key != key) {
            return absl::StrCat("it says it is ", HeadBlockKeyText(block->key));
          }
          return std::nullopt;
        }();
        if (why.has_value()) verified.corrupt.push_back(absl::StrCat(name, ": ", *why));
        return absl::OkStatus();
      }));
  return verified;
}

// nlohmann's dump throws on strings that aren't UTF-8; names come from outside.
std::string Dump(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::StatusOr<Inspection> InspectShard(const std::string& path, bool verify) {
  Shard::Options options;
  options.dir = path;
  options.read_only = true;
  ASSIGN_OR_RETURN(const std::unique_ptr<Shard> shard, Shard::Open(options));
  ASSIGN_OR_RETURN(const Shard::Stats stats, shard->GetStats());
  Counts splits, tasks, models, formats;
  int64_t tokens = 0;
  int64_t entries = 0;
  RETURN_IF_ERROR(shard->List("", [&](TraceRecord record) {
    ++splits[record.split()];
    ++tasks[record.task()];
    ++models[record.model().name()];
    ++formats[absl::StrCat(record.kv_dtype() == TraceRecord::FLOAT8 ? "float8" : "bf16",
                           record.recorded_query_heads() > 0 ? " with queries" : "")];
    tokens += record.token_ids_size();
    entries += record.entries();
    return absl::OkStatus();
  }));
  const double bytes_per_head_token =
      stats.head_tokens == 0 ? 0.0 : static_cast<double>(stats.encoded_bytes) / stats.head_tokens;

  Inspection inspection;
  nlohmann::ordered_json json;
  json["path"] = path;
  json["kind"] = "shard";
  absl::StrAppend(&inspection.text, path, ": a shard of the trace store\n");
  if (const std::optional<ShardIdentity> identity = shard->identity(); identity.has_value()) {
    const ModelInfo& model = identity->model();
    absl::StrAppendFormat(&inspection.text,
                          "shard        %d of %d, format version %d\n"
                          "model        %s: %d layers, %d query heads, %d KV heads, head_dim %d\n"
                          "fingerprint  %s\n"
                          "heads        [%d, %d) of %d\n",
                          identity->shard_index(), identity->shard_count(),
                          identity->format_version(), model.name(), model.layers(),
                          model.query_heads(), model.kv_heads(), model.head_dim(),
                          model.fingerprint(), identity->head_begin(), identity->head_end(),
                          int64_t{model.layers()} * model.kv_heads());
    json["shard_index"] = identity->shard_index();
    json["shard_count"] = identity->shard_count();
    json["format_version"] = identity->format_version();
    json["head_begin"] = identity->head_begin();
    json["head_end"] = identity->head_end();
    json["model"] = {{"name", model.name()},         {"fingerprint", model.fingerprint()},
                     {"layers", model.layers()},     {"query_heads", model.query_heads()},
                     {"kv_heads", model.kv_heads()}, {"head_dim", model.head_dim()}};
  } else {
    absl::StrAppend(&inspection.text, "no writer has said hello yet\n");
  }
  absl::StrAppendFormat(&inspection.text,
                        "traces       %d committed, %d not, %d prompts without a continuation\n"
                        "by split     %s\n"
                        "by task      %s\n"
                        "by model     %s\n"
                        "K and V      %s\n"
                        "tokens       %d, of which recorded %d\n"
                        "blocks       %d\n"
                        "bytes        %d\n"
                        "bytes per token and head  %.1f\n",
                        stats.committed_traces, stats.uncommitted_traces, stats.empty_traces,
                        CountsText(splits), CountsText(tasks), CountsText(models),
                        CountsText(formats), tokens, entries, stats.blocks, stats.encoded_bytes,
                        bytes_per_head_token);
  json["traces"] = stats.committed_traces;
  json["uncommitted_traces"] = stats.uncommitted_traces;
  json["empty_traces"] = stats.empty_traces;
  json["by_split"] = splits;
  json["by_task"] = tasks;
  json["by_model"] = models;
  json["by_format"] = formats;
  json["tokens"] = tokens;
  json["recorded_tokens"] = entries;
  json["blocks"] = stats.blocks;
  json["bytes"] = stats.encoded_bytes;
  json["bytes_per_token_and_head"] = bytes_per_head_token;

  if (verify) {
    ASSIGN_OR_RETURN(const Verified verified, Verify(*shard));
    inspection.corrupt_blocks = verified.corrupt.size();
    absl::StrAppend(&inspection.text, "verified     ", verified.blocks, " blocks, ",
                    verified.corrupt.size(), " corrupt\n");
    json["verified_blocks"] = verified.blocks;
    json["corrupt_blocks"] = verified.corrupt.size();
    json["corrupt"] = verified.corrupt;
    for (size_t i = 0; i < verified.corrupt.size(); ++i) {
      if (i == kNamedCorrupt) {
        absl::StrAppend(&inspection.text, "  and ", verified.corrupt.size() - i, " more\n");
        break;
      }
      absl::StrAppend(&inspection.text, "  ", verified.corrupt[i], "\n");
    }
  }
  inspection.json = Dump(json);
  return inspection;
}

absl::StatusOr<Inspection> InspectTrace(const std::string& path, const std::string& id_text) {
  // HexStringToBytes takes anything.
  const bool hex = std::all_of(id_text.begin(), id_text.end(), absl::ascii_isxdigit);
  const absl::StatusOr<TraceId> id = TraceIdFromBytes(hex ? absl::HexStringToBytes(id_text) : "");
  if (!hex || !id.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("trace id \"", id_text, "\": 32 hex digits are needed"));
  }
  Shard::Options options;
  options.dir = path;
  options.read_only = true;
  ASSIGN_OR_RETURN(const std::unique_ptr<Shard> shard, Shard::Open(options));
  ASSIGN_OR_RETURN(const Shard::TraceDetail detail, shard->Describe(*id));
  const TraceRecord& record = detail.record;

  Inspection inspection;
  nlohmann::ordered_json json;
  json["path"] = path;
  json["kind"] = "trace";
  json["trace_id"] = TraceIdText(*id);
  json["task"] = record.task();
  json["split"] = record.split();
  json["prompt_tokens"] = record.prompt_tokens();
  json["continuation_tokens"] = record.continuation_tokens();
  json["entries"] = record.entries();
  json["cuts"] = std::vector<int32_t>(record.cuts().begin(), record.cuts().end());
  json["blocks"] = nlohmann::ordered_json::array();
  int64_t bytes = 0;
  for (const auto& [key, entry] : detail.blocks) {
    bytes += entry.encoded_bytes;
    json["blocks"].push_back({{"layer", key.head.layer},
                              {"kv_head", key.head.kv_head},
                              {"block", key.block},
                              {"first_token", entry.first_token},
                              {"tokens", entry.tokens},
                              {"bytes", entry.encoded_bytes}});
  }
  json["bytes"] = bytes;
  inspection.text = absl::StrFormat(
      "%s: trace %s\n"
      "task         %s, %s\n"
      "tokens       %d of the prompt, %d of the continuation; %d recorded\n"
      "cuts         %s\n"
      "blocks       %d, %d bytes\n",
      path, TraceIdText(*id), record.task(), record.split(), record.prompt_tokens(),
      record.continuation_tokens(), record.entries(), absl::StrJoin(record.cuts(), ", "),
      detail.blocks.size(), bytes);
  inspection.json = Dump(json);
  return inspection;
}

namespace {

// Opens the shard for writing, which nobody else may have done.
absl::StatusOr<std::unique_ptr<Shard>> OpenAlone(const std::string& path) {
  Shard::Options options;
  options.dir = path;
  options.read_only = true;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Shard> shard, Shard::Open(options));
    if (const std::optional<ShardIdentity> identity = shard->identity(); identity.has_value()) {
      options.shard_index = identity->shard_index();
      options.shard_count = identity->shard_count();
    }
  }
  options.read_only = false;
  options.sweep_older_than = absl::InfiniteDuration();
  return Shard::Open(options);
}

int64_t FolderBytes(const std::string& path) {
  int64_t bytes = 0;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(path, error)) {
    if (file.is_regular_file(error)) bytes += static_cast<int64_t>(file.file_size(error));
  }
  return bytes;
}

}  // namespace

absl::StatusOr<CompactionResult> CompactShard(const std::string& path) {
  CompactionResult result;
  result.bytes_before = FolderBytes(path);
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Shard> shard, OpenAlone(path));
    RETURN_IF_ERROR(shard->Compact());
  }
  result.bytes_after = FolderBytes(path);
  return result;
}

absl::Status DropShard(const std::string& path) { return Shard::Drop(path); }

namespace {

// Metadata of an agent file (policy/agent_file.h) that has a number for each head, as a table: a
// line for each layer, a column for each KV head. Nothing of other files.
std::string TableOfHeads(const std::map<std::string, std::string>& metadata,
                         const std::string& field) {
  const auto found = metadata.find(field);
  const auto columns = metadata.find("kv_heads");
  int64_t kv_heads = 0;
  if (found == metadata.end() || columns == metadata.end() ||
      !absl::SimpleAtoi(columns->second, &kv_heads) || kv_heads < 1) {
    return "";
  }
  std::string text = absl::StrCat(field, " of each layer (lines) and KV head (columns)\n");
  int64_t head = 0;
  for (const absl::string_view number : absl::StrSplit(found->second, ',')) {
    if (head % kv_heads == 0) absl::StrAppendFormat(&text, "  %4d ", head / kv_heads);
    absl::StrAppendFormat(&text, " %10s", absl::Utf8SafeCEscape(number));
    if (++head % kv_heads == 0) text += "\n";
  }
  if (head % kv_heads != 0) text += "\n";
  return text;
}

}  // namespace

absl::StatusOr<Inspection> InspectSafetensors(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  Inspection inspection;
  nlohmann::ordered_json json;
  json["path"] = path;
  json["kind"] = "safetensors";
  json["metadata"] = file->metadata();
  absl::StrAppend(&inspection.text, path, ": a safetensors file\n");
  std::string tables;
  for (const char* field : {"held_out_costs", "best_steps"}) {
    tables += TableOfHeads(file->metadata(), field);
  }
  size_t widest = 0;
  for (const auto& [name, value] : file->metadata()) widest = std::max(widest, name.size());
  if (!file->metadata().empty()) absl::StrAppend(&inspection.text, "metadata\n");
  for (const auto& [name, value] : file->metadata()) {
    if (!tables.empty() && (name == "held_out_costs" || name == "best_steps")) continue;
    absl::StrAppendFormat(&inspection.text, "  %-*s  %s\n", static_cast<int>(widest), name,
                          absl::Utf8SafeCEscape(value));
  }
  inspection.text += tables;
  int64_t bytes = 0;
  widest = 0;
  for (const auto& [name, entry] : file->entries()) widest = std::max(widest, name.size());
  absl::StrAppend(&inspection.text, "tensors\n");
  json["tensors"] = nlohmann::ordered_json::object();
  for (const auto& [name, entry] : file->entries()) {
    absl::StrAppendFormat(&inspection.text, "  %-*s  %-4s [%s]\n", static_cast<int>(widest), name,
                          entry.dtype, absl::StrJoin(entry.shape, ", "));
    json["tensors"][name] = {{"dtype", entry.dtype}, {"shape", entry.shape}};
    bytes += entry.bytes.size();
  }
  absl::StrAppend(&inspection.text, file->entries().size(), " tensors, ", bytes, " bytes\n");
  json["bytes"] = bytes;
  inspection.json = Dump(json);
  return inspection;
}

absl::StatusOr<Inspection> InspectPath(const std::string& path, bool verify) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  }
  if (std::filesystem::is_directory(path, error)) return InspectShard(path, verify);
  absl::StatusOr<Inspection> inspection = InspectSafetensors(path);
  if (!absl::IsInvalidArgument(inspection.status())) return inspection;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": is no shard (that is a folder) and no agent file: ",
                   absl::StripPrefix(inspection.status().message(), path + ": ")));
}

}  // namespace kvp
