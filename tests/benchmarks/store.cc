#include "tests/benchmarks/store.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::unique_ptr<BenchStore>> BenchStore::Start() {
  std::unique_ptr<BenchStore> store(new BenchStore());
  const char* temporary = std::getenv("TMPDIR");
  std::string folder = absl::StrCat(temporary == nullptr ? "/tmp" : temporary, "/kvp_bench_XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat(folder, ": can't be created"));
  }
  store->folder_ = folder;
  ShardServer::Options options;
  options.shard.dir = folder + "/shard";
  ASSIGN_OR_RETURN(store->server_, ShardServer::Start(std::move(options)));
  return store;
}

BenchStore::~BenchStore() {
  server_.reset();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

absl::StatusOr<std::unique_ptr<TraceWriter>> BenchStore::Writer(const ModelInfo& model) const {
  TraceWriter::Options options;
  options.shards = {server_->address()};
  options.model = model;
  return TraceWriter::Connect(std::move(options));
}

absl::StatusOr<std::unique_ptr<TraceReader>> BenchStore::Reader() const {
  TraceReader::Options options;
  options.shards = {server_->address()};
  return TraceReader::Connect(std::move(options));
}

}  // namespace kvp
