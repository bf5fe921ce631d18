#include "trainer/load_traces.h"

#include "ATen/ATen.h"
#include "storage/test_cluster.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"
#include "trainer/synthetic_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

absl::Status WriteTraces(const TestCluster& cluster, const std::string& split) {
  SyntheticTraceSpec spec;
  spec.split = split;
  const std::vector<SyntheticTrace> traces = MakeSyntheticTraces(spec);
  TraceWriter::Options options;
  options.shards = cluster.addresses();
  options.model = traces[0].record.model();
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceWriter> writer, TraceWriter::Connect(options));
  for (const SyntheticTrace& trace : traces) {
    for (const HeadBlock& block : trace.blocks) RETURN_IF_ERROR(writer->Add(block));
    RETURN_IF_ERROR(writer->Commit(trace.record));
  }
  return absl::OkStatus();
}

// Plays rank `rank` of `size`, in a test where all ranks see the same.
class OneOfSeveral : public Communicator {
 public:
  OneOfSeveral(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::vector<uint8_t> Minimum(std::vector<uint8_t> values) override { return values; }
  std::vector<std::string> Gather(absl::string_view bytes) override {
    return std::vector<std::string>(size_, std::string(bytes));
  }
  std::string Broadcast(absl::string_view bytes) override { return std::string(bytes); }

 private:
  const int rank_;
  const int size_;
};

class LoadTracesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(cluster_, TestCluster::Start(2));
    TraceReader::Options options;
    options.shards = cluster_->addresses();
    ASSERT_OK_AND_ASSIGN(reader_, TraceReader::Connect(options));
  }

  std::unique_ptr<TestCluster> cluster_;
  std::unique_ptr<TraceReader> reader_;
};

TEST_F(LoadTracesTest, EachRankGetsItsOwnHeadsOfTheSplitFromAllShards) {
  ASSERT_OK(WriteTraces(*cluster_, "train"));
  ASSERT_OK(WriteTraces(*cluster_, "held_out"));
  SyntheticTraceSpec spec;
  const Dataset expected = MakeSyntheticDataset(spec, {0, 4}, 4);
  for (int rank = 0; rank < 2; ++rank) {
    OneOfSeveral communicator(rank, 2);
    ASSERT_OK_AND_ASSIGN(const Dataset dataset, LoadTraces(*reader_, "train", 2, communicator));
    ASSERT_EQ(dataset.groups(), (std::vector<HeadRange>{{2 * rank, 2 * rank + 2}}));
    ASSERT_EQ(dataset.contexts().size(), expected.contexts().size());
    for (const Context& context : dataset.contexts()) {
      const ContextTensors own = dataset.Load(context, 0);
      const ContextTensors all = expected.Load(context, 0);
      EXPECT_TRUE(at::equal(own.keys, all.keys.slice(0, 2 * rank, 2 * rank + 2)));
      EXPECT_TRUE(at::equal(own.importance, all.importance.slice(0, 2 * rank, 2 * rank + 2)));
    }
  }
}

TEST_F(LoadTracesTest, ASplitWithoutTracesIsNotFoundByName) {
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  EXPECT_THAT(LoadTraces(*reader_, "held_out", 4, *alone).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("held_out")));
}

}  // namespace
}  // namespace kvp
