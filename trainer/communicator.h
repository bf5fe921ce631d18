// What the ranks of a training run say to each other. All methods are collective: every rank calls
// them, in the same order.

#ifndef KVP_TRAINER_COMMUNICATOR_H_
#define KVP_TRAINER_COMMUNICATOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace kvp {

// Not thread-safe. Calls block until every rank has made them; a rank that dies ends all (MPI's
// default).
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Element by element the smallest value of all ranks, whose vectors are of one length.
  virtual std::vector<uint8_t> Minimum(std::vector<uint8_t> values) = 0;

  // Rank 0 gets every rank's bytes, by rank, of any length; the others get nothing.
  virtual std::vector<std::string> Gather(absl::string_view bytes) = 0;

  // Rank 0's bytes, on every rank.
  virtual std::string Broadcast(absl::string_view bytes) = 0;

  // Element by element the sum over all ranks, in place, on every rank the same bits.
  virtual void Sum(absl::Span<float> values) = 0;
  virtual void Sum(absl::Span<double> values) = 0;

  // This rank's number among those on its machine, and how many those are.
  virtual int machine_rank() const = 0;
  virtual int machine_size() const = 0;

  // The ranks that pass the same `color`, in their order: to be destroyed before this one.
  virtual std::unique_ptr<Communicator> Split(int color) = 0;

  // The first rank's status that isn't OK, on every rank: so that all go on, or all end with the
  // same message.
  absl::Status Agree(const absl::Status& status);
};

// Alone: rank 0 of 1.
std::unique_ptr<Communicator> NewSingleCommunicator();

}  // namespace kvp

#endif  // KVP_TRAINER_COMMUNICATOR_H_
