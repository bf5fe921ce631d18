// HeldBlockSet: the blocks of a trace that a shard has told a writer it holds.

#ifndef KVP_STORAGE_HELD_BLOCK_SET_H_
#define KVP_STORAGE_HELD_BLOCK_SET_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "proto/shard.pb.h"
#include "storage/head_block.h"

namespace kvp {

class HeldBlockSet {
 public:
  explicit HeldBlockSet(const HeldBlocks& held);

  // As in the message.
  absl::string_view trace_id() const { return trace_id_; }
  // Whether a block of this trace with this number in its head is held, with these very tokens.
  bool Contains(const HeadBlockKey& key, int32_t first_token, int32_t tokens) const;

 private:
  std::string trace_id_;
  // Of each (layer, KV head): the token behind each of blocks 0, 1, …
  absl::flat_hash_map<std::pair<int32_t, int32_t>, std::vector<int64_t>> ends_;
};

}  // namespace kvp

#endif  // KVP_STORAGE_HELD_BLOCK_SET_H_
