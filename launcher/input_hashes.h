// Hashes of the files that a job reads: what makes two runs runs of the same data.

#ifndef KVP_LAUNCHER_INPUT_HASHES_H_
#define KVP_LAUNCHER_INPUT_HASHES_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace kvp {

// Of each input by its path: "sha256 HEX", or for a file of more than 64 MiB, which weights are,
// "SIZE bytes, sha256 HEX of both ends": of its first and its last MiB. Inputs are prompts, texts,
// datasets, agents, and the model's files. UNAVAILABLE or NOT_FOUND, with the path, where one can't
// be read.
absl::StatusOr<std::map<std::string, std::string>> InputHashes(const Job& job);

// FAILED_PRECONDITION naming the first input whose hash is another than it was.
absl::Status CompareInputHashes(const std::map<std::string, std::string>& before,
                                const std::map<std::string, std::string>& now);

}  // namespace kvp

#endif  // KVP_LAUNCHER_INPUT_HASHES_H_
