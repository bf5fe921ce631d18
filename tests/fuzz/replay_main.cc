// The driver of fuzz targets without a fuzzer: runs LLVMFuzzerTestOneInput on every file of the
// folders given, and then on mutations of them, the same ones each time.
//
//   TARGET [-mutations=N] FOLDER_OR_FILE…
//
// Memory is limited, so that a decoder that allocates what an input asks for fails here as it does
// under a fuzzer.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "util/file.h"
#include "util/split_mix64.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace kvp {
namespace {

constexpr uint64_t kSeed = 1;
constexpr size_t kMaxInputBytes = 1 << 16;
constexpr rlim_t kMaxDataBytes = rlim_t{4} << 30;
// Longer than any input should take, on a loaded machine too.
constexpr std::chrono::seconds kMaxTime(20);

void LimitMemory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  rlimit limit;
  if (getrlimit(RLIMIT_DATA, &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, kMaxDataBytes);
  setrlimit(RLIMIT_DATA, &limit);
#endif
}

// Makes inputs out of others by a few small changes.
class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& corpus) : corpus_(corpus), random_(kSeed) {}

  std::string Next() {
    std::string input = Any();
    for (uint64_t i = random_.Below(4) + 1; i > 0; --i) Change(input);
    if (input.size() > kMaxInputBytes) input.resize(kMaxInputBytes);
    return input;
  }

 private:
  const std::string& Any() { return corpus_[random_.Below(corpus_.size())]; }
  size_t Place(const std::string& input) { return random_.Below(input.size() + 1); }

  std::string Part(const std::string& input) {
    const size_t begin = Place(input);
    return input.substr(begin, random_.Below(std::min<size_t>(input.size() - begin, 64) + 1));
  }

  void Change(std::string& input) {
    static constexpr absl::string_view kTexts[] = {
        "0", "-1", "4294967296", "18446744073709551615", "1e308", "null", "\"\"",   "[]",  "{}",
        "[", "}",  "\\u0000",    "\xff\xff\xff\xff",     "\xc3",  "\n",   "\x80\0", "%}{%"};
    const size_t place = Place(input);
    switch (random_.Below(7)) {
      case 0:
        if (place < input.size()) input[place] ^= static_cast<char>(1 << random_.Below(8));
        break;
      case 1:
        if (place < input.size()) input[place] = static_cast<char>(random_.Below(256));
        break;
      case 2:
        input.erase(place, random_.Below(32) + 1);
        break;
      case 3:
        input.insert(place, Part(input));
        break;
      case 4:
        input.insert(place, Part(Any()));
        break;
      case 5: {
        const absl::string_view text = kTexts[random_.Below(std::size(kTexts))];
        input.replace(place, random_.Below(4), text.data(), text.size());
        break;
      }
      default:
        input.resize(place);
    }
  }

  const std::vector<std::string>& corpus_;
  SplitMix64 random_;
};

void RunOne(absl::string_view input, const std::string& name) {
  const auto begin = std::chrono::steady_clock::now();
  // A copy of exactly its size, so that a sanitizer sees what is read outside of it.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  const auto time = std::chrono::steady_clock::now() - begin;
  if (time < kMaxTime) return;
  std::fprintf(stderr, "%s: took %.1f s\n", name.c_str(),
               std::chrono::duration<double>(time).count());
  std::abort();
}

std::vector<std::string> FilesOf(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

int Main(int argc, char** argv) {
  LimitMemory();
  int64_t mutations = 0;
  std::vector<std::string> corpus;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (absl::ConsumePrefix(&argument, "-mutations=")) {
      if (!absl::SimpleAtoi(argument, &mutations)) {
        std::fprintf(stderr, "-mutations=%s: not a number\n", argv[i]);
        return 2;
      }
      continue;
    }
    for (const std::string& file : FilesOf(argv[i])) {
      absl::StatusOr<std::string> input = ReadFile(file);
      if (!input.ok()) {
        std::fprintf(stderr, "%s\n", input.status().ToString().c_str());
        return 1;
      }
      // Named beforehand: what crashes is then the last one.
      std::printf("%s: %zu bytes\n", file.c_str(), input->size());
      std::fflush(stdout);
      RunOne(*input, file);
      corpus.push_back(*std::move(input));
    }
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "no inputs\n");
    return 2;
  }
  Mutator mutator(corpus);
  for (int64_t i = 0; i < mutations; ++i) RunOne(mutator.Next(), "mutation " + std::to_string(i));
  std::printf("%zu inputs and %lld mutations, no finding\n", corpus.size(),
              static_cast<long long>(mutations));
  return 0;
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) { return kvp::Main(argc, argv); }
