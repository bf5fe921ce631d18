// A trace store of one shard, for a measurement.

#ifndef KVP_TESTS_BENCHMARKS_STORE_H_
#define KVP_TESTS_BENCHMARKS_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "proto/trace.pb.h"
#include "storage/shard_server.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"

namespace kvp {

// Owns the server, in this process, and a new folder with its data, which it removes.
class BenchStore {
 public:
  // In the folder TMPDIR, or /tmp. UNAVAILABLE where it can't be written.
  static absl::StatusOr<std::unique_ptr<BenchStore>> Start();
  ~BenchStore();
  BenchStore(const BenchStore&) = delete;
  BenchStore& operator=(const BenchStore&) = delete;

  absl::StatusOr<std::unique_ptr<TraceWriter>> Writer(const ModelInfo& model) const;
  absl::StatusOr<std::unique_ptr<TraceReader>> Reader() const;

  // HOST:PORT of the server.
  std::string address() const { return server_->address(); }
  // The folder, for what a measurement writes beside the data.
  const std::string& folder() const { return folder_; }

 private:
  BenchStore() = default;

  std::string folder_;
  std::unique_ptr<ShardServer> server_;
};

}  // namespace kvp

#endif  // KVP_TESTS_BENCHMARKS_STORE_H_
