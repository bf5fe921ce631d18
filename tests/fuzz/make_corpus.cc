// Writes the binary inputs of tests/fuzz/corpus/, and those that are tedious to write by hand:
// make_corpus FOLDER. The others there are text, and inputs that were findings once.

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "llm/byte_fallback.h"
#include "llm/byte_level.h"
#include "nlohmann/json.hpp"
#include "policy/agent_file.h"
#include "proto/ingest.pb.h"
#include "proto/read.pb.h"
#include "proto/shard.pb.h"
#include "storage/block_quantization.h"
#include "storage/channel.h"
#include "storage/head_block.h"
#include "storage/key_encoding.h"
#include "storage/test_traces.h"
#include "util/crc32c.h"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_macros.h"
#include "zlib.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr int kTokens = 5;

class CorpusMaker {
 public:
  explicit CorpusMaker(std::string folder) : folder_(std::move(folder)) {}

  absl::Status Make() {
    RETURN_IF_ERROR(HeadBlocks());
    RETURN_IF_ERROR(Keys());
    RETURN_IF_ERROR(Records());
    RETURN_IF_ERROR(CommitLists());
    RETURN_IF_ERROR(Conversations());
    RETURN_IF_ERROR(Answers());
    RETURN_IF_ERROR(Safetensors());
    RETURN_IF_ERROR(Agents());
    RETURN_IF_ERROR(Lines());
    return Tokenizers();
  }

 private:
  absl::StatusOr<std::string> Path(const std::string& target, const std::string& name) {
    const std::string folder = absl::StrCat(folder_, "/", target);
    RETURN_IF_ERROR(MakeDirectories(folder));
    return absl::StrCat(folder, "/", name);
  }

  absl::Status Write(const std::string& target, const std::string& name,
                     absl::string_view contents) {
    ASSIGN_OR_RETURN(const std::string path, Path(target, name));
    return WriteFileAtomically(path, {contents});
  }

  static HeadBlock Block() { return TestBlocks(1, kTokens, kTokens)[0]; }

  absl::Status HeadBlocks() {
    HeadBlock block = Block();
    ASSIGN_OR_RETURN(const std::string plain, EncodeHeadBlock(block));
    RETURN_IF_ERROR(Write("head_block_fuzzer", "bf16", plain));
    ASSIGN_OR_RETURN(const HeadBlock narrow, QuantizeToFloat8(block));
    ASSIGN_OR_RETURN(const std::string float8, EncodeHeadBlock(narrow));
    RETURN_IF_ERROR(Write("head_block_fuzzer", "float8", float8));
    block.query_heads = 2;
    block.queries = block.keys + block.values;
    ASSIGN_OR_RETURN(const std::string queries, EncodeHeadBlock(block));
    return Write("head_block_fuzzer", "queries", queries);
  }

  absl::Status Keys() {
    const HeadBlockKey key = Block().key;
    RETURN_IF_ERROR(Write("key_encoding_fuzzer", "block_key", EncodeBlockKey({7, key})));
    RETURN_IF_ERROR(Write("key_encoding_fuzzer", "index_key", EncodeIndexKey(key)));
    RETURN_IF_ERROR(Write("key_encoding_fuzzer", "trace_id", EncodeTraceId(key.trace_id)));
    IndexEntry entry;
    entry.tokens = kTokens;
    entry.stored_at_s = 1'700'000'000;
    return Write("key_encoding_fuzzer", "index_entry", EncodeIndexEntry(entry));
  }

  absl::Status Records() {
    TraceRecord record = TestRecord(1, kTokens, "train");
    RETURN_IF_ERROR(Write("trace_record_fuzzer", "bf16", record.SerializeAsString()));
    record.set_kv_dtype(TraceRecord::FLOAT8);
    record.set_recorded_query_heads(2);
    record.mutable_model()->add_rope_frequencies(0.5);
    return Write("trace_record_fuzzer", "float8", record.SerializeAsString());
  }

  absl::Status CommitLists() {
    std::string list("KVPC\x01\0\0\0", 8);
    RETURN_IF_ERROR(Write("commit_list_fuzzer", "empty", list));
    for (int number = 1; number <= 3; ++number) {
      const std::string id = EncodeTraceId(TestTraceId(number));
      const uint32_t crc = Crc32c(id);
      absl::StrAppend(&list, id);
      for (int i = 0; i < 4; ++i) list.push_back(static_cast<char>(crc >> (8 * i)));
    }
    return Write("commit_list_fuzzer", "three", list);
  }

  // See ingest_fuzzer.cc.
  static std::string Framed(uint8_t flags, const std::vector<IngestRequest>& requests) {
    std::string input(1, static_cast<char>(flags));
    for (const IngestRequest& request : requests) {
      const std::string bytes = request.SerializeAsString();
      input.push_back(static_cast<char>(bytes.size() & 0xFF));
      input.push_back(static_cast<char>(bytes.size() >> 8));
      input += bytes;
    }
    return input;
  }

  absl::Status Conversations() {
    IngestRequest hello;
    hello.mutable_hello()->set_protocol_version(kIngestProtocolVersion);
    *hello.mutable_hello()->mutable_model() = TestModel();
    hello.mutable_hello()->set_shard_count(1);
    std::vector<IngestRequest> requests;
    for (const HeadBlock& block : TestBlocks(1, kTokens, kTokens)) {
      IngestRequest& request = requests.emplace_back();
      request.set_sequence(requests.size());
      ASSIGN_OR_RETURN(*request.mutable_block(), EncodeHeadBlock(block));
    }
    IngestRequest commit;
    commit.set_sequence(requests.size() + 1);
    *commit.mutable_commit() = TestRecord(1, kTokens, "train");
    commit.mutable_commit()->set_blocks(static_cast<int32_t>(requests.size()));
    RETURN_IF_ERROR(Write("ingest_fuzzer", "hello", Framed(0, {hello})));
    RETURN_IF_ERROR(Write("ingest_fuzzer", "block", Framed(3, {requests[0]})));
    RETURN_IF_ERROR(Write("ingest_fuzzer", "commit", Framed(3, {commit})));
    requests.push_back(commit);
    return Write("ingest_fuzzer", "trace", Framed(3, requests));
  }

  // See read_fuzzer.cc.
  absl::Status Answers() {
    const HeadBlock block = Block();
    ReadHeadResponse response;
    ASSIGN_OR_RETURN(*response.add_blocks(), EncodeHeadBlock(block));
    response.add_positions()->set_trace_id(EncodeTraceId(block.key.trace_id));
    response.add_unreadable()->set_trace_id(EncodeTraceId(block.key.trace_id));
    response.mutable_unreadable(0)->set_block(1);
    RETURN_IF_ERROR(
        Write("read_fuzzer", "blocks", absl::StrCat("\x02", response.SerializeAsString())));
    HeldBlocks held;
    held.set_trace_id(EncodeTraceId(block.key.trace_id));
    held.add_heads()->add_tokens(kTokens);
    held.add_heads()->set_layer(1);
    held.mutable_heads(1)->add_tokens(kTokens);
    held.mutable_heads(1)->add_tokens(1);
    return Write("read_fuzzer", "held", absl::StrCat("\x01", held.SerializeAsString()));
  }

  static SafetensorsEntry Entry(const std::string& dtype, std::vector<int64_t> shape,
                                absl::string_view bytes) {
    int64_t size = SafetensorsElementBytes(dtype);
    for (const int64_t dimension : shape) size *= dimension;
    return {dtype, std::move(shape), bytes.substr(0, size)};
  }

  absl::Status Safetensors() {
    const std::string bytes(64, '\x3f');
    ASSIGN_OR_RETURN(const std::string path, Path("safetensors_fuzzer", "several"));
    return WriteSafetensors(path,
                            {{"a", Entry("F32", {2, 3}, bytes)},
                             {"b", Entry("BF16", {4}, bytes)},
                             {"empty", Entry("I64", {0, 5}, bytes)},
                             {"scalar", Entry("U8", {}, bytes)}},
                            {{"format", "pt"}});
  }

  absl::Status Agents() {
    AgentFile agents;
    agents.model_name = "model";
    agents.layers = 1;
    agents.kv_heads = 2;
    agents.shape.head_dim = 2;
    agents.shape.width = 1;
    agents.shape.hidden_layers = 1;
    agents.shape.position_features = 4;
    for (const bool rotated : {false, true}) {
      if (rotated) agents.shape.rope_frequencies = {0.5};
      for (const auto& [name, shape] : ParameterShapes(agents.shape)) {
        std::vector<int64_t> stacked = {agents.layers * agents.kv_heads};
        stacked.insert(stacked.end(), shape.begin(), shape.end());
        agents.parameters[name] = at::ones(stacked);
      }
      ASSIGN_OR_RETURN(const std::string path,
                       Path("agent_file_fuzzer", rotated ? "rotated" : "plain"));
      RETURN_IF_ERROR(SaveAgents(path, agents));
    }
    return absl::OkStatus();
  }

  static std::string Gzipped(absl::string_view text) {
    z_stream stream = {};
    // 16: gzip's header.
    deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
    std::string compressed(deflateBound(&stream, text.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
    stream.avail_out = static_cast<uInt>(compressed.size());
    deflate(&stream, Z_FINISH);
    compressed.resize(stream.total_out);
    deflateEnd(&stream);
    return compressed;
  }

  absl::Status Lines() {
    const std::string text = "one\r\ntwo\n\n \nthree";
    RETURN_IF_ERROR(Write("line_reader_fuzzer", "plain", text));
    RETURN_IF_ERROR(Write("line_reader_fuzzer", "gzip", Gzipped(text)));
    RETURN_IF_ERROR(Write("line_reader_fuzzer", "gzip_twice", Gzipped(text) + Gzipped("four")));
    return Write("datasets_fuzzer", "boolq.gz",
                 Gzipped("{\"question\": \"q\", \"passage\": \"p\", \"answer\": true}\n"));
  }

  absl::Status Tokenizers() {
    Json bytes = Json::object();
    Json fallback = {{"▁", 256}, {"t", 257}, {"h", 258}, {"th", 259}, {"<unk>", 260}};
    for (int byte = 0; byte < 256; ++byte) {
      bytes[ByteLevelOfBytes(std::string(1, static_cast<char>(byte)))] = byte;
      fallback[FallbackTokenOfByte(static_cast<uint8_t>(byte))] = byte;
    }
    bytes["th"] = 256;
    const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
    const Json byte_model = {{"vocab", bytes}, {"merges", {"t h"}}};
    RETURN_IF_ERROR(
        Write("tokenizer_fuzzer", "byte_level",
              Json({{"pre_tokenizer", byte_level}, {"decoder", byte_level}, {"model", byte_model}})
                  .dump()));
    return Write("tokenizer_fuzzer", "byte_fallback",
                 Json({{"decoder", {{"type", "ByteFallback"}}},
                       {"model",
                        {{"unk_token", "<unk>"},
                         {"byte_fallback", true},
                         {"vocab", fallback},
                         {"merges", {"t h"}}}}})
                     .dump());
  }

  const std::string folder_;
};

int Main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_corpus FOLDER\n");
    return 2;
  }
  const absl::Status status = CorpusMaker(argv[1]).Make();
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) { return kvp::Main(argc, argv); }
