#include "trainer/head_group_tensors.h"

#include "ATen/ATen.h"
#include "trainer/synthetic_traces.h"
#include "util/status_matchers.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class HeadGroupTensorsTest : public testing::Test {
 protected:
  HeadGroupTensorsTest() {
    std::vector<TraceRecord> records;
    for (const SyntheticTrace& trace : traces_) records.push_back(trace.record);
    set_ = TraceSet::Create(records);
  }

  HeadGroupTensors Empty(int64_t trace, HeadRange heads) const {
    return HeadGroupTensors(set_->trace(trace), heads, spec_.kv_heads, spec_.head_dim);
  }

  const SyntheticTraceSpec spec_;
  const std::vector<SyntheticTrace> traces_ = MakeSyntheticTraces(spec_);
  absl::StatusOr<TraceSet> set_ = absl::UnknownError("");
};

// The tokens of one head of one trace, put together from its blocks.
at::Tensor Whole(const SyntheticTrace& trace, HeadId head, std::string HeadBlock::*part) {
  const bool labels = part == &HeadBlock::labels;
  std::vector<at::Tensor> parts;
  for (const HeadBlock& block : trace.blocks) {
    if (block.key.head != head) continue;
    parts.push_back(
        labels
            ? TensorFromBytes(block.*part, at::kHalf, {block.cuts, block.tokens}).value()
            : TensorFromBytes(block.*part, at::kBFloat16, {block.tokens, block.head_dim}).value());
  }
  return at::cat(parts, labels ? 1 : 0).to(at::kFloat);
}

TEST_F(HeadGroupTensorsTest, AContextHasTheEntriesBeforeItsCutAndItsOwnLabels) {
  const HeadRange heads = {1, 4};
  for (const Context& context : set_->contexts()) {
    const SyntheticTrace& trace = traces_[context.trace];
    HeadGroupTensors tensors = Empty(context.trace, heads);
    for (const HeadBlock& block : trace.blocks) {
      if (heads.contains(block.key.head.Index(spec_.kv_heads))) ASSERT_OK(tensors.Add(block));
    }
    EXPECT_EQ(tensors.Finish(), 0);
    const ContextTensors loaded = tensors.Load(context, at::kCPU);
    ASSERT_EQ(loaded.keys.sizes(), at::IntArrayRef({3, context.cut, spec_.head_dim}));
    ASSERT_EQ(loaded.importance.sizes(), at::IntArrayRef({3, context.cut}));
    EXPECT_TRUE(loaded.whole.all().item<bool>());
    for (int64_t row = 0; row < 3; ++row) {
      const HeadId head = HeadId::FromIndex(heads.begin + row, spec_.kv_heads);
      EXPECT_TRUE(at::equal(loaded.keys[row],
                            Whole(trace, head, &HeadBlock::keys).slice(0, 0, context.cut)));
      EXPECT_TRUE(at::equal(loaded.values[row],
                            Whole(trace, head, &HeadBlock::values).slice(0, 0, context.cut)));
      EXPECT_TRUE(at::equal(loaded.importance[row], Whole(trace, head, &HeadBlock::labels)
                                                        .select(0, context.cut_number)
                                                        .slice(0, 0, context.cut)));
    }
  }
}

TEST_F(HeadGroupTensorsTest, BytesAreThoseOfTheTensors) {
  const HeadRange heads = {1, 4};
  const int64_t entries = set_->trace(2).entries;
  EXPECT_EQ(HeadGroupTensors::Bytes(set_->trace(2), heads, spec_.head_dim),
            3 * entries * (2 * spec_.head_dim + 2) * 2);
}

TEST_F(HeadGroupTensorsTest, AHeadThatLostABlockHasNothingAndTheOthersHaveAll) {
  HeadGroupTensors tensors = Empty(2, {0, 4});
  for (const HeadBlock& block : traces_[2].blocks) {
    if (block.key.head == HeadId{0, 1} && block.key.block == 1) continue;
    ASSERT_OK(tensors.Add(block));
  }
  EXPECT_EQ(tensors.Finish(), 1);
  const Context context = set_->contexts()[set_->contexts_begin(2) + 1];
  const ContextTensors loaded = tensors.Load(context, at::kCPU);
  EXPECT_TRUE(at::equal(loaded.whole, at::tensor({1, 0, 1, 1}).to(at::kBool)));
  EXPECT_EQ(loaded.importance[1].count_nonzero().item<int64_t>(), 0);
  EXPECT_EQ(loaded.keys[1].count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(at::equal(loaded.keys[2], Whole(traces_[2], {1, 0}, &HeadBlock::keys)));
}

TEST_F(HeadGroupTensorsTest, BlocksThatDisagreeWithTheirRecordAreRefusedNamingTheField) {
  HeadGroupTensors tensors = Empty(0, {0, 4});
  const auto refused = [&](auto change, const std::string& field) {
    HeadBlock block = traces_[0].blocks[0];
    change(block);
    EXPECT_THAT(tensors.Add(block), StatusIs(absl::StatusCode::kInvalidArgument,
                                             AllOf(HasSubstr(field), HasSubstr("kv_head"))));
  };
  refused([](HeadBlock& block) { block.head_dim = 7; }, "head_dim is 7");
  refused([](HeadBlock& block) { block.cuts = 3; }, "cuts is 3");
  refused([](HeadBlock& block) { block.tokens = 1000; }, "tokens is 1000");
  refused([](HeadBlock& block) { block.keys.pop_back(); }, "bytes of keys");
  refused([](HeadBlock& block) { block.labels += "xx"; }, "bytes of labels");
  refused([](HeadBlock& block) { block.key.head.layer = 9; }, "head is 18");
  refused([](HeadBlock& block) { block.key.trace_id[0] ^= 1; }, "trace_id");
  // Nothing of it was taken.
  EXPECT_EQ(tensors.Finish(), 4);
}

}  // namespace
}  // namespace kvp
