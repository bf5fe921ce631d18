#include "trainer/communicator.h"

#include <utility>

namespace kvp {
namespace {

class SingleCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<uint8_t> Minimum(std::vector<uint8_t> values) override { return values; }
  std::vector<std::string> Gather(absl::string_view bytes) override { return {std::string(bytes)}; }
  std::string Broadcast(absl::string_view bytes) override { return std::string(bytes); }
  void Sum(absl::Span<float> values) override {}
  void Sum(absl::Span<double> values) override {}
  int machine_rank() const override { return 0; }
  int machine_size() const override { return 1; }
  std::unique_ptr<Communicator> Split(int color) override { return NewSingleCommunicator(); }
};

}  // namespace

absl::Status Communicator::Agree(const absl::Status& status) {
  // One byte of code, then the message.
  std::string text(1, static_cast<char>(status.code()));
  text.append(status.message().data(), status.message().size());
  std::string first(1, static_cast<char>(absl::StatusCode::kOk));
  for (std::string& of_rank : Gather(text)) {
    if (of_rank[0] != static_cast<char>(absl::StatusCode::kOk)) {
      first = std::move(of_rank);
      break;
    }
  }
  const std::string agreed = Broadcast(first);
  return absl::Status(static_cast<absl::StatusCode>(agreed[0]),
                      absl::string_view(agreed).substr(1));
}

std::unique_ptr<Communicator> NewSingleCommunicator() {
  return std::make_unique<SingleCommunicator>();
}

}  // namespace kvp
