// The traces of the fault tests, what writers did with them, and what must then be true of a store.

#ifndef KVP_TESTS_FAULT_FAULT_TRACES_H_
#define KVP_TESTS_FAULT_FAULT_TRACES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "storage/shard.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"

namespace kvp {

// Trace `number` of storage/test_traces.h, from 1: most of a few kilobytes, some of hundreds. Ids
// ascend with the number.
std::vector<HeadBlock> FaultBlocks(uint32_t number);
// Without record.blocks.
TraceRecord FaultRecord(uint32_t number);
absl::Status WriteFaultTrace(TraceWriter& writer, uint32_t number);
// The number of a trace's id, 0 where it is none of these traces'.
uint32_t FaultNumber(const TraceId& id);

// What writers have begun to commit, and what was acknowledged to them. Thread-safe.
class Ledger {
 public:
  void Begin(uint32_t number);
  void Acknowledge(uint32_t number);
  std::set<uint32_t> begun() const;
  std::set<uint32_t> acknowledged() const;

 private:
  mutable absl::Mutex mutex_;
  std::set<uint32_t> begun_ ABSL_GUARDED_BY(mutex_);
  std::set<uint32_t> acknowledged_ ABSL_GUARDED_BY(mutex_);
};

// Adds what the journal of a fault_writer says. OK where there is none yet.
absl::Status ReadJournal(const std::string& path, Ledger* ledger);

// How a store, or a shard, is looked at.
struct StoreView {
  std::function<absl::StatusOr<std::vector<TraceRecord>>()> list;
  // From behind trace `after` on. Blocks that can't be read are DATA_LOSS.
  std::function<absl::Status(HeadId head, std::optional<TraceId> after,
                             const std::function<absl::Status(HeadBlock block)>& consume)>
      read_head;
};
StoreView ViewOf(TraceReader& reader);
StoreView ViewOf(const Shard& shard);

struct Findings {
  int64_t checked = 0;  // traces
  // Acknowledged and not there, or not whole.
  int64_t lost = 0;
  // Other bytes than were written, or twice, or out of order.
  int64_t wrong = 0;
  // There without a commit.
  int64_t uncommitted = 0;
  // The first of them, in words, and errors of the store.
  std::vector<std::string> problems;

  bool ok() const { return lost == 0 && wrong == 0 && uncommitted == 0 && problems.empty(); }
  std::string Text() const;
  void Add(const Findings& other);
};

// Checks that the traces in the store are all those acknowledged and none but those begun, and
// that, from trace `first` on, each is there in every head once and bit by bit. Writers may go on
// meanwhile.
Findings CheckStore(const StoreView& store, const Ledger& ledger, uint32_t first = 1);

// "power cuts: 200 trials, 812 traces acknowledged, 0 lost, 0 wrong, 0 uncommitted but visible".
std::string Summary(const std::string& fault, int64_t trials, int64_t acknowledged,
                    const Findings& findings);

// Of the environment variable KVP_FAULT_TRIALS, which the build sets.
int Trials();

}  // namespace kvp

#endif  // KVP_TESTS_FAULT_FAULT_TRACES_H_
