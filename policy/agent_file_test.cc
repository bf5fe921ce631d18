#include "policy/agent_file.h"

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Path(const std::string& name) { return absl::StrCat(testing::TempDir(), "/", name); }

AgentFile Agents() {
  AgentFile agents;
  agents.shape.head_dim = 3;
  agents.shape.width = 4;
  agents.shape.position_features = 6;
  agents.shape.rope_frequencies = {0.1};
  agents.layers = 2;
  agents.kv_heads = 3;
  agents.parameters = InitialParameters(agents.shape, 0, 6, 1);
  agents.model_name = "tiny";
  agents.model_fingerprint = "f00d";
  agents.training_data_hash = "abcd";
  agents.objective = "exact";
  agents.seed = 18446744073709551615u;
  agents.held_out_cost = 1.25;
  return agents;
}

TEST(AgentFileTest, ComesBackAsItWasSaved) {
  const AgentFile agents = Agents();
  ASSERT_OK(SaveAgents(Path("a.safetensors"), agents));
  ASSERT_OK_AND_ASSIGN(const AgentFile loaded, LoadAgents(Path("a.safetensors")));
  EXPECT_EQ(loaded.shape.head_dim, 3);
  EXPECT_EQ(loaded.shape.width, 4);
  EXPECT_EQ(loaded.shape.hidden_layers, 2);
  EXPECT_EQ(loaded.shape.position_features, 6);
  EXPECT_EQ(loaded.shape.rope_frequencies, std::vector<double>{0.1});
  EXPECT_EQ(loaded.layers, 2);
  EXPECT_EQ(loaded.kv_heads, 3);
  EXPECT_EQ(loaded.model_name, "tiny");
  EXPECT_EQ(loaded.model_fingerprint, "f00d");
  EXPECT_EQ(loaded.training_data_hash, "abcd");
  EXPECT_EQ(loaded.objective, "exact");
  EXPECT_EQ(loaded.seed, agents.seed);
  EXPECT_EQ(loaded.held_out_cost, 1.25);
  ASSERT_EQ(loaded.parameters.size(), agents.parameters.size());
  for (const auto& [name, tensor] : agents.parameters) {
    EXPECT_TRUE(at::equal(loaded.parameters.at(name), tensor)) << name;
  }
}

TEST(AgentFileTest, AgentsWithAPositionTableComeBackWithIt) {
  AgentFile agents = Agents();
  agents.shape = PaperAgentShape(3, 40);
  agents.parameters = InitialParameters(agents.shape, 0, 6, 1);
  ASSERT_OK(SaveAgents(Path("paper.safetensors"), agents));
  ASSERT_OK_AND_ASSIGN(const AgentFile loaded, LoadAgents(Path("paper.safetensors")));
  EXPECT_EQ(loaded.shape.position_table, 40);
  EXPECT_TRUE(loaded.shape.rope_frequencies.empty());
  EXPECT_TRUE(
      at::equal(loaded.parameters.at("position.weight"), agents.parameters.at("position.weight")));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(Path("paper.safetensors")));
  EXPECT_EQ(file->metadata().at("agent"), "paper");
}

TEST(AgentFileTest, TensorsAreStackedByLayerAndKvHeadAndMetadataIsReadable) {
  ASSERT_OK(SaveAgents(Path("b.safetensors"), Agents()));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(Path("b.safetensors")));
  ASSERT_OK_AND_ASSIGN(const SafetensorsEntry* entry, file->Find("key.weight"));
  EXPECT_EQ(entry->shape, (std::vector<int64_t>{2, 3, 4, 6}));
  EXPECT_EQ(file->metadata().at("key_convention"), "post-RoPE");
  EXPECT_EQ(file->metadata().at("held_out_cost"), "1.25");
}

TEST(AgentFileTest, TheSameAgentsGiveTheSameBytes) {
  ASSERT_OK(SaveAgents(Path("c.safetensors"), Agents()));
  ASSERT_OK(SaveAgents(Path("d.safetensors"), Agents()));
  ASSERT_OK_AND_ASSIGN(const std::string c, ReadFile(Path("c.safetensors")));
  ASSERT_OK_AND_ASSIGN(const std::string d, ReadFile(Path("d.safetensors")));
  EXPECT_EQ(c, d);
}

TEST(AgentFileTest, TensorsThatDisagreeWithTheGeometryAreNotSaved) {
  AgentFile agents = Agents();
  agents.kv_heads = 2;
  EXPECT_THAT(SaveAgents(Path("e.safetensors"), agents),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("e.safetensors"), HasSubstr("tensor"))));
  agents = Agents();
  agents.parameters.erase("key.bias");
  EXPECT_THAT(SaveAgents(Path("e.safetensors"), agents),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("key.bias")));
}

// Rewrites a valid file with one metadata field changed ("" removes it).
std::string WithField(const std::string& name, const std::string& field, const std::string& value) {
  const std::string path = Path(name);
  EXPECT_OK(SaveAgents(path, Agents()));
  auto file = SafetensorsFile::Open(path);
  EXPECT_OK(file);
  std::map<std::string, std::string> metadata = (*file)->metadata();
  metadata.erase(field);
  if (!value.empty()) metadata[field] = value;
  EXPECT_OK(WriteSafetensors(path, (*file)->entries(), metadata));
  return path;
}

TEST(AgentFileTest, FilesFromBeforeThereWereKindsOfAgentsStillLoad) {
  ASSERT_OK_AND_ASSIGN(const AgentFile loaded, LoadAgents(WithField("g.safetensors", "agent", "")));
  EXPECT_EQ(loaded.shape.position_table, 0);
}

TEST(AgentFileTest, BadMetadataIsRefusedNamingFileFieldAndValue) {
  struct Case {
    const char* field;
    const char* value;
  };
  for (const Case& c :
       {Case{"format_version", "2"}, Case{"key_convention", "pre-RoPE"},
        Case{"position_features", "table"}, Case{"agent", "best"}, Case{"rope_frequencies", "1,x"},
        Case{"layers", "-1"}, Case{"width", "many"}, Case{"seed", "-3"}, Case{"layers", "3"},
        Case{"objective", ""}}) {
    EXPECT_THAT(LoadAgents(WithField("f.safetensors", c.field, c.value)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("f.safetensors"),
                               HasSubstr(std::string(c.value) == "1,x" ? "\"x\"" : c.value))))
        << c.field;
  }
}

TEST(AgentFileTest, AMissingFileIsNotFound) {
  EXPECT_THAT(LoadAgents(Path("none.safetensors")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.safetensors")));
}

}  // namespace
}  // namespace kvp
