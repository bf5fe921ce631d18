// Metrics of a process, in Prometheus's text format over HTTP.

#ifndef KVP_UTIL_METRICS_H_
#define KVP_UTIL_METRICS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace kvp {

class Metrics;

// Handles of single time series: cheap to copy, thread-safe, valid as long as their Metrics. One
// made by default counts nothing.
class Counter {
 public:
  Counter() = default;
  // `amount` is at least 0.
  void Add(double amount = 1) const;

 private:
  friend class Metrics;
  explicit Counter(prometheus::Counter* counter) : counter_(counter) {}
  prometheus::Counter* counter_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;
  void Set(double value) const;

 private:
  friend class Metrics;
  explicit Gauge(prometheus::Gauge* gauge) : gauge_(gauge) {}
  prometheus::Gauge* gauge_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  void Observe(double value) const;

 private:
  friend class Metrics;
  explicit Histogram(prometheus::Histogram* histogram) : histogram_(histogram) {}
  prometheus::Histogram* histogram_ = nullptr;
};

// Owns the series and the server. Thread-safe, but for Serve.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // A new series, or the one that is there with this name and these labels. Names follow
  // Prometheus's rules ("kvp_collector_bytes_total", base units); a name has one kind and one help
  // text.
  Counter AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // `bounds`: ascending upper bounds of the buckets; one without bound is added.
  Histogram AddHistogram(const std::string& name, const std::string& help,
                         const std::vector<double>& bounds, const Labels& labels = {});

  // Answers GET /metrics on `address` ("127.0.0.1:9400"; port 0: a free one) until this is
  // destroyed. UNAVAILABLE or INVALID_ARGUMENT, naming the address, where it can't be had.
  absl::Status Serve(const std::string& address);
  // The port that is served; 0 before Serve.
  int port() const;

  // What GET /metrics answers.
  std::string Text() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace kvp

#endif  // KVP_UTIL_METRICS_H_
