// The `kvp` front end: does `launch` itself, and becomes the tool behind any other verb.

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launcher/front_end.h"
#include "launcher/launch_main.h"
#include "launcher/version.h"
#include "util/command_line.h"

namespace {

// Executes the tool of `verb` with the arguments from `first` on; returns only where it can't.
int BecomeTool(const std::string& tools, const kvp::Verb& verb, int argc, char** argv, int first) {
  std::string tool = absl::StrCat(tools, "/", verb.tool);
  std::vector<char*> arguments = {tool.data()};
  for (int i = first; i < argc; ++i) arguments.push_back(argv[i]);
  arguments.push_back(nullptr);
  execv(tool.c_str(), arguments.data());
  return kvp::ExitStatus(absl::UnavailableError(absl::StrCat(
      tool, ": can't execute the tool of \"", verb.name, "\": ", std::strerror(errno))));
}

int Bench(int argc, char** argv, const std::string& tools) {
  const std::string what = argc > 2 ? argv[2] : "";
  if (what == "--help" || what == "-h") {
    std::cout << kvp::BenchHelp();
    return 0;
  }
  if (what.empty()) {
    std::cerr << kvp::BenchHelp();
    return kvp::kExitUsage;
  }
  const kvp::Verb* bench = kvp::FindBench(what);
  if (bench == nullptr) {
    return kvp::UsageError(
        absl::StrCat("bench: unknown measurement \"", what, "\" (kvp bench --help lists them)"));
  }
  return BecomeTool(tools, *bench, argc, argv, 3);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  if (name == "--help" || name == "-h" || name == "help") {
    std::cout << kvp::FrontEndHelp();
    return 0;
  }
  if (name == "--version") {
    std::cout << "kvp " << kvp::kVersion << std::endl;
    return 0;
  }
  if (name.empty()) {
    std::cerr << kvp::FrontEndHelp();
    return kvp::kExitUsage;
  }
  const kvp::Verb* verb = kvp::FindVerb(name);
  if (verb == nullptr) {
    return kvp::UsageError(
        absl::StrCat("unknown verb \"", name, "\" (kvp --help lists the verbs)"));
  }
  const absl::StatusOr<std::string> tools = kvp::ToolsFolder();
  if (!tools.ok()) return kvp::ExitStatus(tools.status());
  if (name == "launch") return kvp::LaunchMain(argc - 1, argv + 1, *tools);
  if (name == "bench") return Bench(argc, argv, *tools);
  return BecomeTool(*tools, *verb, argc, argv, 2);
}
