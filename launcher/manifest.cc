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
  json["programs"] = manifest.programs;
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

absl::StatusOr<std::optional<Job>> JobOfManifest(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::optional<Job>();
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(*text, path));
  if (!json.is_object() || !json.contains("job")) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": job: isn't a launch's manifest"));
  }
  Job job;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto parsed =
      google::protobuf::util::JsonStringToMessage(json["job"].dump(), &job, options);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": job: ", std::string(parsed.message())));
  }
  return std::optional<Job>(std::move(job));
}

absl::StatusOr<std::string> ProgramIdentity(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  return absl::StrFormat("%d bytes, crc32c %08x", contents.size(), Crc32c(contents));
}

}  // namespace kvp
