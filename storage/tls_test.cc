// The store's connections with and without certificates.

#include "util/tls.h"

#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/shard_server.h"
#include "storage/test_traces.h"
#include "storage/trace_reader.h"
#include "storage/trace_writer.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

void RunShell(const std::string& command) {
  ASSERT_EQ(std::system(absl::StrCat(command, " >/dev/null 2>&1").c_str()), 0) << command;
}

// Authorities and certificates for localhost, made by openssl.
class TlsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (const char* authority : {"ca", "other_ca"}) {
      RunShell(absl::StrCat(
          "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
          "-days 2 -subj /CN=",
          authority, " -keyout ", Path(authority), ".key -out ", Path(authority), ".pem"));
    }
    Issue("shard", "ca");
    Issue("client", "ca");
    Issue("stranger", "other_ca");
  }

  static void Issue(const std::string& name, const std::string& authority) {
    RunShell(absl::StrCat(
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=", name,
        " -keyout ", Path(name), ".key -out ", Path(name), ".csr"));
    ASSERT_OK(WriteFileAtomically(Path(name) + ".ext", {"subjectAltName=DNS:localhost\n"}));
    RunShell(absl::StrCat("openssl x509 -req -days 2 -in ", Path(name), ".csr -CA ",
                          Path(authority), ".pem -CAkey ", Path(authority),
                          ".key -CAcreateserial -extfile ", Path(name), ".ext -out ", Path(name),
                          ".pem"));
  }

  static std::string Path(const std::string& name) { return testing::TempDir() + "/" + name; }

  static TlsFiles Files(const std::string& name, const std::string& authority = "ca") {
    return {Path(name) + ".pem", Path(name) + ".key", Path(authority) + ".pem"};
  }

  void Start(const TlsFiles& tls) {
    ShardServer::Options options;
    options.listen = "localhost:0";
    options.tls = tls;
    options.shard.dir = Path(testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(MakeDirectories(options.shard.dir));
    ASSERT_OK_AND_ASSIGN(server_, ShardServer::Start(options));
  }

  absl::StatusOr<std::unique_ptr<TraceWriter>> Connect(const TlsFiles& tls) {
    TraceWriter::Options options;
    options.shards = {server_->address()};
    options.tls = tls;
    options.model = TestModel();
    options.reconnect_deadline = absl::Seconds(1);
    return TraceWriter::Connect(options);
  }

  std::unique_ptr<ShardServer> server_;
};

TEST_F(TlsTest, TracesGoThroughWithCertificatesOfOneAuthority) {
  Start(Files("shard"));
  ASSERT_OK_AND_ASSIGN(const auto writer, Connect(Files("client")));
  ASSERT_OK(WriteTestTrace(*writer, 1, 100, 40, "train"));
  TraceReader::Options options;
  options.shards = {server_->address()};
  options.tls = Files("client");
  ASSERT_OK_AND_ASSIGN(const auto reader, TraceReader::Connect(options));
  ASSERT_OK_AND_ASSIGN(const std::vector<TraceRecord> records, reader->ListTraces(""));
  EXPECT_THAT(records, SizeIs(1));
}

TEST_F(TlsTest, AServerWithCertificatesRefusesEverybodyElse) {
  Start(Files("shard"));
  const auto unavailable = absl::StatusCode::kUnavailable;
  EXPECT_THAT(Connect({}), StatusIs(unavailable, HasSubstr(server_->address())));
  EXPECT_THAT(Connect(Files("stranger")), StatusIs(unavailable, HasSubstr(server_->address())));
  // Another authority than the server's: the client refuses the server.
  EXPECT_THAT(Connect(Files("client", "other_ca")),
              StatusIs(unavailable, HasSubstr(server_->address())));
  EXPECT_EQ(server_->shard().committed_traces(), 0);
}

TEST_F(TlsTest, AClientWithCertificatesRefusesAServerWithout) {
  Start({});
  EXPECT_THAT(Connect(Files("client")),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("localhost")));
}

TEST_F(TlsTest, OtherThanLoopbackAddressesNeedFiles) {
  for (const char* host : {"localhost", "127.0.0.1", "127.8.9.10", "[::1]"}) {
    EXPECT_OK(CheckTls(host, {})) << host;
  }
  for (const char* host : {"0.0.0.0", "10.0.0.7", "[::]", "example.org", "127.evil.org", ""}) {
    EXPECT_THAT(CheckTls(host, {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(host)));
    EXPECT_OK(CheckTls(host, Files("client")));
  }
}

TEST_F(TlsTest, FilesThatDoNotServeAreNamed) {
  TlsFiles files = Files("client");
  files.key = "";
  EXPECT_THAT(CheckTls("localhost", files),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("missing")));
  files.key = Path("nowhere.key");
  EXPECT_THAT(ChannelCredentialsOf(files),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere.key")));
  files.key = files.certificate;
  EXPECT_THAT(ServerCredentialsOf(files),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(files.key), HasSubstr("PRIVATE KEY"))));
}

}  // namespace
}  // namespace kvp
