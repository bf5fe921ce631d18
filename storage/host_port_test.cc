#include "storage/host_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

TEST(HostPortTest, AnAddressIsAHostAndAPort) {
  ASSERT_OK_AND_ASSIGN(const HostPort parsed, ParseHostPort("[::1]:7000"));
  EXPECT_EQ(parsed.host, "[::1]");
  EXPECT_EQ(parsed.port, 7000);
  for (const char* text : {"", "host", ":7000", "host:", "host:x", "host:-1", "host:65536"}) {
    EXPECT_THAT(ParseHostPort(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  }
}

TEST(HostPortTest, AnotherListenerIsToldFromAMissingAddress) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int port = ntohs(address.sin_port);
  EXPECT_THAT(CheckCanListen({"127.0.0.1", port}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another process listens")));
  close(listener);
  EXPECT_OK(CheckCanListen({"127.0.0.1", port}));
  EXPECT_OK(CheckCanListen({"localhost", 0}));
  // Reserved for documentation.
  EXPECT_THAT(CheckCanListen({"192.0.2.1", 0}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no such address")));
}

}  // namespace
}  // namespace kvp
