// Hosts: where a plan's processes run when that is several machines.

#ifndef KVP_LAUNCHER_HOSTS_H_
#define KVP_LAUNCHER_HOSTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/plan.h"

namespace kvp {

struct Host {
  std::string name;
  // By which the others reach it.
  std::string address;
};

// The nodes of the Slurm allocation that this process is in, as `scontrol` tells them.
// FAILED_PRECONDITION outside of one.
absl::StatusOr<std::vector<Host>> AllocatedHosts();

// Shares a plan's processes out over the allocation's nodes, in turn, as steps of it (srun): shard
// I and collector I are on host I modulo their number. Trainers of several ranks stay one mpirun
// here, which knows of the allocation by itself.
void PlaceOnHosts(const std::vector<Host>& hosts, Plan* plan);

// Whether all are this machine's loopback device, where no TLS is needed.
bool AllLoopback(const std::vector<Host>& hosts);

// Makes an authority and one certificate for all hosts in `folder`, by the `openssl` command, and
// gives every process of the plan the flags that take them. The authority's key is removed.
absl::Status SecureWithTls(const std::vector<Host>& hosts, const std::string& folder, Plan* plan);

}  // namespace kvp

#endif  // KVP_LAUNCHER_HOSTS_H_
