#include "llm/embedded/austen_corpus.h"

#include <zlib.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// R's SEXP type codes, in the low byte of an item's flags.
constexpr uint32_t kCharType = 9;
constexpr uint32_t kStringVectorType = 16;
// A chunk that claims more than this is not one of the novels (the longest is
// about 1 MB).
constexpr uint32_t kMaxChunkBytes = 64 << 20;

uint32_t ReadBigEndian32(absl::string_view bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

// Takes 32-bit big-endian words and strings off the front of a buffer.
class XdrReader {
 public:
  explicit XdrReader(absl::string_view bytes) : rest_(bytes) {}

  bool Skip(size_t size) {
    if (rest_.size() < size) return false;
    rest_.remove_prefix(size);
    return true;
  }
  bool ReadWord(uint32_t* value) {
    if (rest_.size() < 4) return false;
    *value = ReadBigEndian32(rest_);
    rest_.remove_prefix(4);
    return true;
  }
  bool ReadBytes(size_t size, std::string* value) {
    if (rest_.size() < size) return false;
    value->assign(rest_.data(), size);
    rest_.remove_prefix(size);
    return true;
  }

 private:
  absl::string_view rest_;
};

// Inflates the zlib stream at the front of `bytes`; sets `consumed` to its
// compressed size.
absl::StatusOr<std::string> Inflate(absl::string_view bytes, uint32_t inflated_bytes,
                                    size_t* consumed) {
  std::string result(inflated_bytes, '\0');
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) {
    return absl::InternalError("zlib cannot be initialised");
  }
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = bytes.size();
  stream.next_out = reinterpret_cast<Bytef*>(&result[0]);
  stream.avail_out = result.size();
  const int code = inflate(&stream, Z_FINISH);
  *consumed = stream.total_in;
  const bool complete = code == Z_STREAM_END && stream.total_out == inflated_bytes;
  inflateEnd(&stream);
  if (!complete) return absl::DataLossError("damaged zlib stream");
  return result;
}

// Headings such as "CHAPTER XII" or "VOLUME II".
bool IsHeading(absl::string_view line) {
  const std::string lower = absl::AsciiStrToLower(line);
  return line.size() < 30 && (lower.rfind("chapter", 0) == 0 || lower.rfind("volume", 0) == 0);
}

// Appends `line` to `paragraph` as single-spaced ASCII. Underscores (the
// source's italics) and bytes outside ASCII are dropped: the few accented
// letters would otherwise become tokens that are never seen often enough.
void AppendNormalized(absl::string_view line, std::string* paragraph) {
  bool space = !paragraph->empty();
  for (char c : line) {
    if (absl::ascii_isspace(c)) {
      space = !paragraph->empty();
    } else if (c != '_' && absl::ascii_isprint(c)) {
      if (space) paragraph->push_back(' ');
      space = false;
      paragraph->push_back(c);
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseRCharacterVector(absl::string_view serialized) {
  const absl::Status malformed = absl::DataLossError("not an XDR-serialized R character vector");
  XdrReader reader(serialized);
  std::string magic;
  uint32_t version, encoding_bytes, flags, size;
  // "X\n", the format version, the R versions that wrote it and can read it.
  if (!reader.ReadBytes(2, &magic) || magic != "X\n" || !reader.ReadWord(&version) ||
      !reader.Skip(8)) {
    return malformed;
  }
  // Version 3 adds the name of the native encoding.
  if (version == 3 && (!reader.ReadWord(&encoding_bytes) || !reader.Skip(encoding_bytes))) {
    return malformed;
  }
  if (!reader.ReadWord(&flags) || (flags & 0xff) != kStringVectorType || !reader.ReadWord(&size) ||
      size > serialized.size() / 8) {
    return malformed;
  }
  std::vector<std::string> strings(size);
  for (std::string& text : strings) {
    uint32_t bytes;
    if (!reader.ReadWord(&flags) || (flags & 0xff) != kCharType || !reader.ReadWord(&bytes) ||
        !reader.ReadBytes(bytes, &text)) {
      return malformed;
    }
  }
  return strings;
}

Novel NovelFromLines(const std::vector<std::string>& lines) {
  Novel novel;
  bool in_body = false;
  std::string paragraph;
  const auto finish_paragraph = [&] {
    if (in_body && !paragraph.empty()) novel.paragraphs.push_back(paragraph);
    paragraph.clear();
  };
  for (const std::string& line : lines) {
    const absl::string_view stripped = absl::StripAsciiWhitespace(line);
    if (novel.title.empty()) novel.title = absl::AsciiStrToLower(stripped);
    if (IsHeading(stripped)) {
      finish_paragraph();
      in_body = true;
    } else if (stripped.empty()) {
      finish_paragraph();
    } else {
      AppendNormalized(stripped, &paragraph);
    }
  }
  finish_paragraph();
  return novel;
}

absl::StatusOr<std::vector<Novel>> ReadAustenNovels(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const auto damaged = [&path](size_t offset, absl::string_view what) {
    return absl::DataLossError(absl::StrCat(path, ": chunk at byte ", offset, ": ", what));
  };

  std::vector<Novel> novels;
  for (size_t offset = 0; offset < bytes.size();) {
    const absl::string_view rest = absl::string_view(bytes).substr(offset);
    if (rest.size() < 4) return damaged(offset, "truncated length");
    const uint32_t inflated_bytes = ReadBigEndian32(rest);
    if (inflated_bytes > kMaxChunkBytes) return damaged(offset, "too long");
    size_t consumed = 0;
    const absl::StatusOr<std::string> chunk = Inflate(rest.substr(4), inflated_bytes, &consumed);
    if (!chunk.ok()) return damaged(offset, chunk.status().message());
    absl::StatusOr<std::vector<std::string>> lines = ParseRCharacterVector(*chunk);
    if (!lines.ok()) return damaged(offset, lines.status().message());
    novels.push_back(NovelFromLines(*lines));
    offset += 4 + consumed;
  }
  return novels;
}

}  // namespace kvp
