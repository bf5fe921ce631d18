// Job files (launcher/job.h).

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "launcher/job.h"
#include "launcher/job_text.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  // The last line is an override.
  const size_t line = input.rfind('\n');
  const absl::string_view assignment =
      line == absl::string_view::npos ? input : input.substr(line + 1);
  absl::StatusOr<kvp::Job> job = kvp::ParseJob(input, "job.textproto");
  if (!job.ok()) job = kvp::ParseJob(input.substr(0, input.size() - assignment.size()), "job");
  if (!job.ok()) {
    FUZZ_CHECK(!job.status().message().empty());
    return 0;
  }
  kvp::ApplyOverride(assignment, &*job).IgnoreError();
  kvp::ResolveInputPaths("/jobs", &*job);
  kvp::FillDefaults("/here", &*job);
  kvp::ValidateJob(*job, "job.textproto").IgnoreError();
  FUZZ_CHECK(kvp::CanContinue(*job, *job).ok());
  return 0;
}
