#include "llm/added_tokens.h"

#include <algorithm>

#include "llm/utf8.h"

namespace kvp {
namespace {

uint64_t ChildKey(int32_t node, char byte) {
  return uint64_t{static_cast<uint32_t>(node)} << 8 | static_cast<uint8_t>(byte);
}

// Where the white space at the end of `text` begins.
size_t TrailingSpaceBegin(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Character last = LastCharacter(text);
    if (!IsWhiteSpace(last.code_point)) break;
    text.remove_suffix(last.bytes);
  }
  return text.size();
}

size_t LeadingSpaceBytes(absl::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const Utf8Character first = FirstCharacter(text.substr(bytes));
    if (!IsWhiteSpace(first.code_point)) break;
    bytes += first.bytes;
  }
  return bytes;
}

bool IsSingleWord(absl::string_view text, size_t begin, size_t end) {
  const absl::string_view before = text.substr(0, begin);
  const absl::string_view behind = text.substr(end);
  return (before.empty() || !IsWordCharacter(LastCharacter(before).code_point)) &&
         (behind.empty() || !IsWordCharacter(FirstCharacter(behind).code_point));
}

}  // namespace

void AddedTokenFinder::Add(const AddedToken& token, absl::string_view content) {
  if (content.empty()) return;
  begins_token_[static_cast<uint8_t>(content[0])] = true;
  if (token_at_.empty()) token_at_.push_back(-1);
  int32_t node = 0;
  for (const char byte : content) {
    const auto [child, is_new] =
        children_.emplace(ChildKey(node, byte), static_cast<int32_t>(token_at_.size()));
    node = child->second;
    if (is_new) token_at_.push_back(-1);
  }
  token_at_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokenFinder::Match AddedTokenFinder::At(absl::string_view text, size_t begin) const {
  Match longest;
  int32_t node = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto child = children_.find(ChildKey(node, text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (token_at_[node] >= 0) longest = {i + 1, &tokens_[token_at_[node]]};
  }
  return longest;
}

void AddedTokenFinder::Split(absl::string_view text,
                             absl::FunctionRef<void(absl::string_view text)> between,
                             absl::FunctionRef<void(int32_t id)> token) const {
  size_t done = 0;       // text before this has been given out
  size_t space_end = 0;  // of the white space that a token took last
  for (size_t i = 0; !tokens_.empty() && i < text.size();) {
    if (!begins_token_[static_cast<uint8_t>(text[i])]) {
      ++i;
      continue;
    }
    const Match match = At(text, i);
    if (match.token == nullptr) {
      ++i;
      continue;
    }
    size_t begin = i;
    size_t end = match.end;
    i = match.end;
    if (match.token->single_word && !IsSingleWord(text, begin, end)) continue;
    if (match.token->lstrip) {
      begin = begin > done ? done + TrailingSpaceBegin(text.substr(done, begin - done)) : done;
    }
    if (match.token->rstrip) {
      space_end = std::max(space_end, end);
      if (space_end == end) space_end += LeadingSpaceBytes(text.substr(end));
      end = space_end;
    }
    if (begin >= end) continue;
    if (done < begin) between(text.substr(done, begin - done));
    token(match.token->id);
    done = end;
  }
  if (done < text.size()) between(text.substr(done));
}

}  // namespace kvp
