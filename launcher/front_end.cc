#include "launcher/front_end.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvp {

const std::vector<Verb>& Verbs() {
  static const auto& verbs = *new std::vector<Verb>{
      {"launch", "", "run a job file: shards, collectors, trainers, evaluation"},
      {"serve", "storage/serve", "serve one shard of the trace store"},
      {"collect", "collector/collect", "run a model over prompts and record traces in the shards"},
      {"train", "trainer/train", "train eviction agents on the shards' traces (one rank)"},
      {"evaluate", "eval/evaluate", "compare policies on held-out traces and in the model"},
      {"generate", "eval/generate", "continue a prompt, with or without eviction"},
      {"inspect", "storage/inspect", "look into a shard or an agent file"},
  };
  return verbs;
}

const Verb* FindVerb(absl::string_view name) {
  for (const Verb& verb : Verbs()) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
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
