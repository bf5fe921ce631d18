// The network between collectors and a shard is cut and restored: the shard runs in a network
// namespace of its own, behind a pair of virtual interfaces, and TLS as for any other machine.

#include <filesystem>
#include <iostream>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fault/child_process.h"
#include "tests/fault/fault_traces.h"
#include "tests/fault/namespaces.h"
#include "tests/fault/shard_process.h"
#include "util/file.h"
#include "util/status_matchers.h"
#include "util/tls_files.h"

namespace kvp {
namespace {

constexpr char kHere[] = "10.77.0.1";
constexpr char kThere[] = "10.77.0.2";
// Long enough for both ends to give the connection up.
constexpr absl::Duration kLongCut = absl::Seconds(45);

class NetworkCutTest : public testing::Test {
 protected:
  // Two namespaces with a cable between them.
  void MakeNetwork() {
    ASSERT_OK_AND_ASSIGN(
        there_, ChildProcess::Start({"/usr/bin/unshare", "--net", "/bin/sleep", "infinity"},
                                    testing::TempDir() + "/there.log"));
    const std::string own = "/proc/self/ns/net";
    const std::string its = absl::StrCat("/proc/", there_->pid(), "/ns/net");
    while (std::filesystem::read_symlink(its) == std::filesystem::read_symlink(own)) {
      ASSERT_EQ(there_->Ended(), std::nullopt);
      absl::SleepFor(absl::Milliseconds(1));
    }
    ASSERT_OK(RunProgram({"/bin/ip", "link", "add", "here", "type", "veth", "peer", "name", "there",
                          "netns", absl::StrCat(there_->pid())}));
    ASSERT_OK(RunProgram({"/bin/ip", "address", "add", absl::StrCat(kHere, "/24"), "dev", "here"}));
    ASSERT_OK(RunThere({"/bin/ip", "address", "add", absl::StrCat(kThere, "/24"), "dev", "there"}));
    ASSERT_OK(RunProgram({"/bin/ip", "link", "set", "here", "up"}));
    ASSERT_OK(RunThere({"/bin/ip", "link", "set", "there", "up"}));
  }

  std::vector<std::string> Runner() const {
    return {"/usr/bin/nsenter", "--net", "--target", absl::StrCat(there_->pid())};
  }

  absl::Status RunThere(const std::vector<std::string>& argv) const {
    std::vector<std::string> all = Runner();
    all.insert(all.end(), argv.begin(), argv.end());
    return RunProgram(all);
  }

  // At this end, where it is noticed, or at the other, where it is not.
  void SetLink(bool near_end, const std::string& state) const {
    if (near_end) {
      ASSERT_OK(RunProgram({"/bin/ip", "link", "set", "here", state}));
    } else {
      ASSERT_OK(RunThere({"/bin/ip", "link", "set", "there", state}));
    }
  }

  // Certificates of an authority that is made for this.
  static TlsFiles Certificates(const std::string& name, const std::string& address) {
    const std::string path = testing::TempDir() + "/" + name;
    const std::string authority = testing::TempDir() + "/authority";
    if (!std::filesystem::exists(authority + ".pem")) {
      EXPECT_OK(
          RunProgram({"/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                      "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=authority",
                      "-keyout", authority + ".key", "-out", authority + ".pem"}));
    }
    EXPECT_OK(RunProgram({"/usr/bin/openssl", "req", "-newkey", "ec", "-pkeyopt",
                          "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name, "-keyout",
                          path + ".key", "-out", path + ".csr"}));
    EXPECT_OK(WriteFileAtomically(path + ".ext", {"subjectAltName=IP:", address, "\n"}));
    EXPECT_OK(RunProgram({"/usr/bin/openssl", "x509", "-req", "-days", "2", "-in", path + ".csr",
                          "-CA", authority + ".pem", "-CAkey", authority + ".key",
                          "-CAcreateserial", "-extfile", path + ".ext", "-out", path + ".pem"}));
    return {path + ".pem", path + ".key", authority + ".pem"};
  }

  std::optional<ChildProcess> there_;
};

TEST_F(NetworkCutTest, CutsLoseNothingAndEverybodyGoesOn) {
  if (const absl::Status status = EnterNamespaces(); !status.ok()) {
    GTEST_SKIP() << status.message();
  }
  ASSERT_NO_FATAL_FAILURE(MakeNetwork());
  const TlsFiles server = Certificates("shard", kThere);
  const TlsFiles client = Certificates("client", kHere);
  ShardProcess::Options options;
  options.dir = testing::TempDir() + "/network_cut";
  std::filesystem::remove_all(options.dir);
  options.host = kThere;
  options.flags = {absl::StrCat("--tls-cert=", server.certificate),
                   absl::StrCat("--tls-key=", server.key),
                   absl::StrCat("--tls-ca=", server.authority)};
  options.runner = Runner();
  ShardProcess shard(options);
  ASSERT_OK(shard.Start());
  Ledger ledger;
  TraceWriter::Options writer_options = FaultWriterOptions({shard.address()});
  writer_options.tls = client;
  WriterThreads writers(writer_options, 3, &ledger);
  const auto wait_for_progress = [&ledger] {
    const size_t acknowledged = ledger.acknowledged().size();
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    while (ledger.acknowledged().size() == acknowledged) {
      ASSERT_LT(absl::Now(), deadline) << "it doesn't go on";
      absl::SleepFor(absl::Milliseconds(5));
    }
  };

  std::mt19937 random(14);
  Findings findings;
  const int trials = Trials();
  for (int trial = 0; trial < trials; ++trial) {
    ASSERT_NO_FATAL_FAILURE(wait_for_progress());
    // What came before this trial is checked at the end.
    const std::set<uint32_t> before = ledger.acknowledged();
    absl::SleepFor(absl::Milliseconds(random() % 100));
    const bool near_end = trial % 2 == 0;
    SetLink(near_end, "down");
    absl::SleepFor(trial % 20 == 19 ? kLongCut : absl::Milliseconds(50 + random() % 1000));
    SetLink(near_end, "up");
    ASSERT_NO_FATAL_FAILURE(wait_for_progress());
    findings.Add(CheckShards({shard.address()}, ledger, *before.rbegin(), client));
    ASSERT_TRUE(findings.ok()) << "trial " << trial << ": " << findings.Text();
  }
  ASSERT_OK(writers.Stop());
  EXPECT_EQ(ledger.begun(), ledger.acknowledged());
  findings.Add(CheckShards({shard.address()}, ledger, 1, client));
  EXPECT_EQ(shard.Terminate(), 0);
  EXPECT_TRUE(findings.ok()) << findings.Text();
  std::cout << Summary("network cuts", trials, ledger.acknowledged().size(), findings) << std::endl;
}

}  // namespace
}  // namespace kvp
