// How a shard is opened, and what it says of damaged files then.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/listener.h"
#include "rocksdb/options.h"
#include "rocksdb/sst_file_reader.h"
#include "rocksdb/table.h"
#include "storage/rocksdb_logger.h"
#include "storage/rocksdb_util.h"
#include "storage/shard.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr char kBlocks[] = "blocks";
constexpr char kIndex[] = "index";
constexpr char kRecords[] = "records";
// For entries of the index and records, of all column families together.
constexpr size_t kCacheBytes = size_t{32} << 20;
constexpr size_t kSmallWriteBufferBytes = size_t{8} << 20;
constexpr uint64_t kMaxWalBytes = uint64_t{512} << 20;
// Of a reader, while a server has the shard open.
constexpr int kReaderTries = 10;
constexpr absl::Duration kReaderPause = absl::Milliseconds(20);

rocksdb::ColumnFamilyOptions SmallFamilyOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = kSmallWriteBufferBytes;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

rocksdb::ColumnFamilyOptions BlocksFamilyOptions(const std::shared_ptr<rocksdb::Cache>& cache,
                                                 int64_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options = SmallFamilyOptions(cache);
  options.write_buffer_size = write_buffer_bytes;
  options.max_write_buffer_number = 3;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  // The cheapest: every block has a checksum of its own, which its reader checks.
  table.checksum = rocksdb::kXXH3;
  // Nobody asks for a key that isn't there, nor reads on behind one.
  table.filter_policy = nullptr;
  table.max_auto_readahead_size = 0;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Notices that RocksDB stopped over a failed write.
class StopListener final : public rocksdb::EventListener {
 public:
  explicit StopListener(std::shared_ptr<std::atomic<bool>> stopped)
      : stopped_(std::move(stopped)) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* error) override {
    if (error->severity() < rocksdb::Status::Severity::kHardError) return;
    if (stopped_->exchange(true)) return;
    LogWarning(
        absl::StrCat("a write failed (", error->ToString(),
                     "): until the shard is started again, all blocks go through the log, which is "
                     "slower"));
  }

 private:
  const std::shared_ptr<std::atomic<bool>> stopped_;
};

std::vector<rocksdb::ColumnFamilyDescriptor> Families(int64_t write_buffer_bytes) {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(kCacheBytes);
  return {{rocksdb::kDefaultColumnFamilyName, SmallFamilyOptions(cache)},
          {kBlocks, BlocksFamilyOptions(cache, write_buffer_bytes)},
          {kIndex, SmallFamilyOptions(cache)},
          {kRecords, SmallFamilyOptions(cache)}};
}

// Raises the limit of open files as far as it goes, and returns how many tables RocksDB may keep
// open: there is one for every few megabytes, so in the end there are more. What is left is for
// connections and other files.
int MostOpenTables() {
  constexpr rlim_t kMost = 100'000;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
  if (limit.rlim_cur != limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  return static_cast<int>(std::min(limit.rlim_cur, 2 * kMost) / 2);
}

// OK where the folder holds a shard's database.
absl::Status CheckIsShard(const rocksdb::DBOptions& options, const std::string& dir) {
  if (options.env->FileExists(dir + "/CURRENT").IsNotFound()) {
    return absl::NotFoundError(absl::StrCat(dir, ": no shard here"));
  }
  std::vector<std::string> names;
  const rocksdb::Status listed = rocksdb::DB::ListColumnFamilies(options, dir, &names);
  if (!listed.ok()) {
    return absl::NotFoundError(absl::StrCat(dir, ": no shard here: ", listed.ToString()));
  }
  for (const char* family : {kBlocks, kIndex, kRecords}) {
    if (std::find(names.begin(), names.end(), family) == names.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat(dir, ": a RocksDB, but no shard: column family ", family, " is missing"));
    }
  }
  return absl::OkStatus();
}

// Whether the default family, which a foreign database would use, is empty.
bool IsEmpty(rocksdb::Env* env, const std::string& dir) {
  rocksdb::Options options;
  options.env = env;
  options.info_log = NewRocksdbLogger(dir);
  options.info_log->SetInfoLogLevel(rocksdb::InfoLogLevel::FATAL_LEVEL);
  rocksdb::DB* opened = nullptr;
  if (!rocksdb::DB::OpenForReadOnly(options, dir, &opened).ok()) return false;
  const std::unique_ptr<rocksdb::DB> db(opened);
  const std::unique_ptr<rocksdb::Iterator> iterator(db->NewIterator(rocksdb::ReadOptions()));
  iterator->SeekToFirst();
  return iterator->status().ok() && !iterator->Valid();
}

// RocksDB blames the manifest for what is wrong in a table that it names, and names no log: so
// these are the tables that can't be opened, or the logs, where `message` names no file at all.
std::string SuspectFiles(rocksdb::Env* env, const std::string& dir, absl::string_view message) {
  std::vector<std::string> names;
  env->GetChildren(dir, &names);
  std::sort(names.begin(), names.end());
  std::vector<std::string> tables, logs;
  rocksdb::Options options;
  options.env = env;
  for (const std::string& name : names) {
    if (absl::EndsWith(name, ".log")) logs.push_back(name);
    if (!absl::EndsWith(name, ".sst")) continue;
    rocksdb::SstFileReader reader(options);
    if (!reader.Open(absl::StrCat(dir, "/", name)).ok()) tables.push_back(name);
  }
  if (!tables.empty()) return absl::StrCat("; can't be opened: ", absl::StrJoin(tables, ", "));
  if (!logs.empty() && !absl::StrContains(message, "in file"))
    return absl::StrCat("; logs: ", absl::StrJoin(logs, ", "));
  return "";
}

}  // namespace

absl::Status Shard::Drop(const std::string& dir) {
  rocksdb::Env* const env = rocksdb::Env::Default();
  std::string folder = dir;
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  // The list of commits is a shard's even where the manifest can't be read any more.
  if (env->FileExists(folder + "/commits").IsNotFound()) {
    RETURN_IF_ERROR(CheckIsShard(rocksdb::DBOptions(), folder));
  }
  rocksdb::FileLock* lock = nullptr;
  if (!env->LockFile(folder + "/LOCK", &lock).ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": another process has this shard open, as `kvp serve` does"));
  }
  // Away first: what is left by the name after a crash is a whole shard or none.
  const std::string away = folder + ".dropped";
  std::error_code error;
  std::filesystem::remove_all(away, error);
  std::filesystem::rename(folder, away, error);
  if (!error) std::filesystem::remove_all(away, error);
  env->UnlockFile(lock);
  if (error) return absl::InternalError(absl::StrCat(dir, ": ", error.message()));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Shard>> Shard::Open(Options options) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<Shard> shard(new Shard(std::move(options)));
  RETURN_IF_ERROR(shard->options_.read_only ? shard->LoadForReading() : shard->OpenForWriting());
  return shard;
}

std::set<std::string> Shard::LogFiles() const {
  std::vector<std::string> names;
  Environment()->GetChildren(options_.dir, &names);
  std::set<std::string> logs;
  for (std::string& name : names) {
    if (absl::EndsWith(name, ".log")) logs.insert(std::move(name));
  }
  return logs;
}

absl::Status Shard::LoadForReading() {
  // A server may write meanwhile, and the manifest is read before the logs. A table that it named a
  // moment ago may be gone, or, what goes unnoticed, a log whose end was turned into tables that it
  // didn't name yet.
  for (int tries = 1;; ++tries) {
    const std::set<std::string> before = LogFiles();
    ASSIGN_OR_RETURN(const std::optional<CommitList::Contents> listed, ListedCommits());
    absl::Status status = Load(listed, /*read_only=*/true);
    const std::set<std::string> after = LogFiles();
    const bool moved = !std::includes(after.begin(), after.end(), before.begin(), before.end());
    const bool damaged = absl::IsDataLoss(status) || absl::IsInternal(status);
    if (!moved && !damaged) return status;
    if (tries == kReaderTries) {
      return damaged ? status
                     : absl::UnavailableError(absl::StrCat(
                           options_.dir, ": the logs change faster than they can be read"));
    }
    absl::SleepFor(kReaderPause);
  }
}

absl::Status Shard::OpenForWriting() {
  // First without touching anything: to open a database for writing deletes the files that a
  // damaged manifest doesn't name any more, and what follows the first damage in a log.
  absl::Status status = LoadForReading();
  ASSIGN_OR_RETURN(const std::optional<CommitList::Contents> listed, ListedCommits());
  // One that is only begun has a database without anything in it.
  const bool none_yet = absl::IsNotFound(status) || (absl::IsFailedPrecondition(status) &&
                                                     IsEmpty(Environment(), options_.dir));
  if (status.ok() || (none_yet && (!listed.has_value() || listed->ids.empty()))) {
    status = Load(listed, /*read_only=*/false);
  }
  if (!status.ok()) {
    CloseDatabase();
    if (!absl::IsDataLoss(status)) return status;
    return absl::DataLossError(absl::StrCat(
        status.message(), SuspectFiles(Environment(), options_.dir, status.message())));
  }
  RETURN_IF_ERROR(Recover());
  ASSIGN_OR_RETURN(const int64_t swept, Sweep(options_.sweep_older_than));
  if (swept > 0) {
    LogInfo(absl::StrCat(options_.dir, ": swept ", swept, " traces without a commit"));
  }
  options_.metrics.quota_bytes.Set(static_cast<double>(options_.max_bytes));
  options_.metrics.traces.Set(static_cast<double>(committed_traces()));
  MeasureDisk();
  return absl::OkStatus();
}

absl::StatusOr<std::optional<CommitList::Contents>> Shard::ListedCommits() {
  absl::MutexLock lock(&write_mutex_);
  ASSIGN_OR_RETURN(std::optional<CommitList::Contents> contents, commits_.Read());
  if (contents.has_value() && contents->damaged > 0) {
    LogWarning(absl::StrCat(options_.dir, "/commits: ", contents->damaged, " damaged entries"));
  }
  return contents;
}

absl::Status Shard::Load(const std::optional<CommitList::Contents>& listed, bool read_only) {
  CloseDatabase();
  RETURN_IF_ERROR(OpenDatabase(read_only));
  RETURN_IF_ERROR(LoadIdentity());
  RETURN_IF_ERROR(LoadCommitted());
  if (!listed.has_value()) return absl::OkStatus();
  const std::set<TraceId> ids(listed->ids.begin(), listed->ids.end());
  int64_t lost = 0;
  const TraceId* first_lost = nullptr;
  for (const TraceId& id : ids) {
    if (IsCommitted(id)) continue;
    if (lost++ == 0) first_lost = &id;
  }
  if (lost > 0) {
    return absl::DataLossError(
        absl::StrCat(options_.dir, ": ", lost, " committed traces are gone, the first ",
                     TraceIdText(*first_lost), "; they are listed in ", options_.dir,
                     "/commits: without that file the shard opens with what is left"));
  }
  if (!options_.read_only || listed->damaged > 0) return absl::OkStatus();
  // What was committed since the list was read may have blocks in tables that the manifest, when it
  // was read, didn't name yet.
  absl::MutexLock lock(&mutex_);
  for (auto trace = committed_.begin(); trace != committed_.end();) {
    trace = ids.count(trace->first) > 0 ? std::next(trace) : committed_.erase(trace);
  }
  return absl::OkStatus();
}

rocksdb::Env* Shard::Environment() const {
  return options_.env != nullptr ? options_.env : rocksdb::Env::Default();
}

bool Shard::CanDoDirectIo() const {
  // A database's first file; before there is one, any.
  int file = open((options_.dir + "/CURRENT").c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) {
    file = open(options_.dir.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
  }
  if (file < 0) return false;
  close(file);
  return true;
}

absl::Status Shard::OpenDatabase(bool read_only) {
  direct_io_ = options_.direct_io && options_.env == nullptr && CanDoDirectIo();
  rocksdb::DBOptions db_options;
  db_options.use_direct_reads = direct_io_;
  db_options.create_if_missing = true;
  db_options.create_missing_column_families = true;
  db_options.max_background_jobs = 2;
  db_options.max_open_files = MostOpenTables();
  db_options.max_total_wal_size = kMaxWalBytes;
  db_options.info_log = NewRocksdbLogger(options_.dir);
  // A log that a server is writing has no proper end.
  if (read_only) db_options.info_log->SetInfoLogLevel(rocksdb::InfoLogLevel::FATAL_LEVEL);
  db_options.listeners.push_back(std::make_shared<StopListener>(stopped_once_));
  // Everything is in the log.
  db_options.avoid_flush_during_shutdown = true;
  db_options.env = Environment();
  if (read_only) RETURN_IF_ERROR(CheckIsShard(db_options, options_.dir));
  const std::vector<rocksdb::ColumnFamilyDescriptor> families =
      Families(options_.write_buffer_bytes);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      read_only ? rocksdb::DB::OpenForReadOnly(db_options, options_.dir, families, &handles, &db)
                : rocksdb::DB::Open(db_options, options_.dir, families, &handles, &db);
  const std::string text = status.ToString();
  if (absl::StrContains(text, "While lock file") || absl::StrContains(text, "lock hold by")) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.dir, ": another process has this shard open, as `kvp serve` does"));
  }
  RETURN_IF_ERROR(FromRocksdb(status, absl::StrCat(options_.dir, ": open")));
  db_.reset(db);
  default_ = handles[0];
  blocks_ = handles[1];
  index_ = handles[2];
  records_ = handles[3];
  return absl::OkStatus();
}

void Shard::CloseDatabase() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* family : {default_, blocks_, index_, records_}) {
    db_->DestroyColumnFamilyHandle(family);
  }
  if (const rocksdb::Status status = db_->Close(); !status.ok()) {
    LogWarning(absl::StrCat(options_.dir, ": close: ", status.ToString()));
  }
  db_.reset();
}

absl::Status Shard::LoadIdentity() {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), default_, kIdentityKey, &value);
  if (status.IsNotFound()) return absl::OkStatus();
  RETURN_IF_ERROR(FromRocksdb(status, absl::StrCat(options_.dir, ": identity")));
  ShardIdentity identity;
  if (!identity.ParseFromString(value)) {
    return absl::DataLossError(absl::StrCat(options_.dir, ": identity can't be parsed"));
  }
  if (identity.format_version() != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        options_.dir, ": format_version is ", identity.format_version(), ", not ", kFormatVersion));
  }
  if (!options_.read_only && (identity.shard_index() != options_.shard_index ||
                              identity.shard_count() != options_.shard_count)) {
    return absl::FailedPreconditionError(absl::StrCat(
        options_.dir, ": holds shard ", identity.shard_index(), " of ", identity.shard_count(),
        ", not ", options_.shard_index, " of ", options_.shard_count));
  }
  absl::MutexLock lock(&mutex_);
  identity_ = std::move(identity);
  return absl::OkStatus();
}

absl::Status Shard::LoadCommitted() {
  {
    absl::MutexLock lock(&mutex_);
    committed_.clear();
  }
  return ForEachRecord([this](TraceRecord record) -> absl::Status {
    ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
    absl::MutexLock lock(&mutex_);
    committed_[id] = {record.split(), record.entries()};
    return absl::OkStatus();
  });
}

}  // namespace kvp
