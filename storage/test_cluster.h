// TestCluster: shards in this process, on free ports of the loopback interface, for tests of
// whatever talks to a store.

#ifndef KVP_STORAGE_TEST_CLUSTER_H_
#define KVP_STORAGE_TEST_CLUSTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/shard_server.h"
#include "util/metrics.h"

namespace kvp {

// Owns the servers and a temporary folder with their data, which it removes. Not thread-safe.
class TestCluster {
 public:
  static absl::StatusOr<std::unique_ptr<TestCluster>> Start(int shards);

  ~TestCluster();
  TestCluster(const TestCluster&) = delete;
  TestCluster& operator=(const TestCluster&) = delete;

  // HOST:PORT of each shard, what --shards takes when joined with commas. They stay the same over
  // Stop and Restart.
  const std::vector<std::string>& addresses() const { return addresses_; }
  std::string shards_flag() const;

  // Ends the shard's server, cutting its streams off; its data stays.
  void Stop(int shard);
  // Starts it again on the same port and data.
  absl::Status Restart(int shard);

  // Null while stopped.
  ShardServer* server(int shard) { return servers_[shard].get(); }
  // A series of the shard's metrics, summed over its restarts: "duplicate_blocks_total".
  double Counted(int shard, const std::string& series) const;
  // Where the shard's data is.
  std::string dir(int shard) const;

 private:
  TestCluster() = default;
  absl::StatusOr<std::unique_ptr<ShardServer>> StartShard(int shard, const std::string& listen);

  std::string folder_;
  // End after the servers.
  std::vector<std::unique_ptr<Metrics>> metrics_;
  std::vector<std::unique_ptr<ShardServer>> servers_;
  std::vector<std::string> addresses_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_TEST_CLUSTER_H_
