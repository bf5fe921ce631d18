// The JSON lines that tell of every step.

#ifndef KVP_TRAINER_STEP_LOG_H_
#define KVP_TRAINER_STEP_LOG_H_

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace kvp {

// Not thread-safe.
class StepLog {
 public:
  // Begins the file at `path`; where `steps` were done before, lines of steps up to that one stay,
  // and the rest, of steps that will be done again, is dropped. UNAVAILABLE naming the file.
  static absl::StatusOr<std::unique_ptr<StepLog>> Open(const std::string& path, int64_t steps);

  // Adds a line; it must have "step".
  void Add(const nlohmann::json& line);
  // UNAVAILABLE where what was added can't be written.
  absl::Status Flush();

 private:
  explicit StepLog(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::ofstream file_;
};

}  // namespace kvp

#endif  // KVP_TRAINER_STEP_LOG_H_
