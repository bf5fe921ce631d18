// Byte-pair encoding: text to token ids by ranked merges.

#ifndef KVP_LLM_BPE_MODEL_H_
#define KVP_LLM_BPE_MODEL_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace kvp {

// Filled once, by the tokenizer's loader; then immutable and thread-safe.
class BpeModel {
 public:
  struct Options {
    // What merging starts from: the bytes of a text (GPT-2's kind), else its characters
    // (SentencePiece's kind).
    bool bytes = true;
    // Whether text that is a token as a whole becomes it, without regard to merges.
    bool ignore_merges = false;
    // For characters that aren't in the vocabulary: first the tokens of their bytes, <0x00> to
    // <0xFF>, where the vocabulary has them all; else unknown_id, once for several in a row with
    // fuse_unknown; else nothing.
    bool byte_fallback = false;
    bool fuse_unknown = false;
    int32_t unknown_id = -1;
  };

  BpeModel() : BpeModel(Options()) {}
  explicit BpeModel(const Options& options) : options_(options) {
    byte_ids_.fill(-1);
    fallback_ids_.fill(-1);
  }

  // Says that `text`, which isn't empty, is token `id`. With `bytes`, the 256 single bytes must all
  // be there before any text is encoded.
  void AddToken(absl::string_view text, int32_t id);
  // Says that the token of `left` before that of `right` merges into that of both; of several
  // merges that are possible, the one of the lowest rank is done first. Of several ranks for a
  // pair, the last counts. All three must have been added.
  void AddMerge(absl::string_view left, absl::string_view right, int32_t rank);

  // The id, or -1.
  int32_t IdOf(absl::string_view text) const;

 private:
  friend class BpeEncoder;

  struct Merge {
    int32_t rank;
    int32_t merged;
  };
  // Null where the pair doesn't merge.
  const Merge* FindMerge(int32_t left, int32_t right) const;
  // Bytes of the unit, byte or character, that `text` begins with.
  size_t FirstUnit(absl::string_view text) const;
  // Whether every byte of `unit` has a token to fall back to.
  bool HasFallback(absl::string_view unit) const;
  // The id of a unit, or -1.
  int32_t UnitId(absl::string_view unit) const;

  Options options_;
  absl::flat_hash_map<std::string, int32_t> ids_;
  std::array<int32_t, 256> byte_ids_;      // of one-byte tokens
  std::array<int32_t, 256> fallback_ids_;  // of <0x00> to <0xFF>
  absl::flat_hash_map<uint64_t, Merge> merges_;
  // Pairs of units that some merge joins: between any two others, text can be cut without changing
  // its tokens.
  absl::flat_hash_set<uint64_t> joints_;
};

// Encodes the pieces of one text: remembers the tokens of short pieces, so that a word that comes
// again is merged once. The model must outlive it. Not thread-safe.
class BpeEncoder {
 public:
  explicit BpeEncoder(const BpeModel& model) : model_(model) {}

  // Appends the ids of one piece of text. Starting from single units, merges the adjacent pair of
  // the lowest rank, the leftmost of equals, until none can be merged, in O(n log n).
  void Encode(absl::string_view piece, std::vector<int32_t>& ids);

 private:
  // Where tokens begin that are being merged, in a doubly linked list over a vector.
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
    int32_t rank;  // of the merge with `next`
    int32_t merged;
  };
  struct Remembered {
    size_t begin;
    size_t count;
  };

  bool Recall(absl::string_view text, std::vector<int32_t>& ids) const;
  void Remember(absl::string_view text, const int32_t* ids, size_t count);
  // Cuts a piece where no merge reaches across, and encodes part by part.
  void EncodeParts(absl::string_view piece, std::vector<int32_t>& ids);
  // Appends the ids of units_, which are those of `text` in `piece`, and empties them.
  void EncodePart(absl::string_view text, absl::string_view piece, std::vector<int32_t>& ids);
  void MergeUnits(std::vector<int32_t>& ids);
  void Offer(int32_t left);

  const BpeModel& model_;
  absl::flat_hash_map<std::string, Remembered> remembered_;
  std::vector<int32_t> remembered_ids_;
  // Scratch.
  std::vector<int32_t> units_;  // ids, of the part at hand
  std::vector<Symbol> symbols_;
  std::vector<uint64_t> queue_;
};

}  // namespace kvp

#endif  // KVP_LLM_BPE_MODEL_H_
