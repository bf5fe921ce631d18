#include "trainer/mpi_communicator.h"

#include <algorithm>
#include <utility>

#include "mpi/mpi.h"

namespace kvp {
namespace {

// MPI counts in int: longer messages go in pieces.
constexpr int64_t kPieceBytes = int64_t{1} << 30;
constexpr int kTag = 1;

// Calls transfer(pointer, count) for every piece.
template <typename Transfer>
void InPieces(char* data, int64_t bytes, Transfer transfer) {
  for (int64_t offset = 0; offset < bytes; offset += kPieceBytes) {
    transfer(data + offset, static_cast<int>(std::min(kPieceBytes, bytes - offset)));
  }
}

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator() {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiCommunicator() override { MPI_Finalize(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::vector<uint8_t> Minimum(std::vector<uint8_t> values) override {
    InPieces(reinterpret_cast<char*>(values.data()), static_cast<int64_t>(values.size()),
             [](char* data, int count) {
               MPI_Allreduce(MPI_IN_PLACE, data, count, MPI_UINT8_T, MPI_MIN, MPI_COMM_WORLD);
             });
    return values;
  }

  std::vector<std::string> Gather(absl::string_view bytes) override {
    const int64_t length = static_cast<int64_t>(bytes.size());
    std::vector<int64_t> lengths(rank_ == 0 ? size_ : 0);
    MPI_Gather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
    if (rank_ != 0) {
      InPieces(const_cast<char*>(bytes.data()), length, [](char* data, int count) {
        MPI_Send(data, count, MPI_BYTE, 0, kTag, MPI_COMM_WORLD);
      });
      return {};
    }
    std::vector<std::string> gathered = {std::string(bytes)};
    for (int source = 1; source < size_; ++source) {
      std::string& received = gathered.emplace_back(lengths[source], '\0');
      InPieces(received.data(), lengths[source], [source](char* data, int count) {
        MPI_Recv(data, count, MPI_BYTE, source, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      });
    }
    return gathered;
  }

  std::string Broadcast(absl::string_view bytes) override {
    int64_t length = static_cast<int64_t>(bytes.size());
    MPI_Bcast(&length, 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
    std::string message = rank_ == 0 ? std::string(bytes) : std::string(length, '\0');
    InPieces(message.data(), length,
             [](char* data, int count) { MPI_Bcast(data, count, MPI_BYTE, 0, MPI_COMM_WORLD); });
    return message;
  }

 private:
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

std::unique_ptr<Communicator> NewMpiCommunicator() { return std::make_unique<MpiCommunicator>(); }

}  // namespace kvp
