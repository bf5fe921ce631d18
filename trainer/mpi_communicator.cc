#include "trainer/mpi_communicator.h"

#include <algorithm>
#include <utility>

#include "mpi/mpi.h"

namespace kvp {
namespace {

// MPI counts in int: longer messages go in pieces.
constexpr int64_t kPieceBytes = int64_t{1} << 30;
constexpr int kTag = 1;

// Calls transfer(pointer, count) for every piece of an array.
template <typename Value, typename Transfer>
void InPieces(Value* data, int64_t count, Transfer transfer) {
  constexpr int64_t kPiece = kPieceBytes / static_cast<int64_t>(sizeof(Value));
  for (int64_t offset = 0; offset < count; offset += kPiece) {
    transfer(data + offset, static_cast<int>(std::min(kPiece, count - offset)));
  }
}

// Owns `communicator_` where that isn't MPI_COMM_WORLD.
class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm communicator, int machine_rank, int machine_size)
      : communicator_(communicator), machine_rank_(machine_rank), machine_size_(machine_size) {
    MPI_Comm_rank(communicator_, &rank_);
    MPI_Comm_size(communicator_, &size_);
  }
  ~MpiCommunicator() override {
    if (communicator_ != MPI_COMM_WORLD) MPI_Comm_free(&communicator_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int machine_rank() const override { return machine_rank_; }
  int machine_size() const override { return machine_size_; }

  std::vector<uint8_t> Minimum(std::vector<uint8_t> values) override {
    Reduce(absl::MakeSpan(values), MPI_UINT8_T, MPI_MIN);
    return values;
  }
  void Sum(absl::Span<float> values) override { Reduce(values, MPI_FLOAT, MPI_SUM); }
  void Sum(absl::Span<double> values) override { Reduce(values, MPI_DOUBLE, MPI_SUM); }

  std::vector<std::string> Gather(absl::string_view bytes) override {
    const int64_t length = static_cast<int64_t>(bytes.size());
    std::vector<int64_t> lengths(rank_ == 0 ? size_ : 0);
    MPI_Gather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, 0, communicator_);
    if (rank_ != 0) {
      InPieces(bytes.data(), length, [this](const char* data, int count) {
        MPI_Send(data, count, MPI_BYTE, 0, kTag, communicator_);
      });
      return {};
    }
    std::vector<std::string> gathered = {std::string(bytes)};
    for (int source = 1; source < size_; ++source) {
      std::string& received = gathered.emplace_back(lengths[source], '\0');
      InPieces(received.data(), lengths[source], [this, source](char* data, int count) {
        MPI_Recv(data, count, MPI_BYTE, source, kTag, communicator_, MPI_STATUS_IGNORE);
      });
    }
    return gathered;
  }

  std::string Broadcast(absl::string_view bytes) override {
    int64_t length = static_cast<int64_t>(bytes.size());
    MPI_Bcast(&length, 1, MPI_INT64_T, 0, communicator_);
    std::string message = rank_ == 0 ? std::string(bytes) : std::string(length, '\0');
    InPieces(message.data(), length,
             [this](char* data, int count) { MPI_Bcast(data, count, MPI_BYTE, 0, communicator_); });
    return message;
  }

  std::unique_ptr<Communicator> Split(int color) override {
    MPI_Comm part = MPI_COMM_NULL;
    MPI_Comm_split(communicator_, color, rank_, &part);
    return std::make_unique<MpiCommunicator>(part, machine_rank_, machine_size_);
  }

 private:
  template <typename Value>
  void Reduce(absl::Span<Value> values, MPI_Datatype type, MPI_Op operation) {
    InPieces(values.data(), static_cast<int64_t>(values.size()), [&](Value* data, int count) {
      MPI_Allreduce(MPI_IN_PLACE, data, count, type, operation, communicator_);
    });
  }

  MPI_Comm communicator_;
  const int machine_rank_;
  const int machine_size_;
  int rank_ = 0;
  int size_ = 1;
};

// Initialises and finalises MPI.
class WorldCommunicator : public MpiCommunicator {
 public:
  using MpiCommunicator::MpiCommunicator;
  ~WorldCommunicator() override { MPI_Finalize(); }
};

}  // namespace

std::unique_ptr<Communicator> NewMpiCommunicator() {
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm machine = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(machine, &rank);
  MPI_Comm_size(machine, &size);
  MPI_Comm_free(&machine);
  return std::make_unique<WorldCommunicator>(MPI_COMM_WORLD, rank, size);
}

}  // namespace kvp
