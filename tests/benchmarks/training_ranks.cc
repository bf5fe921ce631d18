#include "tests/benchmarks/training_ranks.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/benchmarks/embedded_traces.h"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<double> HeadStepsPerSecond(const BenchStore& store, int64_t ranks, int64_t steps) {
  ASSIGN_OR_RETURN(const std::string train, BuiltFile("trainer/train"));
  const std::string summary_path = absl::StrCat(store.folder(), "/training_", ranks, ".json");
  std::vector<std::string> command = {"/usr/bin/env", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1",
                                      // Reading another rank's memory is forbidden in most
                                      // containers; Open MPI's other ways do without.
                                      "OMPI_MCA_btl_vader_single_copy_mechanism=none", "mpirun"};
  if (geteuid() == 0) command.push_back("--allow-run-as-root");
  for (const std::string& argument :
       {std::string("--oversubscribe"), std::string("--bind-to"), std::string("none"),
        std::string("-np"), absl::StrCat(ranks), train, absl::StrCat("--shards=", store.address()),
        absl::StrCat("--output=", store.folder(), "/agents_", ranks, ".safetensors"),
        absl::StrCat("--steps=", steps), absl::StrCat("--eval-every=", steps),
        std::string("--eval-contexts=1"), std::string("--threads=1"),
        absl::StrCat("--json=", summary_path)}) {
    command.push_back(argument);
  }
  ASSIGN_OR_RETURN(const CommandResult result, RunCommand(command));
  if (result.exit_status != 0) {
    return absl::UnavailableError(absl::StrCat("mpirun -np ", ranks, " ", train, " ended with ",
                                               result.exit_status, ": ", result.errors));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(summary_path));
  const nlohmann::json summary = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto number = [&](const char* field) -> absl::StatusOr<double> {
    if (summary.is_object() && summary.contains(field) && summary[field].is_number()) {
      return summary[field].get<double>();
    }
    return absl::InternalError(absl::StrCat(summary_path, ": no number ", field));
  };
  ASSIGN_OR_RETURN(const double heads, number("heads"));
  ASSIGN_OR_RETURN(const double done, number("steps"));
  ASSIGN_OR_RETURN(const double seconds, number("training_seconds"));
  return heads * done / seconds;
}

}  // namespace kvp
