// The guard: a parent of the launcher that outlives it, so that nothing of a launch is left however
// the launcher ends.

#ifndef KVP_LAUNCHER_GUARD_H_
#define KVP_LAUNCHER_GUARD_H_

#include "absl/status/status.h"

namespace kvp {

// Forks. Returns in the child, which goes on as the launcher. The parent stays behind as its guard
// and never returns: it passes SIGINT, SIGTERM and SIGHUP on, waits for the launcher, kills every
// descendant that is left, and exits as the launcher did (128 + N where signal N killed it). Where
// the guard itself is killed, the launcher gets SIGTERM.
//
// Call it before threads and children are started. UNAVAILABLE where the kernel refuses.
absl::Status StartGuard();

}  // namespace kvp

#endif  // KVP_LAUNCHER_GUARD_H_
