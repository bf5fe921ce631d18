#include "util/metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "util/metrics_testing.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Metrics, AreScrapedOverHttp) {
  Metrics metrics;
  const Counter bytes = metrics.AddCounter("kvp_test_bytes_total", "Bytes sent.");
  const Gauge depth = metrics.AddGauge("kvp_test_queue_depth", "Traces that wait.");
  const Histogram seconds =
      metrics.AddHistogram("kvp_test_seconds", "Seconds of a trace.", {0.5, 2});
  ASSERT_OK(metrics.Serve("127.0.0.1:0"));
  ASSERT_GT(metrics.port(), 0);
  bytes.Add(1000);
  bytes.Add();
  depth.Set(2);
  seconds.Observe(0.25);
  seconds.Observe(1);
  seconds.Observe(7);
  const std::string answer = HttpGet(metrics.port(), "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, AllOf(HasSubstr("# HELP kvp_test_bytes_total Bytes sent.\n"),
                            HasSubstr("# TYPE kvp_test_bytes_total counter\n"),
                            HasSubstr("kvp_test_bytes_total 1001\n"),
                            HasSubstr("kvp_test_queue_depth 2\n")));
  EXPECT_THAT(answer, AllOf(HasSubstr("kvp_test_seconds_bucket{le=\"0.5\"} 1\n"),
                            HasSubstr("kvp_test_seconds_bucket{le=\"2\"} 2\n"),
                            HasSubstr("kvp_test_seconds_bucket{le=\"+Inf\"} 3\n"),
                            HasSubstr("kvp_test_seconds_sum 8.25\n")));
}

TEST(Metrics, OtherPathsAreNotFoundAndASilentClientKeepsNobodyWaitingForLong) {
  Metrics metrics;
  ASSERT_OK(metrics.Serve("localhost:0"));
  const int silent = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(metrics.port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(connect(silent, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_THAT(HttpGet(metrics.port(), "/"), StartsWith("HTTP/1.1 404"));
  close(silent);
  EXPECT_THAT(HttpGet(metrics.port(), "/metrics?all"), StartsWith("HTTP/1.1 200"));
}

TEST(Metrics, AnAddressThatIsNoneIsNamed) {
  Metrics metrics;
  for (const std::string address :
       {"9400", ":9400", "127.0.0.1:http:x", "no.such.host.invalid:1"}) {
    EXPECT_THAT(metrics.Serve(address),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(address)));
  }
}

TEST(Metrics, SeriesOfOneNameDifferByTheirLabels) {
  Metrics metrics;
  metrics.AddCounter("kvp_test_total", "Things.", {{"kind", "a"}}).Add(1);
  metrics.AddCounter("kvp_test_total", "Things.", {{"kind", "b"}}).Add(2);
  metrics.AddCounter("kvp_test_total", "Things.", {{"kind", "a"}}).Add(4);
  EXPECT_THAT(metrics.Text(), AllOf(HasSubstr("kvp_test_total{kind=\"a\"} 5\n"),
                                    HasSubstr("kvp_test_total{kind=\"b\"} 2\n")));
}

TEST(Metrics, AHandleMadeByDefaultCountsNothing) {
  Counter().Add(1);
  Gauge().Set(1);
  Histogram().Observe(1);
}

TEST(Metrics, AnAddressThatIsTakenIsNamed) {
  Metrics first;
  ASSERT_OK(first.Serve("127.0.0.1:0"));
  const std::string address = absl::StrCat("127.0.0.1:", first.port());
  Metrics second;
  EXPECT_THAT(second.Serve(address), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
  EXPECT_EQ(second.port(), 0);
}

}  // namespace
}  // namespace kvp
