#include "trainer/dataset.h"

#include "ATen/ATen.h"
#include "trainer/synthetic_traces.h"
#include "util/status_matchers.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<TraceRecord> Records(const std::vector<SyntheticTrace>& traces) {
  std::vector<TraceRecord> records;
  for (const SyntheticTrace& trace : traces) records.push_back(trace.record);
  return records;
}

// The tokens of one head of one trace, put together from its blocks.
at::Tensor Whole(const SyntheticTrace& trace, HeadId head, bool labels) {
  std::vector<at::Tensor> parts;
  for (const HeadBlock& block : trace.blocks) {
    if (block.key.head != head) continue;
    parts.push_back(
        labels
            ? TensorFromBytes(block.labels, at::kHalf, {block.cuts, block.tokens}).value()
            : TensorFromBytes(block.keys, at::kBFloat16, {block.tokens, block.head_dim}).value());
  }
  return at::cat(parts, labels ? 1 : 0).to(at::kFloat);
}

TEST(DatasetTest, EveryCutOfEveryTraceIsAContextWithTheEntriesBeforeItAndItsOwnLabels) {
  const SyntheticTraceSpec spec;
  const std::vector<SyntheticTrace> traces = MakeSyntheticTraces(spec);
  const Dataset dataset = MakeSyntheticDataset(spec, {1, 4}, 2);
  ASSERT_EQ(dataset.groups().size(), 2u);
  EXPECT_EQ(dataset.groups()[1], (HeadRange{3, 4}));
  ASSERT_EQ(dataset.contexts().size(), 8u);
  for (const Context& context : dataset.contexts()) {
    const SyntheticTrace& trace = traces[context.trace];
    EXPECT_EQ(context.cut, trace.record.cuts(context.cut_number));
    for (int64_t group = 0; group < 2; ++group) {
      const HeadRange heads = dataset.groups()[group];
      const ContextTensors tensors = dataset.Load(context, group);
      ASSERT_EQ(tensors.keys.sizes(), at::IntArrayRef({heads.size(), context.cut, spec.head_dim}));
      ASSERT_EQ(tensors.values.sizes(), tensors.keys.sizes());
      ASSERT_EQ(tensors.importance.sizes(), at::IntArrayRef({heads.size(), context.cut}));
      for (int64_t row = 0; row < heads.size(); ++row) {
        const HeadId head = HeadId::FromIndex(heads.begin + row, spec.kv_heads);
        EXPECT_TRUE(
            at::equal(tensors.keys[row], Whole(trace, head, false).slice(0, 0, context.cut)));
        EXPECT_TRUE(
            at::equal(tensors.importance[row],
                      Whole(trace, head, true)[context.cut_number].slice(0, 0, context.cut)));
      }
    }
  }
}

TEST(DatasetTest, ATraceWithALostBlockIsIncompleteAndCanBeLeftOut) {
  const SyntheticTraceSpec spec;
  const std::vector<SyntheticTrace> traces = MakeSyntheticTraces(spec);
  ASSERT_OK_AND_ASSIGN(Dataset dataset, Dataset::Create(Records(traces), {0, 4}, 4));
  for (size_t t = 0; t < traces.size(); ++t) {
    for (size_t b = 0; b < traces[t].blocks.size(); ++b) {
      if (t == 2 && b == 1) continue;
      ASSERT_OK(dataset.Add(traces[t].blocks[b]));
    }
  }
  const std::vector<uint8_t> complete = dataset.CompleteTraces();
  EXPECT_EQ(complete, (std::vector<uint8_t>{1, 1, 0, 1}));
  dataset.KeepTraces(complete);
  ASSERT_EQ(dataset.records().size(), 3u);
  ASSERT_EQ(dataset.contexts().size(), 6u);
  EXPECT_EQ(dataset.records()[2].trace_id(), traces[3].record.trace_id());
  const ContextTensors last = dataset.Load(dataset.contexts().back(), 0);
  EXPECT_TRUE(at::equal(last.keys[0], Whole(traces[3], {0, 0}, false)));
}

TEST(DatasetTest, CutsBelowTwoEntriesAreNoContexts) {
  SyntheticTraceSpec spec;
  spec.traces = 1;
  spec.entries = 2;
  EXPECT_EQ(MakeSyntheticDataset(spec, {0, 4}, 4).contexts().size(), 1u);
}

TEST(DatasetTest, ARankWithoutHeadsHasContextsAllTheSame) {
  const Dataset dataset = MakeSyntheticDataset({}, {4, 4}, 2);
  EXPECT_TRUE(dataset.groups().empty());
  EXPECT_EQ(dataset.contexts().size(), 8u);
}

TEST(DatasetTest, RecordsOfTwoModelsAreRefused) {
  std::vector<TraceRecord> records = Records(MakeSyntheticTraces({}));
  records[1].mutable_model()->set_fingerprint("other");
  EXPECT_THAT(
      Dataset::Create(records, {0, 4}, 4).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("trace "), HasSubstr("other"))));
}

TEST(DatasetTest, ACutBehindTheEntriesIsRefused) {
  std::vector<TraceRecord> records = Records(MakeSyntheticTraces({}));
  records[1].add_cuts(1000);
  EXPECT_THAT(
      Dataset::Create(records, {0, 4}, 4).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("cuts"), HasSubstr("1000"))));
}

TEST(DatasetTest, BlocksThatDisagreeWithTheirRecordAreRefusedNamingTheField) {
  const std::vector<SyntheticTrace> traces = MakeSyntheticTraces({});
  ASSERT_OK_AND_ASSIGN(Dataset dataset, Dataset::Create(Records(traces), {0, 4}, 4));
  HeadBlock block = traces[0].blocks[0];
  block.head_dim = 7;
  EXPECT_THAT(dataset.Add(block),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("head_dim is 7"), HasSubstr("layer 0"))));
  block = traces[0].blocks[0];
  block.cuts = 3;
  EXPECT_THAT(dataset.Add(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuts is 3")));
  block = traces[0].blocks[0];
  block.tokens = 1000;
  EXPECT_THAT(dataset.Add(block),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens")));
  block = traces[0].blocks[0];
  block.keys.pop_back();
  EXPECT_THAT(dataset.Add(block), StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
  block = traces[0].blocks[0];
  block.key.head.layer = 9;
  EXPECT_THAT(dataset.Add(block), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("head")));
}

TEST(DatasetTest, BlocksOfUnlistedTracesArePassedOver) {
  const std::vector<SyntheticTrace> traces = MakeSyntheticTraces({});
  ASSERT_OK_AND_ASSIGN(Dataset dataset, Dataset::Create(Records(traces), {0, 4}, 4));
  HeadBlock block = traces[0].blocks[0];
  block.key.trace_id[0] ^= 1;
  EXPECT_OK(dataset.Add(block));
}

}  // namespace
}  // namespace kvp
