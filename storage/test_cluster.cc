#include "storage/test_cluster.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/shard_metrics.h"
#include "util/metrics_testing.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<std::unique_ptr<TestCluster>> TestCluster::Start(int shards) {
  std::unique_ptr<TestCluster> cluster(new TestCluster());
  const char* test_folder = std::getenv("TEST_TMPDIR");
  std::string folder =
      absl::StrCat(test_folder != nullptr ? test_folder : "/tmp", "/test_cluster_XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat(folder, " can't be created"));
  }
  cluster->folder_ = folder;
  cluster->servers_.resize(shards);
  for (int i = 0; i < shards; ++i) {
    cluster->metrics_.push_back(std::make_unique<Metrics>());
    ASSIGN_OR_RETURN(cluster->servers_[i], cluster->StartShard(i, "127.0.0.1:0"));
    cluster->addresses_.push_back(cluster->servers_[i]->address());
  }
  return cluster;
}

TestCluster::~TestCluster() {
  servers_.clear();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

std::string TestCluster::shards_flag() const { return absl::StrJoin(addresses_, ","); }

void TestCluster::Stop(int shard) { servers_[shard].reset(); }

absl::Status TestCluster::Restart(int shard) {
  servers_[shard].reset();
  ASSIGN_OR_RETURN(servers_[shard], StartShard(shard, addresses_[shard]));
  return absl::OkStatus();
}

double TestCluster::Counted(int shard, const std::string& series) const {
  return SeriesValue(metrics_[shard]->Text(), absl::StrCat("kvp_shard_", series)).value_or(-1);
}

std::string TestCluster::dir(int shard) const { return absl::StrCat(folder_, "/shard", shard); }

absl::StatusOr<std::unique_ptr<ShardServer>> TestCluster::StartShard(int shard,
                                                                     const std::string& listen) {
  ShardServer::Options options;
  options.listen = listen;
  options.shard.dir = dir(shard);
  options.shard.shard_index = shard;
  options.shard.metrics = ShardMetrics::In(*metrics_[shard]);
  options.shard.shard_count = static_cast<int>(servers_.size());
  return ShardServer::Start(std::move(options));
}

}  // namespace kvp
