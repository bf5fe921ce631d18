#include "launcher/front_end.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvp {
namespace {

const Verb* Find(const std::vector<Verb>& verbs, absl::string_view name) {
  for (const Verb& verb : verbs) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

}  // namespace

const std::vector<Verb>& Verbs() {
  static const auto& verbs = *new std::vector<Verb>{
      {"launch", "", "run a job file: shards, collectors, trainers, evaluation"},
      {"status", "launcher/status", "how far a job is: stages, processes, progress"},
      {"logs", "launcher/logs", "what a job's processes say"},
      {"stop", "launcher/stop", "stop a job; kvp launch --resume goes on"},
      {"serve", "storage/serve", "serve one shard of the trace store"},
      {"collect", "collector/collect", "run a model over prompts and record traces in the shards"},
      {"train", "trainer/train", "train eviction agents on the shards' traces (one rank)"},
      {"q-filters", "trainer/q_filters", "make the filters of policy q_filter of recorded queries"},
      {"evaluate", "eval/evaluate", "compare policies on held-out traces and in the model"},
      {"generate", "eval/generate", "continue a prompt, with or without eviction"},
      {"inspect", "storage/inspect", "look into a shard or an agent file"},
      {"bench", "", "measure the parts on this machine: kvp bench WHAT"},
  };
  return verbs;
}

const Verb* FindVerb(absl::string_view name) { return Find(Verbs(), name); }

const std::vector<Verb>& Benches() {
  static const auto& benches = *new std::vector<Verb>{
      {"collect", "tests/benchmarks/bench_collect",
       "what capture, labels and sending add to running the model"},
      {"decode", "tests/benchmarks/bench_decode",
       "time and memory of a long generation within a fixed budget"},
      {"ingest", "tests/benchmarks/bench_ingest",
       "how fast traces become durable, against the disk and gRPC"},
      {"read", "tests/benchmarks/bench_read",
       "how fast a head's blocks come back, against reading a file"},
      {"train", "tests/benchmarks/bench_train",
       "how fast and how well agents are trained, against the paper's recipe"},
  };
  return benches;
}

const Verb* FindBench(absl::string_view name) { return Find(Benches(), name); }

std::string BenchHelp() {
  std::string help =
      "kvp bench: measures on this machine.\n\n  kvp bench WHAT [--json PATH]\n\nWhat:\n";
  for (const Verb& bench : Benches()) {
    absl::StrAppendFormat(&help, "  %-9s %s\n", bench.name, bench.summary);
  }
  absl::StrAppend(&help,
                  "\n`kvp bench WHAT --help` says more.\n\nExample:\n"
                  "  kvp bench collect --json collect.json\n");
  return help;
}

std::string FrontEndHelp() {
  std::string help =
      "kvp: learns which entries of a language model's KV cache to keep.\n\n"
      "  kvp VERB [ARGUMENTS]\n\nVerbs:\n";
  for (const Verb& verb : Verbs())
    absl::StrAppendFormat(&help, "  %-9s %s\n", verb.name, verb.summary);
  absl::StrAppend(&help,
                  "\n`kvp VERB --help` says more; `kvp --version` prints the version.\n"
                  "Exit status: 0 done, 1 failed, 2 wrong usage.\n\nExample:\n"
                  "  kvp launch launcher/jobs/quickstart.textproto\n");
  return help;
}

absl::StatusOr<std::string> ToolsFolder() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::UnavailableError(absl::StrCat("/proc/self/exe: ", error.message()));
  return self.parent_path().parent_path().string();
}

}  // namespace kvp
