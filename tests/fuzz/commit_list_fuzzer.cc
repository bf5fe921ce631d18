// The list of committed traces beside a shard's database (storage/commit_list.h).

#include <cstdint>
#include <memory>

#include "rocksdb/env.h"
#include "storage/commit_list.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static rocksdb::Env* const env = rocksdb::NewMemEnv(rocksdb::Env::Default());
  const rocksdb::Slice input(reinterpret_cast<const char*>(data), size);
  FUZZ_CHECK(rocksdb::WriteStringToFile(env, input, "/shard/commits").ok());
  kvp::CommitList list(env, "/shard");
  const auto contents = list.Read();
  FUZZ_CHECK(contents.ok() && contents->has_value());
  const kvp::CommitList::Contents first = **contents;
  // What was read is written so that it reads the same, without damage.
  FUZZ_CHECK(list.Replace(first.ids).ok());
  const auto again = list.Read();
  FUZZ_CHECK(again.ok() && again->has_value());
  FUZZ_CHECK((*again)->ids == first.ids && (*again)->damaged == 0);
  return 0;
}
