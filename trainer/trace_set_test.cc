#include "trainer/trace_set.h"

#include "absl/strings/str_cat.h"
#include "trainer/synthetic_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<TraceRecord> Records(const SyntheticTraceSpec& spec = {}) {
  std::vector<TraceRecord> records;
  for (const SyntheticTrace& trace : MakeSyntheticTraces(spec)) records.push_back(trace.record);
  return records;
}

// Rank `rank` of several that see what this one does, but for rank 0's last broadcast.
class OneOfSeveral : public Communicator {
 public:
  explicit OneOfSeveral(std::string broadcast) : broadcast_(std::move(broadcast)) {}
  int rank() const override { return 1; }
  int size() const override { return 2; }
  std::vector<uint8_t> Minimum(std::vector<uint8_t> values) override { return values; }
  std::vector<std::string> Gather(absl::string_view bytes) override {
    return {std::string(bytes), std::string(bytes)};
  }
  std::string Broadcast(absl::string_view bytes) override {
    // Statuses, which Agree broadcasts, begin with their code.
    return bytes.size() == broadcast_.size() ? broadcast_ : std::string(bytes);
  }
  void Sum(absl::Span<float> values) override {}
  void Sum(absl::Span<double> values) override {}
  int machine_rank() const override { return 1; }
  int machine_size() const override { return 2; }
  std::unique_ptr<Communicator> Split(int color) override { return NewSingleCommunicator(); }

 private:
  const std::string broadcast_;
};

TEST(TraceSetTest, EveryCutOfTwoEntriesOrMoreIsAContext) {
  std::vector<TraceRecord> records = Records();
  records[1].clear_cuts();
  for (const int cut : {0, 1, 2, 7}) records[1].add_cuts(cut);
  ASSERT_OK_AND_ASSIGN(const TraceSet set, TraceSet::Create(records));
  ASSERT_EQ(set.size(), 4);
  ASSERT_EQ(set.contexts().size(), 8u);
  for (int64_t trace = 0; trace < set.size(); ++trace) {
    EXPECT_EQ(set.contexts_end(trace) - set.contexts_begin(trace), 2);
    for (int64_t i = set.contexts_begin(trace); i < set.contexts_end(trace); ++i) {
      const Context& context = set.contexts()[i];
      EXPECT_EQ(context.trace, trace);
      EXPECT_EQ(context.cut, set.trace(trace).cuts[context.cut_number]);
      EXPECT_GE(context.cut, 2);
    }
  }
  EXPECT_EQ(set.contexts()[set.contexts_begin(1)].cut_number, 2);
  EXPECT_EQ(set.heads(), 4);
}

TEST(TraceSetTest, TracesWithoutContextsAreLeftOut) {
  std::vector<TraceRecord> records = Records();
  records[2].clear_cuts();
  records[2].add_cuts(1);
  ASSERT_OK_AND_ASSIGN(const TraceSet set, TraceSet::Create(records));
  EXPECT_EQ(set.size(), 3);
}

TEST(TraceSetTest, TheOrderOfListingDoesNotCount) {
  std::vector<TraceRecord> records = Records();
  ASSERT_OK_AND_ASSIGN(const TraceSet set, TraceSet::Create(records));
  std::swap(records[0], records[3]);
  ASSERT_OK_AND_ASSIGN(const TraceSet swapped, TraceSet::Create(records));
  EXPECT_EQ(swapped.hash(), set.hash());
  EXPECT_EQ(swapped.trace(0).id, set.trace(0).id);
  records.pop_back();
  ASSERT_OK_AND_ASSIGN(const TraceSet fewer, TraceSet::Create(records));
  EXPECT_NE(fewer.hash(), set.hash());
}

TEST(TraceSetTest, RecordsOfTwoModelsAreRefused) {
  std::vector<TraceRecord> records = Records();
  records[1].mutable_model()->set_fingerprint("other");
  EXPECT_THAT(
      TraceSet::Create(records).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("trace "), HasSubstr("other"))));
}

TEST(TraceSetTest, ACutBehindTheEntriesIsRefused) {
  std::vector<TraceRecord> records = Records();
  records[1].add_cuts(1000);
  EXPECT_THAT(
      TraceSet::Create(records).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("cuts"), HasSubstr("1000"))));
}

TEST(TraceSetTest, ASplitWithoutTracesIsNotFoundByName) {
  const std::unique_ptr<MemoryTraceReader> store = SyntheticStore({});
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  ASSERT_OK(TraceSet::List(*store, "train", *alone));
  EXPECT_THAT(TraceSet::List(*store, "elsewhere", *alone).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("elsewhere")));
}

TEST(TraceSetTest, RanksThatSeeDifferentTracesDoNotBegin) {
  const std::unique_ptr<MemoryTraceReader> store = SyntheticStore({});
  OneOfSeveral other(std::string(64, '0'));
  EXPECT_THAT(TraceSet::List(*store, "train", other).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("still being committed")));
}

}  // namespace
}  // namespace kvp
