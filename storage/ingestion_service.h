// The ingestion service of a shard: streams in front of its IngestQueue.

#ifndef KVP_STORAGE_INGESTION_SERVICE_H_
#define KVP_STORAGE_INGESTION_SERVICE_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"
#include "proto/ingest.grpc.pb.h"
#include "storage/ingest_queue.h"
#include "storage/shard.h"

namespace kvp {

// Thread-safe. Its callbacks never wait for the disk, but for the first hello a new shard gets.
class IngestionService final : public TraceIngestion::CallbackService {
 public:
  // Both must outlive the service, and the queue every stream of it. A stream beyond `max_streams`
  // is refused with RESOURCE_EXHAUSTED: each may hold a message that the queue has no room for.
  IngestionService(Shard* shard, IngestQueue* queue, int max_streams)
      : shard_(shard), queue_(queue), max_streams_(max_streams) {}

  grpc::ServerBidiReactor<IngestRequest, IngestResponse>* Ingest(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Committed(grpc::CallbackServerContext* context,
                                      const CommittedRequest* request,
                                      CommittedResponse* response) override;

  // Every stream reads no more, acknowledges what it had read and ends with UNAVAILABLE, as do
  // streams to come.
  void Drain();

 private:
  class Stream;

  Shard* const shard_;
  IngestQueue* const queue_;
  const int max_streams_;
  absl::Mutex mutex_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvp

#endif  // KVP_STORAGE_INGESTION_SERVICE_H_
