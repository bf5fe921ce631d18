#include "launcher/health_check.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "util/status_macros.h"
#include "util/tls.h"

namespace kvp {
namespace {

// HealthCheckResponse with `status`, field 1, SERVING.
constexpr absl::string_view kServing("\x08\x01", 2);

// One question.
struct Call {
  explicit Call(const std::shared_ptr<grpc::Channel>& channel) : stub(channel) {}

  grpc::GenericStub stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer response;
  grpc::Status status;
};

absl::Status AnswerOf(const std::string& address, const Call& call) {
  if (!call.status.ok()) {
    return absl::UnavailableError(
        absl::StrCat(address, ": doesn't answer: ", call.status.error_message()));
  }
  std::vector<grpc::Slice> slices;
  std::string answer;
  if (call.response.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) answer.append(slice.begin(), slice.end());
  }
  if (answer == kServing) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(address, ": says that it doesn't serve"));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> NewChannel(const std::string& address,
                                                          const TlsFiles& tls) {
  ASSIGN_OR_RETURN(const auto credentials, ChannelCredentialsOf(tls));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

}  // namespace

std::vector<absl::Status> CheckHealth(const std::vector<std::string>& addresses,
                                      const TlsFiles& tls, absl::Duration timeout) {
  std::vector<absl::Status> statuses(addresses.size());
  std::vector<std::unique_ptr<Call>> calls(addresses.size());
  const auto deadline = absl::ToChronoTime(absl::Now() + timeout);
  grpc::CompletionQueue queue;
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  size_t under_way = 0;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const auto channel = NewChannel(addresses[i], tls);
    if (!channel.ok()) {
      statuses[i] = channel.status();
      continue;
    }
    calls[i] = std::make_unique<Call>(*channel);
    Call& call = *calls[i];
    call.context.set_deadline(deadline);
    call.reader =
        call.stub.PrepareUnaryCall(&call.context, "/grpc.health.v1.Health/Check", request, &queue);
    call.reader->StartCall();
    call.reader->Finish(&call.response, &call.status, &call);
    ++under_way;
  }
  void* tag = nullptr;
  bool ok = false;
  for (; under_way > 0 && queue.Next(&tag, &ok); --under_way) {
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (calls[i] != nullptr) statuses[i] = AnswerOf(addresses[i], *calls[i]);
  }
  calls.clear();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return statuses;
}

}  // namespace kvp
