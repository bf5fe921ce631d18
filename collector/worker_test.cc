#include "collector/worker.h"

#include <atomic>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/tiny_model.h"
#include "storage/test_cluster.h"
#include "storage/trace_reader.h"
#include "util/file.h"
#include "util/metrics.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

constexpr int64_t kVocab = 300;  // TinyModelOptions' default

using ::testing::HasSubstr;

// Short prompts with forced continuations, and one that occurs twice.
class TestPrompts : public PromptSource {
 public:
  explicit TestPrompts(int64_t size, bool forced = true) : size_(size), forced_(forced) {}

  int64_t size() const override { return size_; }
  const std::string& task() const override { return task_; }
  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override {
    if (index == repeated_) index = 0;
    TokenizedPrompt prompt;
    prompt.origin = absl::StrCat("test:", index);
    for (int64_t i = 0; i < 20 + index; ++i) {
      prompt.prompt.push_back(static_cast<int32_t>((i * 7 + index * 13) % kVocab));
    }
    if (forced_) prompt.continuation = {1, 2, 3, static_cast<int32_t>(index)};
    if (index % 2 == 1) prompt.task = odd_task_;
    return prompt;
  }

  int64_t repeated_ = -1;
  std::string odd_task_;  // of prompts with odd numbers

 private:
  const int64_t size_;
  const bool forced_;
  const std::string task_ = "test";
};

// Passes everything on until it has added `adds` blocks; then the shard can't be reached any more.
class FailingWriter : public TraceWriter {
 public:
  FailingWriter(TraceWriter* writer, int64_t adds) : writer_(*writer), adds_(adds) {}

  absl::StatusOr<std::vector<TraceId>> Committed(absl::Span<const TraceId> ids) override {
    return writer_.Committed(ids);
  }
  absl::Status Add(const HeadBlock& block) override {
    if (adds_-- <= 0) return absl::UnavailableError("shard localhost:1 can't be reached");
    return writer_.Add(block);
  }
  absl::Status Commit(TraceRecord record) override { return writer_.Commit(std::move(record)); }
  int64_t acknowledged_bytes() const override { return writer_.acknowledged_bytes(); }

 private:
  TraceWriter& writer_;
  int64_t adds_;
};

class WorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/worker_model";
    TinyModelOptions tiny;
    tiny.config = {{"eos_token_id", nullptr}, {"max_position_embeddings", 256}};
    ASSERT_OK(WriteTinyModel(directory_, tiny));
    ASSERT_NO_FATAL_FAILURE(LoadModel());
    auto cluster = TestCluster::Start(/*shards=*/2);
    ASSERT_OK(cluster);
    cluster_ = *std::move(cluster);
    options_.task = "test";
    options_.capture.block_tokens = 16;
  }

  void LoadModel() {
    auto decoder = Decoder::Load(directory_, {});
    ASSERT_OK(decoder);
    decoder_ = *std::move(decoder);
    model_ = ModelInfoOf(*decoder_, directory_);
  }

  absl::StatusOr<std::unique_ptr<TraceWriter>> Connect() {
    TraceWriter::Options options;
    options.shards = cluster_->addresses();
    options.model = model_;
    return TraceWriter::Connect(std::move(options));
  }

  // Runs a worker whose sending fails after `adds` blocks.
  absl::StatusOr<WorkerSummary> Collect(const PromptSource& source,
                                        int64_t adds = std::numeric_limits<int64_t>::max()) {
    ASSIGN_OR_RETURN(const auto asking, Connect());
    ASSIGN_OR_RETURN(const auto sending, Connect());
    FailingWriter failing(sending.get(), adds);
    return RunWorker(*decoder_, model_, source, options_, *asking, failing, stop_);
  }

  // Checks that the shards hold exactly the traces of the prompts, with every byte of their blocks,
  // or, where those were run in batches, with all blocks.
  void ExpectTraces(const std::vector<TokenizedPrompt>& prompts, bool exactly = true) {
    TraceReader::Options options;
    options.shards = cluster_->addresses();
    ASSERT_OK_AND_ASSIGN(const auto reader, TraceReader::Connect(options));
    std::map<std::string, CapturedTrace> expected;
    for (const TokenizedPrompt& prompt : prompts) {
      ASSERT_OK_AND_ASSIGN(CapturedTrace trace,
                           Capture(*decoder_, model_, prompt, options_.capture));
      const std::string id = trace.record.trace_id();
      expected.emplace(id, std::move(trace));
    }
    ASSERT_OK_AND_ASSIGN(const std::vector<TraceRecord> records, reader->ListTraces("train"));
    ASSERT_EQ(records.size(), expected.size());
    for (const TraceRecord& record : records) {
      ASSERT_EQ(expected.count(record.trace_id()), 1);
      const TraceRecord& other = expected[record.trace_id()].record;
      EXPECT_EQ(record.entries(), other.entries());
      EXPECT_EQ(record.task(), "test");
      EXPECT_EQ(std::vector<int32_t>(record.token_ids().begin(), record.token_ids().end()),
                std::vector<int32_t>(other.token_ids().begin(), other.token_ids().end()));
    }
    int64_t wanted = 0;
    for (const auto& [id, trace] : expected) wanted += static_cast<int64_t>(trace.blocks.size());
    int64_t found = 0;
    for (int32_t index = 0; index < decoder_->config().heads(); ++index) {
      const HeadId head = HeadId::FromIndex(index, 2);
      ASSERT_OK(reader->ReadHead(head, "train", [&](HeadBlock block) {
        const std::string id(block.key.trace_id.begin(), block.key.trace_id.end());
        for (const HeadBlock& other : expected[id].blocks) {
          if (other.key.head != head || other.key.block != block.key.block) continue;
          ++found;
          EXPECT_EQ(block.first_token, other.first_token);
          if (!exactly) continue;
          EXPECT_EQ(block.keys, other.keys);
          EXPECT_EQ(block.values, other.values);
          EXPECT_EQ(block.labels, other.labels);
        }
        return absl::OkStatus();
      }));
    }
    EXPECT_EQ(found, wanted);
  }

  static std::vector<TokenizedPrompt> All(const PromptSource& source) {
    std::vector<TokenizedPrompt> prompts;
    for (int64_t i = 0; i < source.size(); ++i) prompts.push_back(*source.Get(i));
    return prompts;
  }

  std::string directory_;
  std::unique_ptr<Decoder> decoder_;
  ModelInfo model_;
  std::unique_ptr<TestCluster> cluster_;
  WorkerOptions options_;
  std::atomic<bool> stop_{false};
};

TEST_F(WorkerTest, APromptsOwnTaskIsRecordedUnlessTheOptionsNameOne) {
  TestPrompts prompts(4);
  prompts.odd_task_ = "odd";
  options_.task = "";
  ASSERT_OK(Collect(prompts));
  TraceReader::Options reader_options;
  reader_options.shards = cluster_->addresses();
  ASSERT_OK_AND_ASSIGN(const auto reader, TraceReader::Connect(reader_options));
  const auto tasks = [&reader](const std::string& split) {
    std::multiset<std::string> found;
    const auto records = reader->ListTraces(split);
    EXPECT_OK(records);
    if (records.ok()) {
      for (const TraceRecord& record : *records) found.insert(record.task());
    }
    return found;
  };
  EXPECT_EQ(tasks("train"), std::multiset<std::string>({"odd", "odd", "test", "test"}));
  options_.task = "mine";
  options_.split = "held_out";
  options_.capture.cut_seed = 5;  // other traces
  options_.capture.cuts = 3;
  ASSERT_OK(Collect(prompts));
  EXPECT_EQ(tasks("held_out"), std::multiset<std::string>({"mine", "mine", "mine", "mine"}));
}

TEST_F(WorkerTest, EveryPromptBecomesATraceOnTheShardsOnce) {
  TestPrompts prompts(6);
  prompts.repeated_ = 3;
  ASSERT_OK_AND_ASSIGN(const WorkerSummary first, Collect(prompts));
  EXPECT_EQ(first.traces, 5);
  EXPECT_EQ(first.skipped, 1);
  EXPECT_EQ(first.entries, 20 + 21 + 22 + 24 + 25);
  EXPECT_EQ(first.tokens, first.entries + 5 * 4);
  // K and V in bf16, one label in fp16, and what a block's header takes.
  EXPECT_GE(first.bytes_per_token_head, 4 * 8 + 2);
  EXPECT_FALSE(first.stopped);
  ASSERT_NO_FATAL_FAILURE(ExpectTraces(All(prompts)));

  ASSERT_OK_AND_ASSIGN(const WorkerSummary second, Collect(prompts));
  EXPECT_EQ(second.traces, 0);
  EXPECT_EQ(second.skipped, 6);
  EXPECT_EQ(second.bytes, 0);
  EXPECT_EQ(second.compute, absl::ZeroDuration());
  ExpectTraces(All(prompts));
}

TEST_F(WorkerTest, GeneratedContinuationsAreCollectedOnceToo) {
  options_.capture.max_new_tokens = 6;
  const TestPrompts prompts(2, /*forced=*/false);
  ASSERT_OK_AND_ASSIGN(const WorkerSummary first, Collect(prompts));
  EXPECT_EQ(first.traces, 2);
  EXPECT_EQ(first.tokens, 20 + 21 + 2 * 6);
  ASSERT_OK_AND_ASSIGN(const WorkerSummary second, Collect(prompts));
  EXPECT_EQ(second.skipped, 2);
  ExpectTraces(All(prompts));
}

TEST_F(WorkerTest, WorkersShareThePromptsOut) {
  const TestPrompts prompts(7);
  options_.limit = 5;
  options_.worker_count = 2;
  ASSERT_OK_AND_ASSIGN(const WorkerSummary even, Collect(prompts));
  EXPECT_EQ(even.traces, 3);
  options_.worker_index = 1;
  ASSERT_OK_AND_ASSIGN(const WorkerSummary odd, Collect(prompts));
  EXPECT_EQ(odd.traces, 2);
  EXPECT_EQ(odd.skipped, 0);
  ExpectTraces(All(TestPrompts(5)));
}

TEST_F(WorkerTest, BatchesGiveTheSameTracesAndSkipWhatIsThere) {
  options_.limit = 3;
  ASSERT_OK_AND_ASSIGN(const WorkerSummary first, Collect(TestPrompts(9)));
  EXPECT_EQ(first.traces, 3);
  options_.limit = 0;
  options_.batch = 4;
  ASSERT_OK_AND_ASSIGN(const WorkerSummary second, Collect(TestPrompts(9)));
  EXPECT_EQ(second.traces, 6);
  EXPECT_EQ(second.skipped, 3);
  ExpectTraces(All(TestPrompts(9)), /*exactly=*/false);
}

TEST_F(WorkerTest, AWorkerThatIsToldToFinishesWhatADeadOneLeft) {
  const TestPrompts prompts(7);
  options_.worker_count = 2;
  options_.worker_index = 1;
  // Its second trace breaks off.
  EXPECT_THAT(Collect(prompts, /*adds=*/11),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("")));
  options_.worker_index = 0;
  options_.finish_others = true;
  ASSERT_OK_AND_ASSIGN(const WorkerSummary summary, Collect(prompts));
  EXPECT_EQ(summary.traces, 6);
  EXPECT_EQ(summary.skipped, 1);
  ExpectTraces(All(prompts));
}

TEST_F(WorkerTest, CountsWhatItDoes) {
  Metrics metrics;
  TestPrompts prompts(4);
  prompts.repeated_ = 3;
  ASSERT_OK_AND_ASSIGN(const auto asking, Connect());
  ASSERT_OK_AND_ASSIGN(const auto sending, Connect());
  ASSERT_OK_AND_ASSIGN(const WorkerSummary summary,
                       RunWorker(*decoder_, model_, prompts, options_, *asking, *sending, stop_,
                                 WorkerMetrics::In(metrics)));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("kvp_collector_traces_total 3\n"));
  EXPECT_THAT(text, HasSubstr("kvp_collector_skipped_total 1\n"));
  EXPECT_THAT(text, HasSubstr("kvp_collector_errors_total 0\n"));
  EXPECT_THAT(text, HasSubstr("kvp_collector_prompt_tokens_total 63\n"));
  EXPECT_THAT(text, HasSubstr("kvp_collector_continuation_tokens_total 12\n"));
  EXPECT_THAT(text, HasSubstr("kvp_collector_entries_total 63\n"));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("kvp_collector_sent_bytes_total ", summary.bytes, "\n")));
  EXPECT_THAT(text, HasSubstr("kvp_collector_queue_depth 0\n"));
  EXPECT_THAT(text, HasSubstr("kvp_collector_batch_seconds_count 3\n"));
}

TEST_F(WorkerTest, AWorkerThatDiesInTheMiddleOfATraceLosesAndDuplicatesNothing) {
  const TestPrompts prompts(6);
  // A trace has 4 heads of 2 blocks: the third breaks off.
  EXPECT_THAT(Collect(prompts, /*adds=*/19),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("localhost:1")));
  ASSERT_NO_FATAL_FAILURE(ExpectTraces({*prompts.Get(0), *prompts.Get(1)}));
  ASSERT_OK_AND_ASSIGN(const WorkerSummary resumed, Collect(prompts));
  EXPECT_EQ(resumed.traces, 4);
  EXPECT_EQ(resumed.skipped, 2);
  ExpectTraces(All(prompts));
}

TEST_F(WorkerTest, AnUnusablePromptEndsTheRunAndKeepsWhatWasCollected) {
  ASSERT_OK(Collect(TestPrompts(3)));
  // Prompts 33 and 233: the latter, with its answer, is longer than the model's context.
  options_.worker_index = 33;
  options_.worker_count = 200;
  EXPECT_THAT(Collect(TestPrompts(240)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("test:233: 253 prompt")));
  ExpectTraces(All(TestPrompts(3)));
}

TEST_F(WorkerTest, AStoppedWorkerEndsWithoutAnError) {
  stop_ = true;
  ASSERT_OK_AND_ASSIGN(const WorkerSummary summary, Collect(TestPrompts(3)));
  EXPECT_TRUE(summary.stopped);
  EXPECT_EQ(summary.traces, 0);
}

TEST_F(WorkerTest, APromptAfterWhichTheModelEndsIsRunOnceAndNoReaderSeesIt) {
  std::string ids;
  for (int64_t id = 0; id < kVocab; ++id) absl::StrAppend(&ids, id == 0 ? "" : ", ", id);
  ASSERT_OK(WriteFileAtomically(directory_ + "/generation_config.json",
                                {"{\"eos_token_id\": [", ids, "]}"}));
  ASSERT_NO_FATAL_FAILURE(LoadModel());
  const TestPrompts prompts(2, /*forced=*/false);
  ASSERT_OK_AND_ASSIGN(const WorkerSummary summary, Collect(prompts));
  EXPECT_EQ(summary.traces, 0);
  EXPECT_EQ(summary.empty, 2);
  EXPECT_GT(summary.compute, absl::ZeroDuration());
  ASSERT_OK_AND_ASSIGN(const WorkerSummary again, Collect(prompts));
  EXPECT_EQ(again.empty, 0);
  EXPECT_EQ(again.skipped, 2);
  EXPECT_EQ(again.compute, absl::ZeroDuration());
  ExpectTraces({});
}

TEST_F(WorkerTest, OptionsOutsideTheirRangeAreNamed) {
  options_.split = "test";
  EXPECT_THAT(Collect(TestPrompts(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("split=\"test\"")));
  options_.split = "train";
  options_.worker_index = 1;
  EXPECT_THAT(Collect(TestPrompts(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("worker_index=1")));
}

}  // namespace
}  // namespace kvp
