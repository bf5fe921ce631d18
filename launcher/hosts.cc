#include "launcher/hosts.h"

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "launcher/command_output.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// SIGTERM makes srun kill its step at once; other signals it passes on, to every process of the
// step. So the step's shell takes SIGUSR1 in the place of SIGTERM.
constexpr char kDrainable[] =
    "trap 'kill -TERM $child' USR1; (trap '' USR1; exec \"$@\") & child=$!; "
    "while :; do wait $child; status=$?; kill -0 $child 2>/dev/null || exit $status; done";

bool IsMpirun(const ProcessSpec& process) { return process.argv[0] == "mpirun"; }

void RunOn(const Host& host, ProcessSpec* process) {
  process->host = host.name;
  process->address = host.address;
  process->stop_signal = SIGUSR1;
  for (std::string& argument : process->argv) {
    if (argument == "--listen=127.0.0.1:0")
      argument = absl::StrCat("--listen=", host.address, ":0");
  }
  const std::vector<std::string> srun = {"srun",       "--overlap",
                                         "--nodes=1",  "--ntasks=1",
                                         "--mpi=none", absl::StrCat("--nodelist=", host.name),
                                         "/bin/sh",    "-c",
                                         kDrainable,   "kvp-step"};
  process->argv.insert(process->argv.begin(), srun.begin(), srun.end());
}

bool IsLoopback(const std::string& address) {
  return absl::StartsWith(address, "127.") || address == "localhost" || address == "[::1]";
}

bool IsNumeric(const std::string& address) {
  return std::all_of(address.begin(), address.end(),
                     [](char c) {
                       return absl::ascii_isxdigit(c) || c == '.' || c == ':' || c == '[' ||
                              c == ']';
                     }) &&
         absl::StrContains(address, address.find(':') == std::string::npos ? "." : ":");
}

}  // namespace

absl::StatusOr<std::vector<Host>> AllocatedHosts() {
  const char* const nodes = std::getenv("SLURM_JOB_NODELIST");
  if (nodes == nullptr) {
    return absl::FailedPreconditionError(
        "SLURM_JOB_NODELIST isn't set: --backend=srun runs in an allocation of Slurm's, which "
        "--backend=slurm asks for");
  }
  ASSIGN_OR_RETURN(const std::string names,
                   CommandOutput({"scontrol", "show", "hostnames", nodes}));
  std::vector<Host> hosts;
  for (const absl::string_view line : absl::StrSplit(names, '\n', absl::SkipWhitespace())) {
    const std::string name(line);
    Host host{name, name};
    ASSIGN_OR_RETURN(const std::string node, CommandOutput({"scontrol", "show", "node", name}));
    for (absl::string_view word : absl::StrSplit(node, absl::ByAnyChar(" \n"))) {
      if (absl::ConsumePrefix(&word, "NodeAddr=")) host.address = std::string(word);
    }
    hosts.push_back(std::move(host));
  }
  return hosts;
}

void PlaceOnHosts(const std::vector<Host>& hosts, Plan* plan) {
  std::vector<Stage*> stages = {&plan->shards};
  for (Stage& stage : plan->stages) stages.push_back(&stage);
  for (Stage* stage : stages) {
    for (size_t i = 0; i < stage->processes.size(); ++i) {
      if (IsMpirun(stage->processes[i])) continue;
      RunOn(hosts[i % hosts.size()], &stage->processes[i]);
    }
  }
}

bool AllLoopback(const std::vector<Host>& hosts) {
  return std::all_of(hosts.begin(), hosts.end(),
                     [](const Host& host) { return IsLoopback(host.address); });
}

absl::Status SecureWithTls(const std::vector<Host>& hosts, const std::string& folder, Plan* plan) {
  RETURN_IF_ERROR(MakeDirectories(folder));
  const auto path = [&](const char* name) { return absl::StrCat(folder, "/", name); };
  const std::vector<std::string> new_key = {"-newkey", "ec", "-pkeyopt",
                                            "ec_paramgen_curve:prime256v1", "-nodes"};
  std::vector<std::string> names;
  for (const Host& host : hosts) {
    names.push_back(absl::StrCat(IsNumeric(host.address) ? "IP:" : "DNS:", host.address));
  }
  std::vector<std::string> authority = {
      "openssl", "req",          "-x509", "-days",       "365", "-subj", "/CN=kvp-job-authority",
      "-keyout", path("ca.key"), "-out",  path("ca.pem")};
  authority.insert(authority.end(), new_key.begin(), new_key.end());
  std::vector<std::string> request = {"openssl", "req",
                                      "-subj",   "/CN=kvp-job",
                                      "-keyout", path("job.key"),
                                      "-out",    path("job.csr"),
                                      "-addext", "subjectAltName=" + absl::StrJoin(names, ",")};
  request.insert(request.end(), new_key.begin(), new_key.end());
  RETURN_IF_ERROR(CommandOutput(authority).status());
  RETURN_IF_ERROR(CommandOutput(request).status());
  RETURN_IF_ERROR(
      CommandOutput({"openssl", "x509", "-req", "-in", path("job.csr"), "-CA", path("ca.pem"),
                     "-CAkey", path("ca.key"), "-CAcreateserial", "-days", "365",
                     "-copy_extensions", "copy", "-out", path("job.pem")})
          .status());
  std::error_code error;
  std::filesystem::remove(path("ca.key"), error);
  std::vector<Stage*> stages = {&plan->shards};
  for (Stage& stage : plan->stages) stages.push_back(&stage);
  for (Stage* stage : stages) {
    for (ProcessSpec& process : stage->processes) {
      process.argv.insert(process.argv.end(),
                          {"--tls-cert=" + path("job.pem"), "--tls-key=" + path("job.key"),
                           "--tls-ca=" + path("ca.pem")});
    }
  }
  return absl::OkStatus();
}

}  // namespace kvp
