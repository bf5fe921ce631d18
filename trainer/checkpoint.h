// Checkpoints of a training run: everything that is needed to go on bit for bit, with any number of
// ranks.
//
// A checkpoint is a folder, step-NNNNNNNNNNNN, in the run's checkpoint folder:
//
//   heads-BBBBB-EEEEE.safetensors   for each group of heads [B, E): weights, optimiser, moving
//                                   average and the best evaluation's weights, fp32; how that was
//   manifest.json                   {"content": {"format_version": 1,
//                                                "step": steps done, by which the data position and
//                                                        every random number are determined,
//                                                "settings": {name: text}, which agents depend on,
//                                                "run": what reports go on from,
//                                                "files": {name: {"bytes", "sha256"}}},
//                                    "sha256": of content, as nlohmann::json dumps it}
//
// It is written under another name, synced, and renamed when everything is there: a folder of this
// name is whole, whenever the machine stops. The last two are kept.

#ifndef KVP_TRAINER_CHECKPOINT_H_
#define KVP_TRAINER_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"
#include "trainer/communicator.h"
#include "trainer/named_tensors.h"
#include "util/head_split.h"

namespace kvp {

struct Checkpoint {
  int64_t step = 0;
  std::map<std::string, std::string> settings;
  nlohmann::json run = nlohmann::json::object();
  // Of this rank's groups.
  std::map<int64_t, NamedTensors> groups;  // by first head
};

// All methods are collective. Not thread-safe.
class CheckpointFolder {
 public:
  // `groups` are the groups of this rank; of ranks with the same groups one is to `write` them. The
  // communicator must outlive it.
  CheckpointFolder(std::string dir, std::vector<HeadRange> groups, bool writes,
                   Communicator* communicator);

  // Makes the folder where it isn't there. FAILED_PRECONDITION where it has checkpoints and none is
  // to be loaded: they are some other run's.
  absl::Status Begin(bool loads);

  // The newest checkpoint, or nothing where there is none. One that is damaged is told of, removed,
  // and passed over for the one before; DATA_LOSS where none is whole. FAILED_PRECONDITION, naming
  // the field and both values, where it was made with other `settings`.
  absl::StatusOr<std::optional<Checkpoint>> Load(
      const std::map<std::string, std::string>& settings);

  // Writes a checkpoint, and removes all but the last two. UNAVAILABLE, naming the file, where that
  // fails; those there were are still there then.
  absl::Status Save(const Checkpoint& checkpoint);

 private:
  std::string PathOf(const std::string& name) const;
  absl::StatusOr<Checkpoint> LoadFrom(const std::string& path,
                                      const std::map<std::string, std::string>& settings) const;
  absl::StatusOr<std::string> WriteGroups(const Checkpoint& checkpoint,
                                          const std::string& path) const;

  const std::string dir_;
  const std::vector<HeadRange> groups_;
  const bool writes_;
  Communicator* const communicator_;
};

}  // namespace kvp

#endif  // KVP_TRAINER_CHECKPOINT_H_
