#include "launcher/launch.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "launcher/job_folder.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr absl::Duration kTerminalTick = absl::Milliseconds(200);
constexpr absl::Duration kPlainTick = absl::Seconds(1);

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::string ResultOf(const absl::Status& status) {
  return status.ok() ? "done" : absl::IsCancelled(status) ? "stopped" : "failed";
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace

Launch::Launch(Plan plan, Manifest manifest, Backend* backend, LaunchOptions options)
    : plan_(std::move(plan)),
      manifest_(std::move(manifest)),
      backend_(backend),
      options_(std::move(options)),
      display_(options_.out, options_.terminal),
      supervisor_(backend_, options_.supervisor,
                  [this](absl::string_view line) { display_.Line(line); }) {
  state_.name = manifest_.job.name();
  state_.host = HostName();
  state_.pid = getpid();
  state_.stage_count = static_cast<int>(plan_.stages.size()) + 2;
  state_.begin = absl::Now();
}

absl::Status Launch::Run() {
  RETURN_IF_ERROR(WriteManifest(manifest_, ManifestPath(plan_.output_dir)));
  RETURN_IF_ERROR(RecordState());
  absl::Status status = RunStages();
  if (!status.ok()) {
    const absl::Status stopped = supervisor_.StopAll();
    if (!stopped.ok()) display_.Line(stopped.message());
  }
  manifest_.result = ResultOf(status);
  manifest_.error = std::string(status.message());
  state_.status = manifest_.result;
  state_.error = manifest_.error;
  absl::Status written = WriteManifest(manifest_, ManifestPath(plan_.output_dir));
  written.Update(RecordState());
  return status.ok() ? written : status;
}

bool Launch::WasDone(const Stage& stage) const {
  return options_.done_before.count(stage.name) > 0 &&
         std::all_of(stage.outputs.begin(), stage.outputs.end(), Exists);
}

absl::Status Launch::RunStages() {
  const bool all_done = std::all_of(plan_.stages.begin(), plan_.stages.end(),
                                    [&](const Stage& stage) { return WasDone(stage); });
  if (all_done) {
    display_.Line("every stage was done before");
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Timed(plan_.shards.name, [&] { return StartShards(); }));
  for (const Stage& stage : plan_.stages) {
    if (WasDone(stage)) {
      ++state_.stage_number;
      display_.Line(absl::StrCat("[", state_.stage_number, "/", state_.stage_count, "] ",
                                 stage.name, ": was done before"));
      continue;
    }
    RETURN_IF_ERROR(Timed(stage.name, [&] { return RunStage(stage); }));
  }
  return Timed("stop the shards", [&] { return supervisor_.StopStage(plan_.shards.name); });
}

template <typename Body>
absl::Status Launch::Timed(const std::string& name, Body body) {
  const absl::Time begin = absl::Now();
  state_.stage = name;
  display_.Begin(++state_.stage_number, state_.stage_count, name, begin);
  const absl::Status status = body();
  const absl::Time end = absl::Now();
  const std::string result = ResultOf(status);
  display_.End(result, end);
  manifest_.stages.push_back({name, absl::ToDoubleSeconds(end - begin), result});
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(RecordState());
  return WriteManifest(manifest_, ManifestPath(plan_.output_dir));
}

absl::Status Launch::StartShards() {
  for (const ProcessSpec& shard : plan_.shards.processes) {
    RETURN_IF_ERROR(supervisor_.Start(plan_.shards.name, shard));
  }
  while (!supervisor_.Serves(plan_.shards.name)) RETURN_IF_ERROR(Wait(kPlainTick));
  return absl::OkStatus();
}

absl::Status Launch::RunStage(const Stage& stage) {
  // An earlier launch's output must not pass for this one's.
  for (const std::string& output : stage.outputs) {
    std::error_code error;
    std::filesystem::remove(output, error);
  }
  const std::string addresses = supervisor_.Addresses(plan_.shards.name);
  for (ProcessSpec process : stage.processes) {
    for (std::string& argument : process.argv) {
      argument = absl::StrReplaceAll(argument, {{kShardAddresses, addresses}});
    }
    RETURN_IF_ERROR(supervisor_.Start(stage.name, process));
  }
  while (!supervisor_.IsDone(stage.name)) {
    RETURN_IF_ERROR(Wait(options_.terminal ? kTerminalTick : kPlainTick));
    display_.Update(TotalProgress(), absl::Now());
  }
  for (const std::string& output : stage.outputs) {
    if (Exists(output)) continue;
    return absl::InternalError(absl::StrCat(stage.processes[0].name, " ended well but wrote no ",
                                            output, "; log: ", stage.processes[0].log_path));
  }
  for (const std::string& temporary : stage.temporaries) {
    std::error_code error;
    std::filesystem::remove_all(temporary, error);
  }
  return absl::OkStatus();
}

absl::Status Launch::Wait(absl::Duration timeout) {
  const absl::Status status = supervisor_.Wait(timeout);
  RETURN_IF_ERROR(RecordState());
  return status;
}

absl::Status Launch::RecordState() {
  state_.processes = supervisor_.Processes();
  JobState essence = state_;
  essence.updated = absl::UnixEpoch();
  for (ProcessState& process : essence.processes) process.progress.reset();
  std::string text = JobStateJson(essence);
  const absl::Time now = absl::Now();
  if (text == recorded_ && now - state_.updated < kPlainTick) return absl::OkStatus();
  recorded_ = std::move(text);
  state_.updated = now;
  return WriteFileAtomically(StatePath(plan_.output_dir), {JobStateJson(state_)});
}

ProcessProgress Launch::TotalProgress() {
  ProcessProgress total;
  for (const ProcessState& process : state_.processes) {
    if (process.stage != state_.stage || !process.progress.has_value()) continue;
    total.done += process.progress->done;
    total.total += process.progress->total;
    total.unit = process.progress->unit;
    // Side by side, each tells of itself alone: the first speaks for all.
    if (total.detail.empty()) total.detail = process.progress->detail;
  }
  return total;
}

}  // namespace kvp
