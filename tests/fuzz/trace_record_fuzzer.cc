// Trace records and models (proto/trace.proto): what a shard accepts of them.

#include <cstdint>

#include "google/protobuf/stubs/logging.h"
#include "proto/shard.pb.h"
#include "proto/trace.pb.h"
#include "storage/shard_checks.h"
#include "storage/test_traces.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A line for each text that isn't UTF-8 says nothing here.
  static const auto quiet = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(quiet);
  kvp::TraceRecord record;
  if (!record.ParseFromArray(data, static_cast<int>(size))) return 0;
  kvp::ShardIdentity identity;
  *identity.mutable_model() = kvp::TestModel();
  identity.set_shard_count(1);
  identity.set_head_end(6);
  const bool is_model = kvp::CheckModel(record.model()).ok();
  if (!kvp::CheckRecordFits(record, identity).ok()) return 0;
  FUZZ_CHECK(is_model);
  FUZZ_CHECK(record.trace_id().size() == 16);
  const bool may_be_empty = record.continuation_tokens() == 0 && record.cuts().empty();
  FUZZ_CHECK(record.entries() >= (may_be_empty ? 0 : 1) &&
             record.entries() <= record.token_ids_size());
  FUZZ_CHECK(record.prompt_tokens() >= 0 && record.prompt_tokens() <= record.token_ids_size());
  int32_t before = 0;
  for (const int32_t cut : record.cuts()) {
    FUZZ_CHECK(cut > before && cut <= record.entries());
    before = cut;
  }
  return 0;
}
