#include "eval/results.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Keeps the order in which keys are added, so that policies stand in the file as they do in
// reports.
using Json = nlohmann::ordered_json;

// JSON has no NaN or infinity: they would turn into null silently.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json NumbersByBudget(const ByBudget<double>& values) {
  Json json = Json::object();
  for (const auto& [budget, value] : values) json[BudgetKey(budget)] = Number(value);
  return json;
}

Json ToJson(const Interval& interval) {
  return Json::array({Number(interval.low), Number(interval.high)});
}

Json IntervalsByBudget(const ByBudget<Interval>& intervals) {
  Json json = Json::object();
  for (const auto& [budget, interval] : intervals) json[BudgetKey(budget)] = ToJson(interval);
  return json;
}

Json ToJson(const TaskOffline& task) {
  Json json;
  json["cost"] = Number(task.cost);
  json["cost_interval"] = ToJson(task.cost_interval);
  json["retained"] = NumbersByBudget(task.retained);
  json["retained_interval"] = IntervalsByBudget(task.retained_interval);
  json["traces"] = task.traces;
  return json;
}

Json ToJson(const PolicyOffline& policy) {
  Json json;
  json["cost"] = Number(policy.cost);
  json["retained"] = NumbersByBudget(policy.retained);
  json["cost_interval"] = ToJson(policy.cost_interval);
  json["retained_interval"] = IntervalsByBudget(policy.retained_interval);
  json["cost_standard_error"] = Number(policy.cost_standard_error);
  json["retained_standard_error"] = NumbersByBudget(policy.retained_standard_error);
  json["curve"] = NumbersByBudget(policy.curve);
  json["tasks"] = Json::object();
  for (const auto& [name, task] : policy.tasks) json["tasks"][name] = ToJson(task);
  Json& heads = json["per_head"] = Json::array();
  for (const HeadOffline& head : policy.heads) {
    heads.push_back({{"layer", head.layer},
                     {"kv_head", head.kv_head},
                     {"cost", Number(head.cost)},
                     {"retained", NumbersByBudget(head.retained)},
                     {"traces", head.traces}});
  }
  return json;
}

Json ToJson(const CacheResult& result) {
  Json json;
  json["accuracy"] = Number(result.accuracy);
  json["tasks"] = Json::object();
  for (const auto& [task, accuracy] : result.tasks) json["tasks"][task] = Number(accuracy);
  json["task_mean"] = Number(result.task_mean);
  Json& details = json["task_details"] = Json::object();
  for (const auto& [task, detail] : result.task_details) {
    details[task] = {{"interval", ToJson(detail.interval)}, {"questions", detail.questions}};
  }
  json["perplexity"] = Number(result.perplexity);
  json["cache_bytes"] = Number(result.cache_bytes);
  json["score_ms"] = Number(result.score_ms);
  json["compact_ms"] = Number(result.compact_ms);
  json["decode_ms_per_token"] = Number(result.decode_ms_per_token);
  json["cache_share"] = Number(result.cache_share);
  json["correct"] = result.correct;
  json["questions"] = result.questions;
  json["accuracy_interval"] = ToJson(result.accuracy_interval);
  json["accuracy_standard_error"] = Number(result.accuracy_standard_error);
  json["nats_per_token"] = Number(result.nats_per_token);
  json["nats_standard_error"] = Number(result.nats_standard_error);
  json["nats_over_full_cache"] = Number(result.nats_over_full_cache);
  json["nats_over_full_cache_standard_error"] = Number(result.nats_over_full_cache_standard_error);
  json["perplexity_tokens"] = result.perplexity_tokens;
  return json;
}

// Reads fields of a JSON object; the first field that is missing or of another type is what
// status() names.
class Reader {
 public:
  Reader(const Json& json, std::string name, absl::Status* status)
      : json_(json), name_(std::move(name)), status_(status) {
    if (!json_.is_object()) Fail(name_, "is no object");
  }

  void Get(const char* key, double* value) const {
    const Json* field = Field(key);
    if (field == nullptr) return;
    if (field->is_null()) {
      *value = std::nan("");
    } else if (field->is_number()) {
      *value = field->get<double>();
    } else {
      Fail(Name(key), "is no number");
    }
  }
  template <typename Integer>
  void GetInteger(const char* key, Integer* value) const {
    const Json* field = Field(key);
    if (field == nullptr) return;
    if (!field->is_number_integer()) return Fail(Name(key), "is no integer");
    *value = field->get<Integer>();
  }
  void Get(const char* key, std::string* value) const {
    const Json* field = Field(key);
    if (field == nullptr) return;
    if (!field->is_string()) return Fail(Name(key), "is no string");
    *value = field->get<std::string>();
  }
  void Get(const char* key, Interval* interval) const {
    const Json* field = Field(key);
    if (field == nullptr) return;
    if (!field->is_array() || field->size() != 2) return Fail(Name(key), "is no [low, high]");
    double* const ends[] = {&interval->low, &interval->high};
    for (size_t i = 0; i < 2; ++i) {
      const Json& end = (*field)[i];
      if (!end.is_null() && !end.is_number()) return Fail(Name(key), "is no [low, high]");
      *ends[i] = end.is_null() ? std::nan("") : end.get<double>();
    }
  }
  void Get(const char* key, std::set<std::string>* names) const {
    const Json* field = Field(key);
    if (field == nullptr) return;
    if (!field->is_array()) return Fail(Name(key), "is no array");
    for (const Json& name : *field) {
      if (!name.is_string()) return Fail(Name(key), "holds what is no string");
      names->insert(name.get<std::string>());
    }
  }
  template <typename Value>
  void Get(const char* key, ByBudget<Value>* values) const {
    ForEach(key, [&](const std::string& budget, const Reader& object) {
      object.Get(budget.c_str(), &(*values)[object.Budget(budget)]);
    });
  }

  // Calls visit(key, reader of the object that holds it) for each member of the object under `key`.
  template <typename Visit>
  void ForEach(const char* key, Visit visit) const {
    const Json* field = Field(key);
    if (field == nullptr) return;
    const Reader object(*field, Name(key), status_);
    if (!status_->ok()) return;
    for (const auto& item : field->items()) visit(item.key(), object);
  }

  Reader Object(const std::string& key) const {
    static const Json* const kEmpty = new Json(Json::object());
    const Json* field = Field(key.c_str());
    return Reader(field == nullptr ? *kEmpty : *field, Name(key), status_);
  }

  const Json* Field(const char* key) const {
    if (!status_->ok()) return nullptr;
    const auto found = json_.find(key);
    if (found == json_.end()) {
      Fail(Name(key), "is missing");
      return nullptr;
    }
    return &*found;
  }

  double Budget(const std::string& key) const {
    double budget = 0;
    if (!absl::SimpleAtod(key, &budget) || !(budget > 0 && budget <= 1)) {
      Fail(Name(key), "is no budget in (0, 1]");
    }
    return budget;
  }

  std::string Name(absl::string_view key) const {
    return name_.empty() ? std::string(key) : absl::StrCat(name_, ".", key);
  }
  void Fail(absl::string_view field, absl::string_view what) const {
    if (status_->ok()) {
      *status_ = absl::InvalidArgumentError(absl::StrCat("field \"", field, "\" ", what));
    }
  }

 private:
  const Json& json_;
  const std::string name_;
  absl::Status* const status_;
};

TaskOffline TaskFromJson(const Reader& reader) {
  TaskOffline task;
  reader.Get("cost", &task.cost);
  reader.Get("cost_interval", &task.cost_interval);
  reader.Get("retained", &task.retained);
  reader.Get("retained_interval", &task.retained_interval);
  reader.GetInteger("traces", &task.traces);
  return task;
}

PolicyOffline PolicyFromJson(const Reader& reader, absl::Status* status) {
  PolicyOffline policy;
  reader.Get("cost", &policy.cost);
  reader.Get("retained", &policy.retained);
  reader.Get("cost_interval", &policy.cost_interval);
  reader.Get("retained_interval", &policy.retained_interval);
  reader.Get("cost_standard_error", &policy.cost_standard_error);
  reader.Get("retained_standard_error", &policy.retained_standard_error);
  reader.Get("curve", &policy.curve);
  reader.ForEach("tasks", [&](const std::string& name, const Reader& object) {
    policy.tasks[name] = TaskFromJson(object.Object(name));
  });
  const Json* heads = reader.Field("per_head");
  if (heads == nullptr) return policy;
  if (!heads->is_array()) {
    reader.Fail(reader.Name("per_head"), "is no array");
    return policy;
  }
  for (const Json& item : *heads) {
    const Reader object(item, reader.Name("per_head"), status);
    if (!status->ok()) return policy;
    HeadOffline head;
    object.GetInteger("layer", &head.layer);
    object.GetInteger("kv_head", &head.kv_head);
    object.Get("cost", &head.cost);
    object.Get("retained", &head.retained);
    object.GetInteger("traces", &head.traces);
    policy.heads.push_back(std::move(head));
  }
  return policy;
}

CacheResult CacheResultFromJson(const Reader& reader) {
  CacheResult result;
  reader.Get("accuracy", &result.accuracy);
  reader.ForEach("tasks", [&](const std::string& task, const Reader& object) {
    object.Get(task.c_str(), &result.tasks[task]);
  });
  reader.Get("task_mean", &result.task_mean);
  reader.ForEach("task_details", [&](const std::string& task, const Reader& object) {
    const Reader detail = object.Object(task);
    detail.Get("interval", &result.task_details[task].interval);
    detail.GetInteger("questions", &result.task_details[task].questions);
  });
  reader.Get("perplexity", &result.perplexity);
  reader.Get("cache_bytes", &result.cache_bytes);
  reader.Get("score_ms", &result.score_ms);
  reader.Get("compact_ms", &result.compact_ms);
  reader.Get("decode_ms_per_token", &result.decode_ms_per_token);
  reader.Get("cache_share", &result.cache_share);
  reader.GetInteger("correct", &result.correct);
  reader.GetInteger("questions", &result.questions);
  reader.Get("accuracy_interval", &result.accuracy_interval);
  reader.Get("accuracy_standard_error", &result.accuracy_standard_error);
  reader.Get("nats_per_token", &result.nats_per_token);
  reader.Get("nats_standard_error", &result.nats_standard_error);
  reader.Get("nats_over_full_cache", &result.nats_over_full_cache);
  reader.Get("nats_over_full_cache_standard_error", &result.nats_over_full_cache_standard_error);
  reader.GetInteger("perplexity_tokens", &result.perplexity_tokens);
  return result;
}

}  // namespace

std::string BudgetKey(double budget) { return Json(budget).dump(); }

absl::StatusOr<std::string> ResultsToJson(const Results& results) {
  Json json;
  json["model"] = results.model;
  json["traces"] = results.traces;
  json["tokens"] = results.tokens;
  json["bytes_per_token"] = Number(results.bytes_per_token);
  json["offline"] = Json::object();
  for (const auto& [name, policy] : results.offline) json["offline"][name] = ToJson(policy);
  json["in_model"] = Json::object();
  for (const auto& [name, budgets] : results.in_model) {
    Json& cells = json["in_model"][name] = Json::object();
    for (const auto& [budget, result] : budgets) cells[BudgetKey(budget)] = ToJson(result);
  }
  json["full_cache"] = ToJson(results.full_cache);
  json["entries_only"] = results.entries_only;
  Json& timing = json["timing"] = Json::object();
  for (const auto& [name, value] : results.timing) timing[name] = Number(value);
  if (!results.training_json.empty()) {
    ASSIGN_OR_RETURN(Json training,
                     ParseOrderedJson(results.training_json, "the training results"));
    if (!training.is_object()) {
      return absl::InvalidArgumentError("the training results are no JSON object");
    }
    timing["training"] = std::move(training);
  }
  const ModelFacts& facts = results.model_facts;
  json["model_facts"] = {{"fingerprint", facts.fingerprint},
                         {"layers", facts.layers},
                         {"query_heads", facts.query_heads},
                         {"kv_heads", facts.kv_heads},
                         {"head_dim", facts.head_dim},
                         {"device", facts.device},
                         {"dtype", facts.dtype}};
  json["agents"] = Json::object();
  for (const auto& [name, value] : results.agents) json["agents"][name] = value;
  json["protocol"] = {{"seed", results.seed},
                      {"confidence", Number(results.confidence)},
                      {"bootstrap_resamples", results.bootstrap_resamples},
                      {"held_out_traces", results.held_out_traces},
                      {"corrupt_blocks", results.corrupt_blocks},
                      {"prompts", results.prompts},
                      {"context_tokens", Number(results.context_tokens)},
                      {"text_windows", results.text_windows},
                      {"protected_sinks", results.protected_sinks},
                      {"protected_recent", results.protected_recent},
                      {"threads", results.threads}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Results> ResultsFromJson(absl::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const Json json, ParseOrderedJson(text, path));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no JSON object"));
  }
  absl::Status status;
  const Reader reader(json, "", &status);
  Results results;
  reader.Get("model", &results.model);
  reader.GetInteger("traces", &results.traces);
  reader.GetInteger("tokens", &results.tokens);
  reader.Get("bytes_per_token", &results.bytes_per_token);
  reader.ForEach("offline", [&](const std::string& name, const Reader& object) {
    results.offline.emplace_back(name, PolicyFromJson(object.Object(name), &status));
  });
  reader.ForEach("in_model", [&](const std::string& name, const Reader& object) {
    ByBudget<CacheResult> cells;
    object.ForEach(name.c_str(), [&](const std::string& budget, const Reader& cell) {
      cells[cell.Budget(budget)] = CacheResultFromJson(cell.Object(budget));
    });
    results.in_model.emplace_back(name, std::move(cells));
  });
  results.full_cache = CacheResultFromJson(reader.Object("full_cache"));
  reader.Get("entries_only", &results.entries_only);
  reader.ForEach("timing", [&](const std::string& name, const Reader& object) {
    if (name == "training") {
      results.training_json = object.Field("training")->dump();
    } else {
      object.Get(name.c_str(), &results.timing[name]);
    }
  });
  const Reader facts = reader.Object("model_facts");
  facts.Get("fingerprint", &results.model_facts.fingerprint);
  facts.GetInteger("layers", &results.model_facts.layers);
  facts.GetInteger("query_heads", &results.model_facts.query_heads);
  facts.GetInteger("kv_heads", &results.model_facts.kv_heads);
  facts.GetInteger("head_dim", &results.model_facts.head_dim);
  facts.Get("device", &results.model_facts.device);
  facts.Get("dtype", &results.model_facts.dtype);
  reader.ForEach("agents", [&](const std::string& name, const Reader& object) {
    object.Get(name.c_str(), &results.agents[name]);
  });
  const Reader protocol = reader.Object("protocol");
  protocol.GetInteger("seed", &results.seed);
  protocol.Get("confidence", &results.confidence);
  protocol.GetInteger("bootstrap_resamples", &results.bootstrap_resamples);
  protocol.GetInteger("held_out_traces", &results.held_out_traces);
  protocol.GetInteger("corrupt_blocks", &results.corrupt_blocks);
  protocol.GetInteger("prompts", &results.prompts);
  protocol.Get("context_tokens", &results.context_tokens);
  protocol.GetInteger("text_windows", &results.text_windows);
  protocol.GetInteger("protected_sinks", &results.protected_sinks);
  protocol.GetInteger("protected_recent", &results.protected_recent);
  protocol.GetInteger("threads", &results.threads);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
  }
  return results;
}

absl::Status WriteResults(const std::string& path, const Results& results) {
  ASSIGN_OR_RETURN(const std::string json, ResultsToJson(results));
  return WriteFileAtomically(path, {json});
}

absl::StatusOr<Results> ReadResults(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ResultsFromJson(text, path);
}

}  // namespace kvp
