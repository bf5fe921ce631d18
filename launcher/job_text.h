// The job file's text: parsed with errors that say where, overridden field by field, defaults made
// explicit.

#ifndef KVP_LAUNCHER_JOB_TEXT_H_
#define KVP_LAUNCHER_JOB_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "proto/job.pb.h"

namespace kvp {

// Protobuf text format. INVALID_ARGUMENT "FILE:LINE:COLUMN: field "x": …" on malformed text or an
// unknown field.
absl::StatusOr<Job> ParseJob(absl::string_view text, const std::string& file);

// Sets one field: PATH=VALUE, with PATH as in "trainers.steps", "datasets[0].generated.count" or
// "evaluation.budgets" (a repeated scalar takes a comma-separated list, which replaces what was
// there). An empty VALUE clears the field or section. INVALID_ARGUMENT naming the path's part that
// isn't there, or the value that the field can't hold.
absl::Status ApplyOverride(absl::string_view assignment, Job* job);

// Sets every scalar field that the schema gives a default and that isn't set, in `message` and in
// the messages that are present in it.
void SetDefaultValues(google::protobuf::Message* message);

}  // namespace kvp

#endif  // KVP_LAUNCHER_JOB_TEXT_H_
