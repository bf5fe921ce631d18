#include "llm/bpe_model.h"

#include <functional>
#include <queue>
#include <tuple>

namespace kvp {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// A token of the piece that is being merged, in a doubly linked list over a vector.
struct Symbol {
  int32_t id;
  int previous;
  int next;
};

// A pair that could be merged when it was queued; its symbols may have changed since.
struct Candidate {
  int32_t rank;
  int left;
  int right;
  int32_t left_id;
  int32_t right_id;
  int32_t merged;

  bool operator>(const Candidate& other) const {
    return std::tie(rank, left) > std::tie(other.rank, other.left);
  }
};

}  // namespace

void BpeModel::AddToken(absl::string_view bytes, int32_t id) {
  ids_[std::string(bytes)] = id;
  if (bytes.size() == 1) byte_ids_[static_cast<uint8_t>(bytes[0])] = id;
}

void BpeModel::AddMerge(int32_t left, int32_t right, int32_t rank, int32_t merged) {
  merges_[PairKey(left, right)] = {rank, merged};
}

int32_t BpeModel::IdOf(absl::string_view bytes) const {
  const auto found = ids_.find(bytes);
  return found == ids_.end() ? -1 : found->second;
}

const BpeModel::Merge* BpeModel::Find(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BpeModel::Encode(absl::string_view bytes, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const int32_t id = IdOf(bytes); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  const int size = static_cast<int>(bytes.size());
  std::vector<Symbol> symbols(size);
  for (int i = 0; i < size; ++i) {
    symbols[i] = {byte_ids_[static_cast<uint8_t>(bytes[i])], i - 1, i + 1 < size ? i + 1 : -1};
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<Candidate>> queue;
  const auto offer = [&](int left, int right) {
    if (left < 0 || right < 0) return;
    const Merge* merge = Find(symbols[left].id, symbols[right].id);
    if (merge == nullptr) return;
    queue.push({merge->rank, left, right, symbols[left].id, symbols[right].id, merge->merged});
  };
  for (int i = 0; i + 1 < size; ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.left];
    Symbol& right = symbols[best.right];
    // A symbol that was merged away has id -1; one that grew has another id.
    if (left.id != best.left_id || right.id != best.right_id || left.next != best.right) continue;
    left.id = best.merged;
    left.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = best.left;
    right.id = -1;
    offer(left.previous, best.left);
    offer(best.left, left.next);
  }
  for (int i = 0; i >= 0 && i < size; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace kvp
