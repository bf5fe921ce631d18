#include "storage/held_block_set.h"

namespace kvp {

HeldBlockSet::HeldBlockSet(const HeldBlocks& held) : trace_id_(held.trace_id()) {
  for (const HeldHead& head : held.heads()) {
    std::vector<int64_t>& ends = ends_[{head.layer(), head.kv_head()}];
    ends.clear();
    int64_t end = 0;
    for (const int32_t tokens : head.tokens()) ends.push_back(end += tokens);
  }
}

bool HeldBlockSet::Contains(const HeadBlockKey& key, int32_t first_token, int32_t tokens) const {
  const auto head = ends_.find({key.head.layer, key.head.kv_head});
  if (head == ends_.end() || key.block < 0) return false;
  const std::vector<int64_t>& ends = head->second;
  const size_t block = static_cast<size_t>(key.block);
  if (block >= ends.size()) return false;
  const int64_t begin = block == 0 ? 0 : ends[block - 1];
  return begin == first_token && ends[block] == int64_t{first_token} + tokens;
}

}  // namespace kvp
