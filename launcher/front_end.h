// The verbs of `kvp`, and the tools behind them.

#ifndef KVP_LAUNCHER_FRONT_END_H_
#define KVP_LAUNCHER_FRONT_END_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

struct Verb {
  const char* name;
  // The tool's path in the folder of the binaries; "" for what `kvp` does itself.
  const char* tool;
  const char* summary;
};

const std::vector<Verb>& Verbs();

// Null where there is no such verb.
const Verb* FindVerb(absl::string_view name);

// The measurements behind `kvp bench WHAT`: a tool bench_WHAT for each.
const std::vector<Verb>& Benches();

// Null where there is no such measurement.
const Verb* FindBench(absl::string_view name);

// What `kvp bench --help` prints.
std::string BenchHelp();

// What `kvp --help` prints.
std::string FrontEndHelp();

// The folder that holds launcher/kvp and the other tools' folders: found from the running program,
// symbolic links followed. UNAVAILABLE where the system doesn't say which program runs.
absl::StatusOr<std::string> ToolsFolder();

}  // namespace kvp

#endif  // KVP_LAUNCHER_FRONT_END_H_
