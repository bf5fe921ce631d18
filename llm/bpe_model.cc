#include "llm/bpe_model.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "llm/byte_fallback.h"
#include "llm/utf8.h"

namespace kvp {
namespace {

// What a BpeEncoder remembers: pieces of at most so many bytes, and so many of them.
constexpr size_t kMaxRememberedBytes = 64;
constexpr size_t kMaxRemembered = 1 << 16;

constexpr int32_t kNoMerge = std::numeric_limits<int32_t>::max();

uint64_t PairKey(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

size_t BpeModel::FirstUnit(absl::string_view text) const {
  return options_.bytes ? 1 : FirstCharacter(text).bytes;
}

int32_t BpeModel::UnitId(absl::string_view unit) const {
  return unit.size() == 1 ? byte_ids_[static_cast<uint8_t>(unit[0])] : IdOf(unit);
}

void BpeModel::AddToken(absl::string_view text, int32_t id) {
  ids_[std::string(text)] = id;
  if (text.size() == 1) byte_ids_[static_cast<uint8_t>(text[0])] = id;
  if (const auto byte = ByteOfFallbackToken(text);
      byte.has_value() && text == FallbackTokenOfByte(*byte)) {
    fallback_ids_[*byte] = id;
  }
}

bool BpeModel::HasFallback(absl::string_view unit) const {
  if (!options_.byte_fallback) return false;
  return std::all_of(unit.begin(), unit.end(),
                     [this](char byte) { return fallback_ids_[static_cast<uint8_t>(byte)] >= 0; });
}

void BpeModel::AddMerge(absl::string_view left, absl::string_view right, int32_t rank) {
  const int32_t left_id = IdOf(left);
  const int32_t right_id = IdOf(right);
  merges_[PairKey(left_id, right_id)] = {rank, IdOf(absl::StrCat(left, right))};
  size_t last_unit = 0;
  for (size_t i = 0; i < left.size(); i += FirstUnit(left.substr(i))) last_unit = i;
  // A token that stands for a byte is a unit itself, beside being the characters "<", "0", ....
  const auto fallback_or = [](absl::string_view token, int32_t id, int32_t otherwise) {
    return ByteOfFallbackToken(token).has_value() ? id : otherwise;
  };
  const int32_t last = UnitId(left.substr(last_unit));
  const int32_t first = UnitId(right.substr(0, FirstUnit(right)));
  for (const int32_t before : {last, fallback_or(left, left_id, last)}) {
    for (const int32_t after : {first, fallback_or(right, right_id, first)}) {
      joints_.insert(PairKey(before, after));
    }
  }
}

int32_t BpeModel::IdOf(absl::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

const BpeModel::Merge* BpeModel::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

bool BpeEncoder::Recall(absl::string_view text, std::vector<int32_t>& ids) const {
  const auto found = remembered_.find(text);
  if (found == remembered_.end()) return false;
  const auto begin = remembered_ids_.begin() + found->second.begin;
  ids.insert(ids.end(), begin, begin + found->second.count);
  return true;
}

void BpeEncoder::Remember(absl::string_view text, const int32_t* ids, size_t count) {
  if (remembered_.size() == kMaxRemembered) return;
  remembered_.emplace(text, Remembered{remembered_ids_.size(), count});
  remembered_ids_.insert(remembered_ids_.end(), ids, ids + count);
}

void BpeEncoder::Encode(absl::string_view piece, std::vector<int32_t>& ids) {
  if (piece.empty()) return;
  const bool is_short = piece.size() <= kMaxRememberedBytes;
  if (is_short && Recall(piece, ids)) return;
  const size_t before = ids.size();
  const int32_t whole = model_.options_.ignore_merges ? model_.IdOf(piece) : -1;
  if (whole >= 0) {
    ids.push_back(whole);
  } else {
    EncodeParts(piece, ids);
  }
  if (is_short) Remember(piece, ids.data() + before, ids.size() - before);
}

void BpeEncoder::EncodeParts(absl::string_view piece, std::vector<int32_t>& ids) {
  const BpeModel::Options& options = model_.options_;
  units_.clear();
  size_t part_begin = 0;
  bool follows_unit = false;  // whether the text directly before is a unit of its own
  bool pending_unknown = false;
  const auto add = [&](int32_t id, size_t begin) {
    if (follows_unit && !model_.joints_.contains(PairKey(units_.back(), id))) {
      EncodePart(piece.substr(part_begin, begin - part_begin), piece, ids);
      part_begin = begin;
    }
    units_.push_back(id);
  };
  const auto add_pending = [&] {
    if (!pending_unknown) return;
    units_.push_back(options.unknown_id);
    pending_unknown = false;
    follows_unit = false;
  };
  for (size_t i = 0; i < piece.size();) {
    const absl::string_view unit = piece.substr(i, model_.FirstUnit(piece.substr(i)));
    if (const int32_t id = model_.UnitId(unit); id >= 0) {
      add_pending();
      add(id, i);
      follows_unit = true;
    } else if (model_.HasFallback(unit)) {
      // An unknown that waits for more of its kind goes behind these, as it does at Hugging Face's.
      for (size_t byte = 0; byte < unit.size(); ++byte) {
        add(model_.fallback_ids_[static_cast<uint8_t>(unit[byte])], i + byte);
        follows_unit = !pending_unknown;
      }
    } else {
      if (options.unknown_id >= 0) {
        if (!options.fuse_unknown) add_pending();
        pending_unknown = true;
      }
      follows_unit = false;
    }
    i += unit.size();
  }
  add_pending();
  EncodePart(piece.substr(part_begin), piece, ids);
}

void BpeEncoder::EncodePart(absl::string_view text, absl::string_view piece,
                            std::vector<int32_t>& ids) {
  // A whole piece has been looked for already.
  const bool remember = text.size() < piece.size() && text.size() <= kMaxRememberedBytes;
  if (units_.size() == 1) {
    ids.push_back(units_[0]);
  } else if (!remember) {
    MergeUnits(ids);
  } else if (!Recall(text, ids)) {
    const size_t before = ids.size();
    MergeUnits(ids);
    Remember(text, ids.data() + before, ids.size() - before);
  }
  units_.clear();
}

// Queues the merge of symbol `left` with the next one. An entry of the queue holds the rank above
// the place, so the smallest is the one to do first; it is out of date where the place's rank has
// changed.
void BpeEncoder::Offer(int32_t left) {
  Symbol& symbol = symbols_[left];
  const BpeModel::Merge* merge =
      symbol.next < 0 ? nullptr : model_.FindMerge(symbol.id, symbols_[symbol.next].id);
  symbol.rank = merge == nullptr ? kNoMerge : merge->rank;
  if (merge == nullptr) return;
  symbol.merged = merge->merged;
  queue_.push_back(PairKey(symbol.rank, left));
}

void BpeEncoder::MergeUnits(std::vector<int32_t>& ids) {
  if (units_.empty()) return;
  const int32_t count = static_cast<int32_t>(units_.size());
  symbols_.resize(count);
  queue_.clear();
  for (int32_t i = 0; i < count; ++i) {
    symbols_[i] = {units_[i], i - 1, i + 1 < count ? i + 1 : -1, kNoMerge, -1};
  }
  for (int32_t i = 0; i + 1 < count; ++i) Offer(i);
  const auto later = std::greater<uint64_t>();
  std::make_heap(queue_.begin(), queue_.end(), later);
  const auto offer_again = [&](int32_t left) {
    const size_t size = queue_.size();
    Offer(left);
    if (queue_.size() > size) std::push_heap(queue_.begin(), queue_.end(), later);
  };
  while (!queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end(), later);
    const uint64_t best = queue_.back();
    queue_.pop_back();
    const int32_t place = static_cast<int32_t>(best & 0xFFFFFFFF);
    Symbol& left = symbols_[place];
    if (left.rank != static_cast<int32_t>(best >> 32)) continue;
    Symbol& right = symbols_[left.next];
    left.id = left.merged;
    left.next = right.next;
    if (right.next >= 0) symbols_[right.next].previous = place;
    right.rank = kNoMerge;
    if (left.previous >= 0) offer_again(left.previous);
    offer_again(place);
  }
  for (int32_t i = 0; i >= 0; i = symbols_[i].next) ids.push_back(symbols_[i].id);
}

}  // namespace kvp
