#include "launcher/manifest.h"

#include <sys/utsname.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/json_util.h"
#include "launcher/version.h"
#include "nlohmann/json.hpp"
#include "util/crc32c.h"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::ordered_json;

std::string OsName() {
  const absl::StatusOr<std::string> release = ReadFile("/etc/os-release");
  if (!release.ok()) return "unknown";
  for (absl::string_view line : absl::StrSplit(*release, '\n')) {
    if (!absl::ConsumePrefix(&line, "PRETTY_NAME=")) continue;
    absl::ConsumePrefix(&line, "\"");
    absl::ConsumeSuffix(&line, "\"");
    return std::string(line);
  }
  return "unknown";
}

Json JobJson(const Job& job) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(job, &text, options).ok()) return nullptr;
  return Json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
}

Json SeedsJson(const Job& job) {
  Json seeds = Json::object();
  for (const Job::Dataset& dataset : job.datasets()) {
    if (dataset.has_generated()) {
      seeds[absl::StrCat("dataset ", dataset.name())] = dataset.generated().seed();
    }
    seeds[absl::StrCat("cuts ", dataset.name())] = dataset.cut_seed();
  }
  if (job.has_trainers()) seeds["training"] = job.trainers().seed();
  if (job.has_evaluation()) seeds["evaluation"] = job.evaluation().seed();
  return seeds;
}

std::string Text(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::StatusOr<std::map<std::string, std::string>> TextMap(const nlohmann::json& json,
                                                           const char* key,
                                                           const std::string& path) {
  std::map<std::string, std::string> map;
  const auto found = json.find(key);
  if (found == json.end()) return map;
  for (const auto& [name, value] : found->items()) {
    if (!value.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": ", key, ".", name, ": isn't a string"));
    }
    map[name] = value.get<std::string>();
  }
  return map;
}

absl::StatusOr<std::vector<StageRecord>> Stages(const nlohmann::json& json,
                                                const std::string& path) {
  std::vector<StageRecord> stages;
  const auto found = json.find("stages");
  if (found == json.end()) return stages;
  for (const nlohmann::json& stage : *found) {
    const auto seconds = stage.is_object() ? stage.find("seconds") : stage.end();
    if (!stage.is_object() || seconds == stage.end() || !seconds->is_number()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": stages: ", stage.dump(), ": isn't a stage's record"));
    }
    stages.push_back({Text(stage, "name"), seconds->get<double>(), Text(stage, "result")});
  }
  return stages;
}

}  // namespace

std::string ManifestText(const Manifest& manifest) {
  utsname host{};
  uname(&host);
  Json json;
  json["name"] = manifest.job.name();
  json["result"] = manifest.result;
  if (!manifest.error.empty()) json["error"] = manifest.error;
  json["begin"] = absl::FormatTime(absl::RFC3339_sec, manifest.begin, absl::UTCTimeZone());
  json["versions"] = {
      {"kvp", kVersion}, {"compiler", __VERSION__}, {"system", OsName()}, {"kernel", host.release}};
  json["host"] = host.nodename;
  json["resumed"] = manifest.resumed;
  json["programs"] = manifest.programs;
  json["inputs"] = manifest.inputs;
  json["seeds"] = SeedsJson(manifest.job);
  json["stages"] = Json::array();
  for (const StageRecord& stage : manifest.stages) {
    json["stages"].push_back(
        {{"name", stage.name}, {"result", stage.result}, {"seconds", stage.seconds}});
  }
  json["job_file"] = manifest.job_file;
  json["job"] = JobJson(manifest.job);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::Status WriteManifest(const Manifest& manifest, const std::string& path) {
  return WriteFileAtomically(path, {ManifestText(manifest)});
}

absl::StatusOr<std::optional<Manifest>> ReadManifest(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::optional<Manifest>();
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(*text, path));
  if (!json.is_object() || !json.contains("job")) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": job: isn't a launch's manifest"));
  }
  Manifest manifest;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto parsed =
      google::protobuf::util::JsonStringToMessage(json["job"].dump(), &manifest.job, options);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": job: ", std::string(parsed.message())));
  }
  ASSIGN_OR_RETURN(manifest.programs, TextMap(json, "programs", path));
  ASSIGN_OR_RETURN(manifest.inputs, TextMap(json, "inputs", path));
  ASSIGN_OR_RETURN(manifest.stages, Stages(json, path));
  manifest.job_file = Text(json, "job_file");
  manifest.result = Text(json, "result");
  if (const auto found = json.find("resumed"); found != json.end() && found->is_number_integer()) {
    manifest.resumed = found->get<int>();
  }
  return std::optional<Manifest>(std::move(manifest));
}

absl::StatusOr<std::string> ProgramIdentity(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  return absl::StrFormat("%d bytes, crc32c %08x", contents.size(), Crc32c(contents));
}

}  // namespace kvp
