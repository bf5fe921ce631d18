#include "tests/fault/fault_traces.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "storage/test_traces.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int32_t kBlockTokens = 64;
constexpr size_t kNamedProblems = 10;
// Traces whose expected bytes are held at a time.
constexpr size_t kWindow = 64;

int32_t TokensOf(uint32_t number) {
  if (number % 8 == 0) return 800;
  return number % 2 == 0 ? 200 : 40;
}

int32_t BlocksOf(uint32_t number) {
  const ModelInfo model = TestModel();
  return model.layers() * model.kv_heads() * ((TokensOf(number) + kBlockTokens - 1) / kBlockTokens);
}

// Bytes that say everything of a block.
std::string Encoded(const HeadBlock& block) {
  return EncodeHeadBlock(block).value_or("not to be encoded");
}

// Looks at the traces numbers[begin, end) of a store.
class WindowCheck {
 public:
  WindowCheck(const StoreView& store, const std::vector<uint32_t>& numbers, size_t begin,
              size_t end)
      : store_(store), numbers_(numbers), begin_(begin), end_(end) {}

  // Adds to what was found, and to the numbers seen that aren't among `numbers`.
  void Run(Findings* findings, std::set<uint32_t>* others) {
    const ModelInfo model = TestModel();
    std::map<uint32_t, std::vector<HeadBlock>> expected;
    for (size_t i = begin_; i < end_; ++i) expected[numbers_[i]] = FaultBlocks(numbers_[i]);
    for (int64_t index = 0; index < int64_t{model.layers()} * model.kv_heads(); ++index) {
      RunHead(HeadId::FromIndex(index, model.kv_heads()), expected, findings, others);
    }
  }

 private:
  void RunHead(HeadId head, const std::map<uint32_t, std::vector<HeadBlock>>& expected,
               Findings* findings, std::set<uint32_t>* others) {
    std::map<uint32_t, std::vector<std::string>> got;
    uint32_t last = begin_ == 0 ? 0 : numbers_[begin_ - 1];
    const std::optional<TraceId> after =
        last == 0 ? std::nullopt : std::optional<TraceId>(TestTraceId(last));
    const absl::Status status =
        store_.read_head(head, after, [&](const HeadBlock& block) -> absl::Status {
          const uint32_t number = FaultNumber(block.key.trace_id);
          // What follows belongs to the next window.
          if (end_ < numbers_.size() && number >= numbers_[end_]) {
            return absl::AbortedError("window's end");
          }
          if (number < last) {
            ++findings->wrong;
            findings->problems.push_back(
                absl::StrCat(HeadBlockKeyText(block.key), " comes after trace ", last));
          }
          last = number;
          if (expected.count(number) == 0) {
            others->insert(number);
          } else {
            got[number].push_back(Encoded(block));
          }
          return absl::OkStatus();
        });
    // A shard that no writer has greeted yet has no heads.
    const bool none_yet = absl::IsNotFound(status) && numbers_.empty();
    if (!status.ok() && !absl::IsAborted(status) && !none_yet) {
      findings->problems.push_back(
          absl::StrCat("layer ", head.layer, " kv_head ", head.kv_head, ": ", status.ToString()));
    }
    for (const auto& [number, blocks] : expected) {
      std::vector<std::string> wanted;
      for (const HeadBlock& block : blocks) {
        if (block.key.head == head) wanted.push_back(Encoded(block));
      }
      const std::vector<std::string>& here = got[number];
      if (here == wanted) continue;
      const bool part = here.size() < wanted.size();
      ++(part ? findings->lost : findings->wrong);
      findings->problems.push_back(absl::StrCat(
          "trace ", number, " layer ", head.layer, " kv_head ", head.kv_head, ": ", here.size(),
          " blocks where ", wanted.size(), " were written", part ? "" : ", or other bytes"));
    }
  }

  const StoreView& store_;
  const std::vector<uint32_t>& numbers_;
  const size_t begin_;
  const size_t end_;
};

}  // namespace

std::vector<HeadBlock> FaultBlocks(uint32_t number) {
  return TestBlocks(number, TokensOf(number), kBlockTokens);
}

TraceRecord FaultRecord(uint32_t number) { return TestRecord(number, TokensOf(number), "train"); }

absl::Status WriteFaultTrace(TraceWriter& writer, uint32_t number) {
  return WriteTestTrace(writer, number, TokensOf(number), kBlockTokens, "train");
}

uint32_t FaultNumber(const TraceId& id) {
  uint32_t number = 0;
  for (int i = 0; i < 4; ++i) number = number << 8 | id[i];
  return TestTraceId(number) == id ? number : 0;
}

void Ledger::Begin(uint32_t number) {
  absl::MutexLock lock(&mutex_);
  begun_.insert(number);
}

void Ledger::Acknowledge(uint32_t number) {
  absl::MutexLock lock(&mutex_);
  acknowledged_.insert(number);
}

std::set<uint32_t> Ledger::begun() const {
  absl::MutexLock lock(&mutex_);
  return begun_;
}

std::set<uint32_t> Ledger::acknowledged() const {
  absl::MutexLock lock(&mutex_);
  return acknowledged_;
}

absl::Status ReadJournal(const std::string& path, Ledger* ledger) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> words = absl::StrSplit(line, ' ');
    uint32_t number = 0;
    if (!absl::SimpleAtoi(words.second, &number)) {
      return absl::DataLossError(absl::StrCat(path, ": \"", line, "\""));
    }
    ledger->Begin(number);
    if (words.first == "done") ledger->Acknowledge(number);
  }
  return absl::OkStatus();
}

StoreView ViewOf(TraceReader& reader) {
  StoreView view;
  view.list = [&reader] { return reader.ListTraces(""); };
  view.read_head = [&reader](HeadId head, std::optional<TraceId> after,
                             const std::function<absl::Status(HeadBlock block)>& consume) {
    TraceReader::HeadRead read;
    read.head = head;
    read.after = after;
    const absl::StatusOr<TraceReader::ReadResult> result = reader.ReadHead(read, consume);
    if (!result.ok()) return result.status();
    if (result->corrupt_blocks == 0) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(result->corrupt_blocks, " corrupt blocks"));
  };
  return view;
}

StoreView ViewOf(const Shard& shard) {
  StoreView view;
  view.list = [&shard]() -> absl::StatusOr<std::vector<TraceRecord>> {
    std::vector<TraceRecord> records;
    RETURN_IF_ERROR(shard.List("", [&](TraceRecord record) {
      records.push_back(std::move(record));
      return absl::OkStatus();
    }));
    return records;
  };
  view.read_head = [&shard](HeadId head, std::optional<TraceId> after,
                            const std::function<absl::Status(HeadBlock block)>& consume) {
    Shard::ScanOptions options;
    if (after.has_value()) options.after = HeadBlockKey{head, *after, INT32_MAX};
    return shard.ScanHead(head, options,
                          [&](const HeadBlockKey& key,
                              const absl::StatusOr<absl::string_view>& encoded) -> absl::Status {
                            if (!encoded.ok()) {
                              return absl::DataLossError(absl::StrCat(HeadBlockKeyText(key), ": ",
                                                                      encoded.status().message()));
                            }
                            ASSIGN_OR_RETURN(HeadBlock block, DecodeHeadBlock(*encoded));
                            return consume(std::move(block));
                          });
  };
  return view;
}

std::string Findings::Text() const {
  std::vector<std::string> lines(problems.begin(),
                                 problems.begin() + std::min(problems.size(), kNamedProblems));
  if (lines.size() < problems.size()) lines.push_back("…");
  return absl::StrCat(lost, " lost, ", wrong, " wrong, ", uncommitted,
                      " uncommitted but visible\n  ", absl::StrJoin(lines, "\n  "));
}

void Findings::Add(const Findings& other) {
  checked += other.checked;
  lost += other.lost;
  wrong += other.wrong;
  uncommitted += other.uncommitted;
  problems.insert(problems.end(), other.problems.begin(), other.problems.end());
}

Findings CheckStore(const StoreView& store, const Ledger& ledger, uint32_t first) {
  Findings findings;
  const std::set<uint32_t> acknowledged = ledger.acknowledged();
  const absl::StatusOr<std::vector<TraceRecord>> records = store.list();
  if (!records.ok()) {
    findings.problems.push_back(records.status().ToString());
    return findings;
  }
  std::vector<uint32_t> there;
  for (const TraceRecord& record : *records) {
    const absl::StatusOr<TraceId> id = TraceIdFromBytes(record.trace_id());
    const uint32_t number = id.ok() ? FaultNumber(*id) : 0;
    TraceRecord expected = FaultRecord(number);
    expected.set_blocks(BlocksOf(number));
    if (number == 0 || record.SerializeAsString() != expected.SerializeAsString() ||
        (!there.empty() && number <= there.back())) {
      ++findings.wrong;
      findings.problems.push_back(absl::StrCat("record of trace ", number, " is wrong"));
      continue;
    }
    there.push_back(number);
  }
  for (const uint32_t number : acknowledged) {
    if (std::binary_search(there.begin(), there.end(), number)) continue;
    ++findings.lost;
    findings.problems.push_back(absl::StrCat("trace ", number, " isn't listed"));
  }
  std::set<uint32_t> seen(there.begin(), there.end());
  const size_t skipped = std::lower_bound(there.begin(), there.end(), first) - there.begin();
  // Also where there is nothing to look for: it may hold what it shouldn't.
  for (size_t begin = skipped; begin == skipped || begin < there.size(); begin += kWindow) {
    WindowCheck(store, there, begin, std::min(begin + kWindow, there.size())).Run(&findings, &seen);
  }
  findings.checked = static_cast<int64_t>(there.size() - skipped);
  const std::set<uint32_t> begun = ledger.begun();
  for (const uint32_t number : seen) {
    if (begun.count(number) > 0) continue;
    ++findings.uncommitted;
    findings.problems.push_back(absl::StrCat("trace ", number, " is visible without a commit"));
  }
  return findings;
}

std::string Summary(const std::string& fault, int64_t trials, int64_t acknowledged,
                    const Findings& findings) {
  return absl::StrCat(fault, ": ", trials, " trials, ", acknowledged, " traces acknowledged, ",
                      findings.lost, " lost, ", findings.wrong, " wrong, ", findings.uncommitted,
                      " uncommitted but visible");
}

int Trials() {
  const char* text = std::getenv("KVP_FAULT_TRIALS");
  int trials = 0;
  return text != nullptr && absl::SimpleAtoi(text, &trials) ? trials : 10;
}

}  // namespace kvp
