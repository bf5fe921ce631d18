// Reads the six novels of Jane Austen (public domain) that Debian's package
// r-cran-janeaustenr installs.
//
// The file is an R lazy-load database: chunks of
//   [uncompressed length: 4 bytes, big-endian][zlib stream]
// each of which inflates to one R object in XDR serialization. Every object
// here is a character vector with one line of a novel per element. Chunks
// follow each other without gaps, so the index file (.rdx) isn't needed.

#ifndef KVP_LLM_EMBEDDED_AUSTEN_CORPUS_H_
#define KVP_LLM_EMBEDDED_AUSTEN_CORPUS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// Where the Debian package puts its text.
inline constexpr char kAustenDatabasePath[] = "/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb";

struct Novel {
  // Lower case, for example "pride and prejudice".
  std::string title;
  // Plain ASCII paragraphs on one line each, without chapter headings. Words
  // are separated by exactly one space.
  std::vector<std::string> paragraphs;
};

// Returns the novels in the order of the file (alphabetical by R name).
// NOT_FOUND if there is no such file, DATA_LOSS if it has another form.
absl::StatusOr<std::vector<Novel>> ReadAustenNovels(const std::string& path);

// Decodes the lines of one inflated chunk. Exposed for tests.
absl::StatusOr<std::vector<std::string>> ParseRCharacterVector(absl::string_view serialized);

// Groups a novel's lines into paragraphs. Exposed for tests.
Novel NovelFromLines(const std::vector<std::string>& lines);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_AUSTEN_CORPUS_H_
