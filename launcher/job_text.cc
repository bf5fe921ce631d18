#include "launcher/job_text.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool IsIdentifier(char c) { return absl::ascii_isalnum(c) || c == '_'; }

// The field name that a line of text format has before `column`: `steps` of `steps: "abc"`. Empty
// where there is none.
absl::string_view FieldBefore(absl::string_view line, size_t column) {
  absl::string_view text = line.substr(0, column);
  while (!text.empty() && !IsIdentifier(text.back())) text.remove_suffix(1);
  size_t begin = text.size();
  while (begin > 0 && IsIdentifier(text[begin - 1])) --begin;
  return text.substr(begin);
}

// Keeps the first error of a parse, reworded so that it starts with the field.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  FirstError(std::string file, absl::string_view text)
      : file_(std::move(file)), lines_(absl::StrSplit(text, '\n')) {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!error_.empty()) return;
    if (line < 0) {
      error_ = absl::StrCat(file_, ": ", message);
      return;
    }
    error_ =
        absl::StrCat(file_, ":", line + 1, ":", column + 1, ": ", Reworded(line, column, message));
  }

  const std::string& error() const { return error_; }

 private:
  std::string Reworded(int line, int column, absl::string_view message) const {
    absl::string_view rest = message;
    if (absl::ConsumePrefix(&rest, "Message type \"")) {
      const std::vector<absl::string_view> parts = absl::StrSplit(rest, '"');
      if (parts.size() == 4 && absl::StrContains(parts[1], "has no field named")) {
        return absl::StrCat("field \"", parts[2], "\" is unknown in ", parts[0]);
      }
    }
    const absl::string_view text =
        line < static_cast<int>(lines_.size()) ? absl::string_view(lines_[line]) : "";
    const absl::string_view field = FieldBefore(text, column);
    if (field.empty()) return std::string(message);
    return absl::StrCat("field \"", field, "\": ", message);
  }

  const std::string file_;
  const std::vector<std::string> lines_;
  std::string error_;
};

absl::Status SetScalar(const FieldDescriptor* field, const std::string& value, bool add,
                       Message* message) {
  const Reflection* reflection = message->GetReflection();
  const auto refuse = [&](absl::string_view kind) {
    return absl::InvalidArgumentError(absl::StrCat("\"", value, "\" is no ", kind));
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t number = 0;
      if (!absl::SimpleAtoi(value, &number)) return refuse("32-bit integer");
      add ? reflection->AddInt32(message, field, number)
          : reflection->SetInt32(message, field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t number = 0;
      if (!absl::SimpleAtoi(value, &number)) return refuse("64-bit integer");
      add ? reflection->AddInt64(message, field, number)
          : reflection->SetInt64(message, field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double number = 0;
      if (!absl::SimpleAtod(value, &number)) return refuse("number");
      add ? reflection->AddDouble(message, field, number)
          : reflection->SetDouble(message, field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING:
      add ? reflection->AddString(message, field, value)
          : reflection->SetString(message, field, value);
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError("is a section: set a field of it");
  }
}

// Steps from `message` into the section that `part` ("trainers", "datasets[1]") names.
absl::StatusOr<Message*> Enter(absl::string_view part, Message* message) {
  const std::vector<std::string> pieces = absl::StrSplit(part, absl::MaxSplits('[', 1));
  const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(pieces[0]);
  if (field == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("field \"", pieces[0], "\" is unknown in ",
                                                   message->GetDescriptor()->full_name()));
  }
  if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    return absl::InvalidArgumentError(absl::StrCat("field \"", pieces[0], "\" is no section"));
  }
  const Reflection* reflection = message->GetReflection();
  if (!field->is_repeated()) {
    if (pieces.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat("field \"", pieces[0], "\" is no list"));
    }
    return reflection->MutableMessage(message, field);
  }
  int index = -1;
  absl::string_view digits = pieces.size() > 1 ? absl::string_view(pieces[1]) : "";
  if (!absl::ConsumeSuffix(&digits, "]") || !absl::SimpleAtoi(digits, &index) || index < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("field \"", pieces[0], "\" is a list: say which, as in ", pieces[0], "[0]"));
  }
  const int size = reflection->FieldSize(*message, field);
  if (index >= size) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no ", pieces[0], "[", index, "]: the job has ", size));
  }
  return reflection->MutableRepeatedMessage(message, field, index);
}

absl::Status Assign(absl::string_view path, const std::string& value, Job* job) {
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  Message* message = job;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    ASSIGN_OR_RETURN(message, Enter(parts[i], message));
  }
  const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(parts.back());
  if (field == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("field \"", parts.back(), "\" is unknown in ",
                                                   message->GetDescriptor()->full_name()));
  }
  if (value.empty() || field->is_repeated()) message->GetReflection()->ClearField(message, field);
  if (value.empty()) return absl::OkStatus();
  if (!field->is_repeated()) return SetScalar(field, value, /*add=*/false, message);
  for (const absl::string_view item : absl::StrSplit(value, ',')) {
    RETURN_IF_ERROR(SetScalar(field, std::string(item), /*add=*/true, message));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Job> ParseJob(absl::string_view text, const std::string& file) {
  Job job;
  FirstError errors(file, text);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  if (!parser.ParseFromString(std::string(text), &job)) {
    return absl::InvalidArgumentError(
        errors.error().empty() ? absl::StrCat(file, ": isn't a job in protobuf's text format")
                               : errors.error());
  }
  return job;
}

absl::Status ApplyOverride(absl::string_view assignment, Job* job) {
  const size_t equals = assignment.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat("--set ", assignment, ": isn't FIELD=VALUE"));
  }
  const absl::Status status =
      Assign(assignment.substr(0, equals), std::string(assignment.substr(equals + 1)), job);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("--set ", assignment, ": ", status.message()));
}

void SetDefaultValues(Message* message) {
  const Descriptor* descriptor = message->GetDescriptor();
  const Reflection* reflection = message->GetReflection();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field->is_repeated()) {
        for (int j = 0; j < reflection->FieldSize(*message, field); ++j) {
          SetDefaultValues(reflection->MutableRepeatedMessage(message, field, j));
        }
      } else if (reflection->HasField(*message, field)) {
        SetDefaultValues(reflection->MutableMessage(message, field));
      }
      continue;
    }
    if (!field->has_default_value() || reflection->HasField(*message, field)) continue;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        reflection->SetInt32(message, field, field->default_value_int32());
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        reflection->SetInt64(message, field, field->default_value_int64());
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection->SetDouble(message, field, field->default_value_double());
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        reflection->SetString(message, field, field->default_value_string());
        break;
      default:
        break;
    }
  }
}

}  // namespace kvp
