#include "util/metrics.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"
#include "util/text_server.h"

namespace kvp {

struct Metrics::State {
  const std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::unique_ptr<TextServer> server;  // ends before the registry
};

void Counter::Add(double amount) const {
  if (counter_ != nullptr) counter_->Increment(amount);
}

void Gauge::Set(double value) const {
  if (gauge_ != nullptr) gauge_->Set(value);
}

void Histogram::Observe(double value) const {
  if (histogram_ != nullptr) histogram_->Observe(value);
}

Metrics::Metrics() : state_(std::make_unique<State>()) {}

Metrics::~Metrics() = default;

Counter Metrics::AddCounter(const std::string& name, const std::string& help,
                            const Labels& labels) {
  return Counter(
      &prometheus::BuildCounter().Name(name).Help(help).Register(*state_->registry).Add(labels));
}

Gauge Metrics::AddGauge(const std::string& name, const std::string& help, const Labels& labels) {
  return Gauge(
      &prometheus::BuildGauge().Name(name).Help(help).Register(*state_->registry).Add(labels));
}

Histogram Metrics::AddHistogram(const std::string& name, const std::string& help,
                                const std::vector<double>& bounds, const Labels& labels) {
  return Histogram(&prometheus::BuildHistogram()
                        .Name(name)
                        .Help(help)
                        .Register(*state_->registry)
                        .Add(labels, prometheus::Histogram::BucketBoundaries(bounds)));
}

absl::Status Metrics::Serve(const std::string& address) {
  absl::StatusOr<std::unique_ptr<TextServer>> server =
      TextServer::Start(address, "/metrics", [this] { return Text(); });
  if (!server.ok()) {
    return absl::Status(server.status().code(),
                        absl::StrCat("metrics: ", server.status().message()));
  }
  state_->server = *std::move(server);
  return absl::OkStatus();
}

int Metrics::port() const { return state_->server == nullptr ? 0 : state_->server->port(); }

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(state_->registry->Collect());
}

}  // namespace kvp
