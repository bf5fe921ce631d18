#include "tests/fault/fault_file_system.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace kvp {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// A disk writes sectors: of the last one any part may be there.
constexpr size_t kSectorBytes = 512;

// RocksDB's messages and its lock are no part of the data.
bool IsCounted(absl::string_view name) {
  return !absl::StartsWith(name, "LOG") && name != "LOCK" && !absl::StrContains(name, '/');
}

IOStatus PowerIsCut() { return IOStatus::IOError("the power is cut"); }

}  // namespace

class FaultFileSystem::WritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WritableFile(FaultFileSystem* fs, std::shared_ptr<Inode> inode,
               std::unique_ptr<rocksdb::FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)), fs_(fs), inode_(std::move(inode)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    absl::MutexLock lock(&fs_->mutex_);
    IOStatus status = fs_->Operate(true);
    if (fs_->operations_ >= fs_->cut_at_) return status;
    size_t bytes = data.size();
    if (!status.ok()) bytes /= 2;
    const int64_t room = std::max<int64_t>(0, fs_->capacity_ - fs_->UsedBytes());
    if (static_cast<int64_t>(bytes) > room) {
      bytes = room;
      status = IOStatus::NoSpace("the disk is full");
    }
    inode_->data.append(data.data(), bytes);
    const IOStatus written = target()->Append(Slice(data.data(), bytes), options, debug);
    return status.ok() ? written : status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*info*/, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("PositionedAppend");
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&,
                            const rocksdb::DataVerificationInfo&, IODebugContext*) override {
    return IOStatus::NotSupported("PositionedAppend");
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    absl::MutexLock lock(&fs_->mutex_);
    if (const IOStatus status = fs_->Operate(false); !status.ok()) return status;
    inode_->data.resize(size);
    inode_->synced = std::min<size_t>(inode_->synced, size);
    return target()->Truncate(size, options, debug);
  }
  IOStatus Sync(const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
    absl::MutexLock lock(&fs_->mutex_);
    if (const IOStatus status = fs_->Operate(false); !status.ok()) return status;
    inode_->synced = inode_->data.size();
    return IOStatus::OK();
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }
  // Begins to write, promises nothing.
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  IOStatus Allocate(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }

 private:
  FaultFileSystem* const fs_;
  const std::shared_ptr<Inode> inode_;
};

class FaultFileSystem::Directory final : public rocksdb::FSDirectory {
 public:
  explicit Directory(FaultFileSystem* fs) : fs_(fs) {}

  IOStatus Fsync(const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
    absl::MutexLock lock(&fs_->mutex_);
    if (const IOStatus status = fs_->Operate(false); !status.ok()) return status;
    fs_->synced_names_ = fs_->names_;
    fs_->changes_.clear();
    return IOStatus::OK();
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& /*directory_options*/) override {
    return Fsync(options, debug);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  FaultFileSystem* const fs_;
};

FaultFileSystem::FaultFileSystem(std::string dir)
    : FileSystemWrapper(rocksdb::FileSystem::Default()), dir_(std::move(dir)) {}

FaultFileSystem::~FaultFileSystem() = default;

int64_t FaultFileSystem::operations() const {
  absl::MutexLock lock(&mutex_);
  return operations_;
}

void FaultFileSystem::CutPowerAt(int64_t operation) {
  absl::MutexLock lock(&mutex_);
  cut_at_ = operation;
}

bool FaultFileSystem::power_is_cut() const {
  absl::MutexLock lock(&mutex_);
  return operations_ >= cut_at_;
}

void FaultFileSystem::FailAt(int64_t operation, IOStatus status) {
  absl::MutexLock lock(&mutex_);
  fail_at_ = operation;
  failure_ = std::move(status);
}

void FaultFileSystem::SetCapacity(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  capacity_ = bytes;
}

int64_t FaultFileSystem::used_bytes() const {
  absl::MutexLock lock(&mutex_);
  return UsedBytes();
}

int64_t FaultFileSystem::UsedBytes() const {
  std::vector<const Inode*> inodes;
  for (const auto& [name, inode] : names_) inodes.push_back(inode.get());
  std::sort(inodes.begin(), inodes.end());
  inodes.erase(std::unique(inodes.begin(), inodes.end()), inodes.end());
  int64_t bytes = 0;
  for (const Inode* inode : inodes) bytes += static_cast<int64_t>(inode->data.size());
  return bytes;
}

IOStatus FaultFileSystem::Operate(bool takes_space) {
  if (operations_ >= cut_at_) return PowerIsCut();
  ++operations_;
  if (operations_ >= cut_at_) return PowerIsCut();
  const bool fails = operations_ >= fail_at_ && (takes_space || !failure_.IsNoSpace());
  if (!fails) return IOStatus::OK();
  fail_at_ = INT64_MAX;
  return failure_;
}

void FaultFileSystem::Apply(const NamesChange& change, Names* names) {
  for (const auto& [name, inode] : change) {
    if (inode == nullptr) {
      names->erase(name);
    } else {
      (*names)[name] = inode;
    }
  }
}

void FaultFileSystem::Change(NamesChange change) {
  Apply(change, &names_);
  changes_.push_back(std::move(change));
}

std::string FaultFileSystem::NameOf(const std::string& path) const {
  absl::string_view name = path;
  if (!absl::StartsWith(name, dir_)) return "";
  name.remove_prefix(dir_.size());
  while (absl::StartsWith(name, "/")) name.remove_prefix(1);
  return IsCounted(name) ? std::string(name) : "";
}

IOStatus FaultFileSystem::NewWritableFile(const std::string& path,
                                          const rocksdb::FileOptions& options,
                                          std::unique_ptr<rocksdb::FSWritableFile>* file,
                                          IODebugContext* debug) {
  const std::string name = NameOf(path);
  if (name.empty()) return target()->NewWritableFile(path, options, file, debug);
  absl::MutexLock lock(&mutex_);
  if (IOStatus status = Operate(true); !status.ok()) return status;
  std::unique_ptr<rocksdb::FSWritableFile> real;
  if (IOStatus status = target()->NewWritableFile(path, options, &real, debug); !status.ok()) {
    return status;
  }
  auto inode = std::make_shared<Inode>();
  Change({{name, inode}});
  *file = std::make_unique<WritableFile>(this, std::move(inode), std::move(real));
  return IOStatus::OK();
}

IOStatus FaultFileSystem::ReopenWritableFile(const std::string& path,
                                             const rocksdb::FileOptions& options,
                                             std::unique_ptr<rocksdb::FSWritableFile>* file,
                                             IODebugContext* debug) {
  const std::string name = NameOf(path);
  if (name.empty()) return target()->ReopenWritableFile(path, options, file, debug);
  absl::MutexLock lock(&mutex_);
  const auto found = names_.find(name);
  if (found == names_.end()) return IOStatus::NotSupported("reopening a file that isn't there");
  std::unique_ptr<rocksdb::FSWritableFile> real;
  if (IOStatus status = target()->ReopenWritableFile(path, options, &real, debug); !status.ok()) {
    return status;
  }
  *file = std::make_unique<WritableFile>(this, found->second, std::move(real));
  return IOStatus::OK();
}

IOStatus FaultFileSystem::ReuseWritableFile(const std::string& /*path*/,
                                            const std::string& /*old_path*/,
                                            const rocksdb::FileOptions& /*options*/,
                                            std::unique_ptr<rocksdb::FSWritableFile>* /*file*/,
                                            IODebugContext* /*debug*/) {
  return IOStatus::NotSupported("ReuseWritableFile");
}

IOStatus FaultFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                       std::unique_ptr<rocksdb::FSDirectory>* directory,
                                       IODebugContext* debug) {
  if (std::filesystem::path(path).lexically_normal() !=
      std::filesystem::path(dir_).lexically_normal()) {
    return target()->NewDirectory(path, options, directory, debug);
  }
  *directory = std::make_unique<Directory>(this);
  return IOStatus::OK();
}

IOStatus FaultFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                     IODebugContext* debug) {
  const std::string name = NameOf(path);
  if (name.empty()) return target()->DeleteFile(path, options, debug);
  absl::MutexLock lock(&mutex_);
  if (IOStatus status = Operate(false); !status.ok()) return status;
  if (IOStatus status = target()->DeleteFile(path, options, debug); !status.ok()) return status;
  Change({{name, nullptr}});
  return IOStatus::OK();
}

IOStatus FaultFileSystem::Truncate(const std::string& path, size_t size, const IOOptions& options,
                                   IODebugContext* debug) {
  const std::string name = NameOf(path);
  if (name.empty()) return target()->Truncate(path, size, options, debug);
  absl::MutexLock lock(&mutex_);
  if (IOStatus status = Operate(false); !status.ok()) return status;
  if (IOStatus status = target()->Truncate(path, size, options, debug); !status.ok()) return status;
  Inode& inode = *names_.at(name);
  inode.data.resize(size);
  inode.synced = std::min(inode.synced, size);
  return IOStatus::OK();
}

IOStatus FaultFileSystem::RenameFile(const std::string& from, const std::string& to,
                                     const IOOptions& options, IODebugContext* debug) {
  const std::string name = NameOf(from);
  if (name.empty()) return target()->RenameFile(from, to, options, debug);
  absl::MutexLock lock(&mutex_);
  if (IOStatus status = Operate(true); !status.ok()) return status;
  if (IOStatus status = target()->RenameFile(from, to, options, debug); !status.ok()) return status;
  Change({{NameOf(to), names_.at(name)}, {name, nullptr}});
  return IOStatus::OK();
}

IOStatus FaultFileSystem::LinkFile(const std::string& from, const std::string& to,
                                   const IOOptions& options, IODebugContext* debug) {
  absl::MutexLock lock(&mutex_);
  if (IOStatus status = Operate(true); !status.ok()) return status;
  if (IOStatus status = target()->LinkFile(from, to, options, debug); !status.ok()) return status;
  Change({{NameOf(to), names_.at(NameOf(from))}});
  return IOStatus::OK();
}

IOStatus FaultFileSystem::GetFreeSpace(const std::string& /*path*/, const IOOptions& /*options*/,
                                       uint64_t* free_bytes, IODebugContext* /*debug*/) {
  absl::MutexLock lock(&mutex_);
  *free_bytes = static_cast<uint64_t>(std::max<int64_t>(0, capacity_ - UsedBytes()));
  return IOStatus::OK();
}

absl::Status FaultFileSystem::RestorePower(std::mt19937& random) {
  // Both ends of a range are as likely as all between.
  const auto choose = [&random](size_t least, size_t most) {
    switch (random() % 3) {
      case 0:
        return least;
      case 1:
        return most;
      default:
        return std::uniform_int_distribution<size_t>(least, most)(random);
    }
  };
  absl::MutexLock lock(&mutex_);
  const size_t kept_changes = choose(0, changes_.size());
  for (size_t i = 0; i < kept_changes; ++i) Apply(changes_[i], &synced_names_);
  names_ = synced_names_;
  changes_.clear();
  for (auto& [name, inode] : names_) {
    const size_t kept = choose(inode->synced, inode->data.size());
    inode->data.resize(kept);
    // A file of several names is cut once.
    const size_t torn = std::max(inode->synced, kept - kept % kSectorBytes);
    inode->synced = kept;
    if (random() % 4 != 0) continue;
    for (size_t i = torn; i < kept; ++i) inode->data[i] = static_cast<char>(random());
  }
  cut_at_ = INT64_MAX;
  fail_at_ = INT64_MAX;
  return WriteFolder();
}

absl::Status FaultFileSystem::WriteFolder() {
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(dir_, error)) {
    std::filesystem::remove(file.path(), error);
  }
  for (const auto& [name, inode] : names_) {
    const std::string path = absl::StrCat(dir_, "/", name);
    std::ofstream out(path, std::ios::binary);
    out << inode->data;
    if (!out.flush()) return absl::UnavailableError(absl::StrCat(path, ": can't be written"));
  }
  return absl::OkStatus();
}

}  // namespace kvp
