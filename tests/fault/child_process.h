// ChildProcess: a program that tests start and kill.

#ifndef KVP_TESTS_FAULT_CHILD_PROCESS_H_
#define KVP_TESTS_FAULT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvp {

// Killed when destroyed. Not thread-safe.
class ChildProcess {
 public:
  // Runs argv[0] (no search in PATH); what it prints is added to file `log`.
  static absl::StatusOr<ChildProcess> Start(std::vector<std::string> argv, const std::string& log);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  // The exit status once it has ended, 128 + signal where a signal ended it.
  std::optional<int> Ended();
  // Sends the signal and waits for the end.
  int Signal(int signal);
  int Wait();

  // Memory that it holds now, and held at most.
  int64_t ResidentBytes() const;
  int64_t PeakResidentBytes() const;

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  int64_t StatusKib(const std::string& field) const;

  pid_t pid_;
  std::optional<int> status_;
};

}  // namespace kvp

#endif  // KVP_TESTS_FAULT_CHILD_PROCESS_H_
