#include "launcher/plan.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launcher/job.h"
#include "launcher/job_text.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;

constexpr ModelGeometry kGeometry{4, 2};

Job NewJob(const std::string& more = "") {
  Job job = ParseJob(R"(
    name: "small"
    output_dir: "/out"
    model { path: "/model" dtype: "bfloat16" }
    shards { count: 3 }
    collectors { count: 2 threads: 4 }
    datasets { split: "train" generated { task: "retrieval" count: 8 text_file: "/t.txt" needles: 5 } }
    datasets { split: "held_out" prompts_file: "/p q.jsonl" cuts: 7 }
    trainers { ranks: 2 learning_rate: 0.0012345678 flags: "--permutations=16" }
    evaluation { text_file: "/h.txt" policies: ["kvp", "random"] budgets: [0.5, 0.0625] })" +
                         more,
                     "job.textproto")
                .value();
  FillDefaults("/", &job);
  return job;
}

TEST(MakePlanTest, ShardsCoverEveryHeadOnce) {
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(NewJob(), kGeometry, {"/bin"}));
  EXPECT_THAT(plan.shard_heads, ElementsAre(HeadRange{0, 3}, HeadRange{3, 6}, HeadRange{6, 8}));
  ASSERT_EQ(plan.shards.processes.size(), 3);
  EXPECT_EQ(plan.shards.processes[1].name, "shard-1");
  EXPECT_EQ(plan.shards.processes[1].log_path, "/out/logs/shard-1.log");
  EXPECT_THAT(
      plan.shards.processes[1].argv,
      ElementsAre("/bin/storage/serve", "--dir=/out/shards/1", "--listen=127.0.0.1:0",
                  "--shard-index=1", "--shard-count=3", "--port-file=/out/logs/shard-1.port"));
}

TEST(MakePlanTest, MoreShardsThanHeadsAreRefused) {
  EXPECT_THAT(MakePlan(NewJob(), {1, 2}, {"/bin"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shards.count: 3")));
}

TEST(MakePlanTest, StagesFollowTheJob) {
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(NewJob(), kGeometry, {"/bin"}));
  std::vector<std::string> names;
  for (const Stage& stage : plan.stages) names.push_back(stage.name);
  EXPECT_THAT(names, ElementsAre("collect train", "collect held_out", "train", "evaluate"));
  EXPECT_THAT(plan.stages[2].outputs, ElementsAre("/out/agents.safetensors"));

  Job only_traces = NewJob();
  only_traces.clear_trainers();
  only_traces.clear_evaluation();
  ASSERT_OK_AND_ASSIGN(const Plan shorter, MakePlan(only_traces, kGeometry, {"/bin"}));
  EXPECT_EQ(shorter.stages.size(), 2);
}

TEST(MakePlanTest, ADatasetsFilesAreFlagsOfTheCollector) {
  Job job = NewJob(R"(
    datasets { name: "tasks" split: "train" generated { task: "ruler" count: 8
               ruler_tasks: ["vt", "qa_1"] qa_files: ["/squad.json", "/hotpotqa.json"] } }
    datasets { name: "talks" split: "train" generated { task: "oasst2" data_file: "/t.gz" } })");
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(job, kGeometry, {"/bin"}));
  EXPECT_THAT(plan.stages[2].processes[0].argv,
              IsSupersetOf({"--generate=ruler", "--count=8", "--tasks=vt,qa_1",
                            "--qa=/squad.json,/hotpotqa.json"}));
  EXPECT_THAT(plan.stages[2].processes[0].argv, Not(Contains(StartsWith("--text="))));
  EXPECT_THAT(plan.stages[3].processes[0].argv,
              IsSupersetOf({"--generate=oasst2", "--data=/t.gz"}));
  EXPECT_THAT(plan.stages[3].processes[0].argv, Not(Contains(StartsWith("--count="))));
}

TEST(MakePlanTest, CollectorsShareADataset) {
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(NewJob(), kGeometry, {"/bin"}));
  ASSERT_EQ(plan.stages[0].processes.size(), 2);
  const ProcessSpec& collector = plan.stages[0].processes[1];
  EXPECT_EQ(collector.name, "collector-train-1");
  EXPECT_THAT(
      collector.argv,
      IsSupersetOf({"--model=/model", "--dtype=bfloat16", "--generate=retrieval", "--count=8",
                    "--text=/t.txt", "--needles=5", "--shards={shards}", "--split=train",
                    "--worker-index=1", "--worker-count=2", "--threads=4"}));
  EXPECT_THAT(collector.argv, Not(Contains(StartsWith("--questions"))));
  EXPECT_THAT(collector.env, Contains(Pair("OMP_NUM_THREADS", "4")));
  EXPECT_THAT(collector.env, Contains(Pair("OPENBLAS_NUM_THREADS", "4")));
  EXPECT_THAT(collector.env, Contains(Pair("OMP_WAIT_POLICY", "passive")));
  EXPECT_THAT(plan.stages[1].processes[0].argv,
              IsSupersetOf({"--prompts=/p q.jsonl", "--split=held_out", "--cuts=7"}));
}

TEST(MakePlanTest, RanksRunUnderMpirun) {
  ASSERT_OK_AND_ASSIGN(Plan plan, MakePlan(NewJob(), kGeometry, {"/bin", /*run_as_root=*/true}));
  const std::vector<std::string>& argv = plan.stages[2].processes[0].argv;
  EXPECT_THAT(ShellLine(argv), StartsWith("mpirun --allow-run-as-root --oversubscribe --bind-to "
                                          "none -np 2 /bin/trainer/train --shards={shards} "));
  EXPECT_THAT(argv, IsSupersetOf({"--recipe=kvp", "--learning-rate=0.0012345678",
                                  "--permutations=16", "--output=/out/agents.safetensors",
                                  "--checkpoint-dir=/out/checkpoints", "--resume=true"}));
  EXPECT_THAT(plan.stages[2].temporaries, ElementsAre("/out/checkpoints"));

  ASSERT_OK_AND_ASSIGN(plan, MakePlan(NewJob(), kGeometry, {"/bin", /*run_as_root=*/false}));
  EXPECT_THAT(plan.stages[2].processes[0].argv, Not(Contains("--allow-run-as-root")));

  Job one_rank = NewJob();
  one_rank.mutable_trainers()->set_ranks(1);
  ASSERT_OK_AND_ASSIGN(plan, MakePlan(one_rank, kGeometry, {"/bin"}));
  EXPECT_EQ(plan.stages[2].processes[0].argv[0], "/bin/trainer/train");
}

TEST(MakePlanTest, EvaluationGetsTheTrainersAgents) {
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(NewJob(), kGeometry, {"/bin"}));
  EXPECT_THAT(plan.stages[3].processes[0].argv,
              IsSupersetOf({"--agents=/out/agents.safetensors", "--policies=kvp,random",
                            "--budgets=0.5,0.0625", "--json=/out/results.json",
                            "--report=/out/report.html", "--training-json=/out/training.json"}));
}

TEST(PlanTextTest, ShowsHeadsAndQuotedCommandLines) {
  ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(NewJob(), kGeometry, {"/bin"}));
  const std::string text = PlanText(plan, kGeometry);
  EXPECT_THAT(text, HasSubstr("heads [3, 6): layer 1 KV head 1 to layer 2 KV head 1"));
  EXPECT_THAT(text, HasSubstr("'--prompts=/p q.jsonl'"));
  EXPECT_THAT(text, HasSubstr("5. evaluate"));
  EXPECT_THAT(text, HasSubstr("6. stop the shards"));
}

TEST(ModelGeometryTest, ReadsConfigAndNamesWhatIsWrong) {
  const std::string folder = testing::TempDir() + "/geometry";
  ASSERT_OK(MakeDirectories(folder));
  const std::string path = folder + "/config.json";
  EXPECT_THAT(ReadModelGeometry(folder), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path)));
  const auto read = [&](absl::string_view text) {
    EXPECT_OK(WriteFileAtomically(path, {text}));
    return ReadModelGeometry(folder);
  };
  ASSERT_OK_AND_ASSIGN(ModelGeometry geometry,
                       read(R"({"num_hidden_layers": 4, "num_key_value_heads": 2})"));
  EXPECT_EQ(geometry.heads(), 8);
  ASSERT_OK_AND_ASSIGN(geometry, read(R"({"num_hidden_layers": 4, "num_attention_heads": 6})"));
  EXPECT_EQ(geometry.heads(), 24);
  EXPECT_THAT(read("{"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
  EXPECT_THAT(read("{}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_hidden_layers")));
  EXPECT_THAT(read(R"({"num_hidden_layers": 4, "num_key_value_heads": -2})"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_key_value_heads: -2 is no positive integer")));
}

}  // namespace
}  // namespace kvp
