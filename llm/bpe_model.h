// Byte-pair encoding: bytes to token ids by ranked merges.

#ifndef KVP_LLM_BPE_MODEL_H_
#define KVP_LLM_BPE_MODEL_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace kvp {

// Filled once, by the tokenizer's loader; then immutable and thread-safe.
class BpeModel {
 public:
  // Says that `bytes` is token `id`. The 256 single bytes must all be there before Encode.
  void AddToken(absl::string_view bytes, int32_t id);
  // Says that token `left` before token `right` merges into token `merged`; of several merges that
  // are possible, the one of the lowest rank is done first. Later calls for the same pair win.
  void AddMerge(int32_t left, int32_t right, int32_t rank, int32_t merged);
  // Whether text that is a token as a whole becomes it, without regard to merges.
  void set_ignore_merges(bool ignore_merges) { ignore_merges_ = ignore_merges; }

  // The id, or -1.
  int32_t IdOf(absl::string_view bytes) const;

  // Appends the ids of one piece of text. Starting from single bytes, merges the adjacent pair of
  // the lowest rank, the leftmost of equals, until none can be merged, in O(n log n).
  void Encode(absl::string_view bytes, std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    int32_t rank;
    int32_t merged;
  };
  // Null where the pair doesn't merge.
  const Merge* Find(int32_t left, int32_t right) const;

  absl::flat_hash_map<std::string, int32_t> ids_;
  std::array<int32_t, 256> byte_ids_{};
  absl::flat_hash_map<uint64_t, Merge> merges_;
  bool ignore_merges_ = false;
};

}  // namespace kvp

#endif  // KVP_LLM_BPE_MODEL_H_
