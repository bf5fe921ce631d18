// RocksDB's messages as lines of ours.

#ifndef KVP_STORAGE_ROCKSDB_LOGGER_H_
#define KVP_STORAGE_ROCKSDB_LOGGER_H_

#include <memory>
#include <string>

#include "rocksdb/env.h"

namespace kvp {

// Gives warnings of failed writes and of damage, each after `name`, to util/logging; the rest is
// dropped. RocksDB's own logger would write to a file beside the data, and end the process once the
// disk is full.
std::shared_ptr<rocksdb::Logger> NewRocksdbLogger(const std::string& name);

}  // namespace kvp

#endif  // KVP_STORAGE_ROCKSDB_LOGGER_H_
