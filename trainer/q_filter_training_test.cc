#include "trainer/q_filter_training.h"

#include <map>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "storage/head_block.h"
#include "util/head_split.h"
#include "util/status_matchers.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

using testing::HasSubstr;

constexpr int32_t kLayers = 2;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kHeadDim = 6;
constexpr int32_t kGroup = 3;

// Traces in memory, each with two blocks a head whose queries lie along a direction of the head's.
class FakeReader : public TraceReader {
 public:
  void AddTrace(uint8_t id, int32_t query_heads, const std::string& fingerprint = "abc") {
    TraceRecord record;
    record.set_trace_id(std::string(15, '\0') + std::string(1, static_cast<char>(id)));
    record.set_recorded_query_heads(query_heads);
    record.mutable_model()->set_name("tiny");
    record.mutable_model()->set_fingerprint(fingerprint);
    record.mutable_model()->set_layers(kLayers);
    record.mutable_model()->set_kv_heads(kKvHeads);
    record.mutable_model()->set_head_dim(kHeadDim);
    records_.push_back(record);
    for (int64_t head = 0; head < kLayers * kKvHeads; ++head) {
      for (int32_t index = 0; index < 2; ++index) {
        HeadBlock block;
        block.key = {HeadId::FromIndex(head, kKvHeads), *TraceIdFromBytes(record.trace_id()),
                     index};
        block.tokens = 20;
        block.first_token = index * 20;
        block.head_dim = kHeadDim;
        block.query_heads = query_heads;
        if (query_heads > 0) {
          at::Tensor queries = at::randn({query_heads, block.tokens, kHeadDim});
          queries.select(2, head).add_(head % 2 == 0 ? 5 : -5);
          queries = queries.to(at::kBFloat16);
          block.queries = BytesOfTensor(queries);
          all_[head].push_back(queries.view({-1, kHeadDim}).to(at::kDouble));
        }
        blocks_[head].push_back(std::move(block));
      }
    }
  }
  absl::StatusOr<std::vector<TraceRecord>> ListTraces(const std::string& split) override {
    return split == "train" ? records_ : std::vector<TraceRecord>();
  }
  absl::StatusOr<ReadResult> ReadHead(
      const HeadRead& read, const std::function<absl::Status(HeadBlock block)>& consume) override {
    ReadResult result;
    for (const HeadBlock& block : blocks_[read.head.Index(kKvHeads)]) {
      RETURN_IF_ERROR(consume(block));
      ++result.blocks;
    }
    return result;
  }
  at::Tensor queries(int64_t head) { return at::cat(all_[head]); }

 private:
  std::vector<TraceRecord> records_;
  std::map<int64_t, std::vector<HeadBlock>> blocks_;
  std::map<int64_t, std::vector<at::Tensor>> all_;
};

TEST(QFilterTrainingTest, FiltersAreTheMainSingularVectorsOfAllQueries) {
  at::manual_seed(1);
  FakeReader reader;
  reader.AddTrace(1, kGroup);
  reader.AddTrace(2, kGroup);
  int64_t done = 0;
  ASSERT_OK_AND_ASSIGN(const QFilterFile file,
                       TrainQFilters(reader, "train", [&](int64_t heads, int64_t all) {
                         EXPECT_EQ(heads, ++done);
                         EXPECT_EQ(all, 4);
                       }));
  EXPECT_EQ(done, 4);
  EXPECT_EQ(file.queries, 2 * 2 * kGroup * 20);
  EXPECT_EQ(file.model_name, "tiny");
  EXPECT_EQ(file.model_fingerprint, "abc");
  EXPECT_EQ(file.training_data_hash.size(), 64);
  for (int64_t head = 0; head < 4; ++head) {
    const at::Tensor queries = reader.queries(head);
    at::Tensor main = std::get<2>(at::linalg_svd(queries, /*full_matrices=*/false))[0];
    if (at::mv(queries, main).mean().item<double>() < 0) main = -main;
    EXPECT_TRUE(at::allclose(file.filters[head / 2][head % 2].to(at::kDouble), main, 1e-5, 1e-5));
  }
}

TEST(QFilterTrainingTest, NamesTheTraceThatCantBeUsed) {
  FakeReader reader;
  EXPECT_THAT(TrainQFilters(reader, "train"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("train")));
  reader.AddTrace(1, kGroup);
  EXPECT_THAT(TrainQFilters(reader, "held_out"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("held_out")));
  reader.AddTrace(2, 0);
  EXPECT_THAT(TrainQFilters(reader, "train"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       testing::AllOf(HasSubstr("02"), HasSubstr("--record-queries"))));
  FakeReader other;
  other.AddTrace(1, kGroup);
  other.AddTrace(3, kGroup, "xyz");
  EXPECT_THAT(TrainQFilters(other, "train"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("xyz")));
}

}  // namespace
}  // namespace kvp
