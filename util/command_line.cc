#include "util/command_line.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <system_error>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

std::string& ToolName() {
  static std::string& name = *new std::string("kvp");
  return name;
}

std::string Dashed(absl::string_view name) { return absl::StrReplaceAll(name, {{"_", "-"}}); }

// The tool's own flags by name, without those that the flags library brings.
std::map<std::string, absl::CommandLineFlag*> OwnFlags() {
  std::map<std::string, absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (name == "flagfile" || name == "fromenv" || name == "tryfromenv" || name == "undefok") {
      continue;
    }
    flags[std::string(name)] = flag;
  }
  return flags;
}

absl::CommandLineFlag* FindFlag(absl::string_view name) {
  const auto flags = OwnFlags();
  const auto found = flags.find(absl::StrReplaceAll(name, {{"-", "_"}}));
  return found == flags.end() ? nullptr : found->second;
}

void PrintHelp(absl::string_view usage) {
  std::cout << usage << "\n\nFlags:\n";
  for (const auto& [name, flag] : OwnFlags()) {
    const std::string value = flag->DefaultValue();
    std::cout << "  --" << Dashed(name) << (value.empty() ? "" : absl::StrCat(" (", value, ")"))
              << "\n      " << flag->Help() << "\n";
  }
}

std::string OneLine(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

}  // namespace

absl::StatusOr<std::vector<std::string>> SetFlags(const std::vector<std::string>& arguments) {
  std::vector<std::string> positional;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      positional.insert(positional.end(), arguments.begin() + i + 1, arguments.end());
      break;
    }
    if (!absl::StartsWith(argument, "--")) {
      if (argument.size() > 1 && argument[0] == '-') {
        return absl::InvalidArgumentError(absl::StrCat("unknown flag ", argument));
      }
      positional.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    absl::CommandLineFlag* flag = FindFlag(name);
    std::string value;
    if (flag == nullptr && absl::StartsWith(name, "no") && equals == std::string::npos) {
      flag = FindFlag(name.substr(2));
      if (flag != nullptr && !flag->IsOfType<bool>()) flag = nullptr;
      value = "false";
    } else if (flag != nullptr) {
      if (equals != std::string::npos) {
        value = argument.substr(equals + 1);
      } else if (flag->IsOfType<bool>()) {
        value = "true";
      } else if (i + 1 < arguments.size()) {
        value = arguments[++i];
      } else {
        return absl::InvalidArgumentError(absl::StrCat("flag --", Dashed(name), " needs a value"));
      }
    }
    if (flag == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag --", name, " (--help lists the flags)"));
    }
    std::string error;
    if (!flag->ParseFrom(value, &error)) {
      return absl::InvalidArgumentError(
          absl::StrCat("flag --", Dashed(name), ": value \"", value, "\": ", OneLine(error)));
    }
  }
  return positional;
}

std::vector<std::string> ParseCommandLine(int argc, char** argv, absl::string_view usage) {
  const std::string path = argv[0];
  ToolName() = path.substr(path.rfind('/') + 1);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    if (argument == "--help" || argument == "-h") {
      PrintHelp(usage);
      std::exit(0);
    }
  }
  absl::StatusOr<std::vector<std::string>> positional = SetFlags(arguments);
  if (!positional.ok()) std::exit(UsageError(positional.status().message()));
  return *std::move(positional);
}

bool IsFlagSet(absl::string_view name) {
  const absl::CommandLineFlag* flag = FindFlag(name);
  return flag != nullptr && flag->CurrentValue() != flag->DefaultValue();
}

std::string MisplacedFlag(const std::vector<std::string>& names, absl::string_view where) {
  for (const std::string& name : names) {
    if (IsFlagSet(name)) {
      return absl::StrCat("flag --", Dashed(name), " doesn't apply ", where);
    }
  }
  return "";
}

std::string FlagMessage(absl::string_view message) {
  size_t end = 0;
  while (end < message.size() && (absl::ascii_isalnum(message[end]) || message[end] == '_')) ++end;
  if (FindFlag(message.substr(0, end)) == nullptr) return std::string(message);
  return absl::StrCat("flag --", Dashed(message.substr(0, end)), message.substr(end));
}

absl::Status CheckOutputPaths(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (path.empty()) continue;
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder, not a file to write"));
    }
    const std::filesystem::path folder = std::filesystem::absolute(path, error).parent_path();
    if (access(folder.c_str(), W_OK) != 0) {
      return absl::NotFoundError(
          absl::StrCat(path, ": its folder isn't there, or can't be written to"));
    }
  }
  return absl::OkStatus();
}

std::string EffectiveFlags() {
  std::string text;
  for (const auto& [name, flag] : OwnFlags()) {
    absl::StrAppend(&text, text.empty() ? "" : " ", Dashed(name), "=", flag->CurrentValue());
  }
  return text;
}

int ExitStatus(const absl::Status& status) {
  if (status.ok()) return 0;
  std::cerr << ToolName() << ": " << OneLine(status.message()) << std::endl;
  return kExitFailed;
}

int UsageError(absl::string_view message) {
  std::cerr << ToolName() << ": " << OneLine(message) << std::endl;
  return kExitUsage;
}

}  // namespace kvp
