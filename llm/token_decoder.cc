#include "llm/token_decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "llm/byte_fallback.h"
#include "llm/byte_level.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kMaxStripped = 1 << 20;
// Real files make tokens shorter.
constexpr double kMaxGrowth = 1000;

}  // namespace

absl::StatusOr<TokenDecoder> TokenDecoder::Parse(const TokenizerComponent& component) {
  TokenDecoder decoder;
  RETURN_IF_ERROR(decoder.AddStep(component));
  return decoder;
}

absl::Status TokenDecoder::AddStep(const TokenizerComponent& component) {
  const std::string& type = component.type();
  if (type == "Sequence") {
    return component.ForEachPart("decoders",
                                 [this](const TokenizerComponent& part) { return AddStep(part); });
  }
  if (type == "Fuse") {
    is_fused_ = true;
    return absl::OkStatus();
  }
  if (type == "Strip") return AddStrip(component);
  const bool is_known =
      type == "ByteLevel" || type == "Metaspace" || type == "Replace" || type == "ByteFallback";
  if (!is_known) {
    return component.UnsupportedType(
        "ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip and Sequence");
  }
  if (has_byte_fallback_ || is_fused_) {
    return component.fields().Unsupported("type", "only Strip may follow ByteFallback and Fuse");
  }
  if (type == "ByteLevel") {
    steps_.push_back({Step::Kind::kByteLevel});
    return absl::OkStatus();
  }
  if (type == "ByteFallback") {
    has_byte_fallback_ = true;
    steps_.push_back({Step::Kind::kByteFallback});
    return absl::OkStatus();
  }
  return type == "Metaspace" ? AddMetaspace(component) : AddReplace(component);
}

absl::Status TokenDecoder::AddReplace(const TokenizerComponent& component) {
  const JsonFields& fields = component.fields();
  const nlohmann::json* pattern = fields.Find("pattern");
  if (pattern == nullptr || !pattern->is_object()) {
    return fields.Invalid("pattern", "an object is needed");
  }
  const JsonFields kinds(*pattern, component.path(), component.name() + ".pattern.");
  if (kinds.has("Regex")) return kinds.Unsupported("Regex", "only a String is supported");
  Step step{Step::Kind::kReplace};
  ASSIGN_OR_RETURN(step.from, kinds.String("String"));
  if (step.from.empty()) return kinds.Invalid("String", "must not be empty");
  ASSIGN_OR_RETURN(step.to, fields.String("content"));
  growth_ *= std::max<double>(1, static_cast<double>(step.to.size()) / step.from.size());
  if (growth_ > kMaxGrowth) return fields.Unsupported("content", "tokens would get too long");
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status TokenDecoder::AddStrip(const TokenizerComponent& component) {
  const JsonFields& fields = component.fields();
  Step step{Step::Kind::kStrip};
  ASSIGN_OR_RETURN(step.from, component.Character("content"));
  ASSIGN_OR_RETURN(const int64_t start, fields.Integer("start", 0, kMaxStripped));
  ASSIGN_OR_RETURN(const int64_t stop, fields.Integer("stop", 0, kMaxStripped));
  if (!is_fused_ && !has_byte_fallback_) {
    step.start = start;
    step.stop = stop;
    steps_.push_back(std::move(step));
    return absl::OkStatus();
  }
  if (!is_fused_) return fields.Unsupported("type", "between ByteFallback and Fuse");
  if (start > 1) return fields.Unsupported("start", "at most 1 is supported behind Fuse");
  if (stop > 0) return fields.Unsupported("stop", "only 0 is supported behind Fuse");
  if (start == 0) return absl::OkStatus();
  if (!strip_from_text_.empty()) return fields.Unsupported("type", "only one is supported");
  strip_from_text_ = step.from;
  return absl::OkStatus();
}

absl::Status TokenDecoder::AddMetaspace(const TokenizerComponent& component) {
  const JsonFields& fields = component.fields();
  Step step{Step::Kind::kMetaspace};
  ASSIGN_OR_RETURN(step.from, component.Character("replacement"));
  step.to = " ";
  ASSIGN_OR_RETURN(const bool add_prefix_space, fields.BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::string scheme,
                   fields.StringOr("prepend_scheme", add_prefix_space ? "always" : "never"));
  step.strips_first = scheme != "never";
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

std::string TokenDecoder::Apply(absl::string_view token, bool is_first) const {
  std::string text(token);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::kByteLevel:
        if (std::optional<std::string> bytes = BytesOfByteLevel(text)) text = *std::move(bytes);
        break;
      case Step::Kind::kMetaspace:
        text =
            absl::StrReplaceAll(text, {{step.from, is_first && step.strips_first ? "" : step.to}});
        break;
      case Step::Kind::kReplace:
        text = absl::StrReplaceAll(text, {{step.from, step.to}});
        break;
      case Step::Kind::kByteFallback:
        if (const std::optional<uint8_t> byte = ByteOfFallbackToken(text)) {
          text.assign(1, static_cast<char>(*byte));
        }
        break;
      case Step::Kind::kStrip: {
        absl::string_view rest = text;
        for (size_t i = 0; i < step.start && absl::ConsumePrefix(&rest, step.from); ++i) {
        }
        for (size_t i = 0; i < step.stop && absl::ConsumeSuffix(&rest, step.from); ++i) {
        }
        text = std::string(rest);
        break;
      }
    }
  }
  return text;
}

std::string TokenDecoder::FirstBytes(absl::string_view token) const {
  const std::string text = Apply(token, /*is_first=*/true);
  if (strip_from_text_.empty()) return text;
  return std::string(absl::StripPrefix(text, strip_from_text_));
}

}  // namespace kvp
