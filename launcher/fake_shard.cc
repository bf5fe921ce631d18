// Stands in for `kvp serve` in the launcher's tests: a server that answers health checks, and does
// nothing else. SIGUSR1 makes it say that it doesn't serve.

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "util/file.h"

ABSL_FLAG(std::string, dir, "", "");
ABSL_FLAG(std::string, listen, "127.0.0.1:0", "");
ABSL_FLAG(int, shard_index, 0, "");
ABSL_FLAG(int, shard_count, 1, "");
ABSL_FLAG(std::string, port_file, "", "");

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    // absl's flags have underscores.
    const std::string argument = argv[i];
    for (size_t j = 2; j < argument.size() && argument[j] != '='; ++j) {
      if (argv[i][j] == '-') argv[i][j] = '_';
    }
  }
  absl::ParseCommandLine(argc, argv);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  grpc::EnableDefaultHealthCheckService(true);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::GetFlag(FLAGS_listen), grpc::InsecureServerCredentials(), &port);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 1;
  const std::string pid_file = absl::StrCat("shard-", absl::GetFlag(FLAGS_shard_index), ".pid");
  if (!kvp::WriteFileAtomically(pid_file, {absl::StrCat(getpid(), "\n")}).ok() ||
      !kvp::WriteFileAtomically(absl::GetFlag(FLAGS_port_file), {absl::StrCat(port, "\n")}).ok()) {
    return 1;
  }
  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal == SIGUSR1) {
    server->GetHealthCheckService()->SetServingStatus(false);
  }
  std::cout << "drained" << std::endl;
  return 0;
}
