#include "policy/agent_file.h"

#include <limits>

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
  agents.held_out_costs = {1.5, 1, 1.25, 1.125, 1.375, std::numeric_limits<double>::infinity()};
  agents.best_steps = {10, 20, 20, 0, 20, 5};
  agents.training = {{"batch", "8"}, {"objective", "exact"}};
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
  EXPECT_EQ(loaded.held_out_costs, agents.held_out_costs);
  EXPECT_EQ(loaded.best_steps, agents.best_steps);
  EXPECT_EQ(loaded.training, agents.training);
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

// The format, written out: whoever changes it has to give it another version.
constexpr char kGoldenHeader[] =
    R"({"__metadata__":{)"
    R"("agent":"kvp",)"
    R"("best_steps":"300,250",)"
    R"("format_version":"1",)"
    R"("head_dim":"2",)"
    R"("held_out_cost":"1.25",)"
    R"("held_out_costs":"1.125,1.375",)"
    R"("hidden_layers":"1",)"
    R"("key_convention":"post-RoPE",)"
    R"("kv_heads":"2",)"
    R"("layers":"1",)"
    R"("model":"tiny",)"
    R"("model_fingerprint":"f00d",)"
    R"("objective":"exact",)"
    R"("position_feature_count":"4",)"
    R"("position_features":"log1p/10, 1/(1+p), sin and cos at 1..1e-5",)"
    R"("rope_frequencies":"0.5",)"
    R"("seed":"7",)"
    R"("training.batch":"8",)"
    R"("training_data_hash":"abcd",)"
    R"("width":"1"},)"
    R"("hidden.0.bias":{"data_offsets":[0,8],"dtype":"F32","shape":[1,2,1]},)"
    R"("hidden.0.weight":{"data_offsets":[8,56],"dtype":"F32","shape":[1,2,1,6]},)"
    R"("hidden.0_norm.bias":{"data_offsets":[56,64],"dtype":"F32","shape":[1,2,1]},)"
    R"("hidden.0_norm.weight":{"data_offsets":[64,72],"dtype":"F32","shape":[1,2,1]},)"
    R"("key.bias":{"data_offsets":[72,80],"dtype":"F32","shape":[1,2,1]},)"
    R"("key.weight":{"data_offsets":[80,112],"dtype":"F32","shape":[1,2,1,4]},)"
    R"("key_norm.bias":{"data_offsets":[112,120],"dtype":"F32","shape":[1,2,1]},)"
    R"("key_norm.weight":{"data_offsets":[120,128],"dtype":"F32","shape":[1,2,1]},)"
    R"("output.bias":{"data_offsets":[128,136],"dtype":"F32","shape":[1,2,1]},)"
    R"("output.weight":{"data_offsets":[136,144],"dtype":"F32","shape":[1,2,1,1]},)"
    R"("value.bias":{"data_offsets":[144,152],"dtype":"F32","shape":[1,2,1]},)"
    R"("value.weight":{"data_offsets":[152,168],"dtype":"F32","shape":[1,2,1,2]},)"
    R"("value_norm.bias":{"data_offsets":[168,176],"dtype":"F32","shape":[1,2,1]},)"
    R"("value_norm.weight":{"data_offsets":[176,184],"dtype":"F32","shape":[1,2,1]}})";

// The header's length, the header with spaces up to a multiple of 8, and 0, 0.5, 1, … as fp32, all
// little-endian.
std::string GoldenFile() {
  std::string header = kGoldenHeader;
  while (header.size() % 8 != 0) header += ' ';
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  bytes += header;
  for (int i = 0; i < 46; ++i) {
    const float value = 0.5f * static_cast<float>(i);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return bytes;
}

TEST(AgentFileTest, TheFormatIsTheGoldenOne) {
  const std::string golden = GoldenFile();
  ASSERT_OK(WriteFileAtomically(Path("golden.safetensors"), {golden}));
  ASSERT_OK_AND_ASSIGN(const AgentFile agents, LoadAgents(Path("golden.safetensors")));
  EXPECT_EQ(agents.shape.width, 1);
  EXPECT_EQ(agents.seed, 7u);
  EXPECT_EQ(agents.best_steps, (std::vector<int64_t>{300, 250}));
  // Head 1's row of the matrix that takes the key and the key turned back: floats 24 to 27.
  EXPECT_TRUE(at::equal(agents.parameters.at("key.weight")[1],
                        at::tensor({12.0f, 12.5f, 13.0f, 13.5f}).unsqueeze(0)));
  ASSERT_OK(SaveAgents(Path("again.safetensors"), agents));
  ASSERT_OK_AND_ASSIGN(const std::string again, ReadFile(Path("again.safetensors")));
  EXPECT_EQ(again, golden);
}

TEST(AgentFileTest, FilesFromBeforeThereWereKindsOfAgentsStillLoad) {
  ASSERT_OK_AND_ASSIGN(const AgentFile loaded, LoadAgents(WithField("g.safetensors", "agent", "")));
  EXPECT_EQ(loaded.shape.position_table, 0);
}

TEST(AgentFileTest, BadMetadataIsRefusedNamingFileFieldAndValue) {
  struct Case {
    const char* field;
    const char* value;
    const char* shown = nullptr;  // in the message; else the value
  };
  for (const Case& c : {Case{"format_version", "2"}, Case{"key_convention", "pre-RoPE"},
                        Case{"position_features", "table"}, Case{"agent", "best"},
                        Case{"rope_frequencies", "1,x", "\"x\""}, Case{"layers", "-1"},
                        Case{"width", "many"}, Case{"seed", "-3"}, Case{"layers", "3"},
                        Case{"best_steps", "1,2", "2 numbers, for 6 heads"},
                        Case{"held_out_costs", "cheap"}, Case{"objective", ""}}) {
    EXPECT_THAT(LoadAgents(WithField("f.safetensors", c.field, c.value)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("f.safetensors"),
                               HasSubstr(c.shown == nullptr ? c.value : c.shown))))
        << c.field;
  }
}

TEST(AgentFileTest, AMissingFileIsNotFound) {
  EXPECT_THAT(LoadAgents(Path("none.safetensors")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.safetensors")));
}

}  // namespace
}  // namespace kvp
