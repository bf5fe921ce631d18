#include "storage/rocksdb_logger.h"

#include <cstdarg>
#include <cstdio>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "util/logging.h"

namespace kvp {
namespace {

constexpr size_t kMaxMessageBytes = 2000;
// In warnings and errors that nobody hears of otherwise.
constexpr const char* kOfConsequence[] = {"Background IO error", "dropping ", "free space"};

class RocksdbLogger final : public rocksdb::Logger {
 public:
  explicit RocksdbLogger(std::string name)
      : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), name_(std::move(name)) {}
  ~RocksdbLogger() override { Close(); }

  void LogHeader(const char* /*format*/, va_list /*arguments*/) override {}

  void Logv(const char* format, va_list arguments) override {
    char message[kMaxMessageBytes];
    std::vsnprintf(message, sizeof(message), format, arguments);
    for (const char* consequence : kOfConsequence) {
      if (!absl::StrContains(message, consequence)) continue;
      LogWarning(absl::StrCat(name_, ": RocksDB: ", absl::StripAsciiWhitespace(message)));
      return;
    }
  }
  using Logger::Logv;

 private:
  const std::string name_;
};

}  // namespace

std::shared_ptr<rocksdb::Logger> NewRocksdbLogger(const std::string& name) {
  return std::make_shared<RocksdbLogger>(name);
}

}  // namespace kvp
