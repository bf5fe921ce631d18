#include "launcher/hosts.h"

#include <signal.h>

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/command_output.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

const std::vector<Host>& TwoHosts() {
  static const auto& hosts =
      *new std::vector<Host>{{"n1", "10.0.0.1"}, {"n2", "node2.example.org"}};
  return hosts;
}

Plan NewPlan() {
  Plan plan;
  plan.shards.name = "shards";
  for (const char* name : {"shard-0", "shard-1", "shard-2"}) {
    ProcessSpec shard;
    shard.name = name;
    shard.argv = {"/bin/serve", "--listen=127.0.0.1:0"};
    shard.env = {{"OMP_NUM_THREADS", "1"}};
    plan.shards.processes.push_back(shard);
  }
  ProcessSpec trainer;
  trainer.name = "trainer-0";
  trainer.argv = {"mpirun", "-np", "2", "/bin/train"};
  plan.stages.push_back({"train", {trainer}, {}, {}});
  return plan;
}

TEST(PlaceOnHostsTest, StepsOfAnAllocationTakeTurns) {
  Plan plan = NewPlan();
  PlaceOnHosts(TwoHosts(), &plan);
  const ProcessSpec& shard = plan.shards.processes[1];
  EXPECT_EQ(shard.host, "n2");
  EXPECT_EQ(shard.address, "node2.example.org");
  EXPECT_EQ(shard.stop_signal, SIGUSR1);
  EXPECT_EQ(shard.argv[0], "srun");
  EXPECT_THAT(shard.argv,
              IsSupersetOf({"--nodelist=n2", "/bin/serve", "--listen=node2.example.org:0"}));
  EXPECT_EQ(plan.shards.processes[2].host, "n1");
  EXPECT_THAT(plan.stages[0].processes[0].argv, ElementsAre("mpirun", "-np", "2", "/bin/train"));
}

TEST(SecureWithTlsTest, OneCertificateIsForEveryHost) {
  Plan plan = NewPlan();
  const std::string folder = testing::TempDir() + "/tls";
  ASSERT_OK(SecureWithTls(TwoHosts(), folder, &plan));
  ASSERT_OK(CommandOutput({"openssl", "verify", "-CAfile", folder + "/ca.pem", "-verify_ip",
                           "10.0.0.1", folder + "/job.pem"})
                .status());
  ASSERT_OK(CommandOutput({"openssl", "verify", "-CAfile", folder + "/ca.pem", "-verify_hostname",
                           "node2.example.org", folder + "/job.pem"})
                .status());
  EXPECT_FALSE(CommandOutput({"openssl", "verify", "-CAfile", folder + "/ca.pem", "-verify_ip",
                              "10.0.0.2", folder + "/job.pem"})
                   .ok());
  EXPECT_FALSE(std::filesystem::exists(folder + "/ca.key"));
  EXPECT_EQ(std::filesystem::status(folder + "/job.key").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_THAT(plan.shards.processes[0].argv, Contains("--tls-key=" + folder + "/job.key"));
  EXPECT_THAT(plan.stages[0].processes[0].argv.back(), AllOf(HasSubstr("--tls-ca=")));
}

TEST(AllLoopbackTest, IsTrueOfThisMachineAlone) {
  EXPECT_TRUE(AllLoopback({{"n1", "127.0.0.1"}, {"n2", "localhost"}}));
  EXPECT_FALSE(AllLoopback({{"n1", "127.0.0.1"}, {"n2", "10.0.0.1"}}));
}

TEST(CommandOutputTest, ArgumentsReachNoShell) {
  ASSERT_OK_AND_ASSIGN(const std::string output,
                       CommandOutput({"printf", "%s", "$(touch /tmp/x); 'a' `b` \"c\""}));
  EXPECT_EQ(output, "$(touch /tmp/x); 'a' `b` \"c\"");
  EXPECT_THAT(CommandOutput({"false"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("false")));
}

}  // namespace
}  // namespace kvp
