// Trains the embedded model from nothing and writes it with its texts.
//
//   train_embedded_model --output llm/embedded --seed 1
//
// writes OUTPUT/model/ (Hugging Face layout) and OUTPUT/text/{train,held_out}
// .txt. The text is six Austen novels from Debian's r-cran-janeaustenr, of
// which one is held out. On one kind of processor the same seed gives the same
// files, whatever the number of threads.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "llm/embedded/austen_corpus.h"
#include "llm/embedded/byte_pair_trainer.h"
#include "llm/embedded/curriculum.h"
#include "llm/embedded/evaluation.h"
#include "llm/embedded/model_export.h"
#include "llm/embedded/muon_optimizer.h"
#include "llm/embedded/training_model.h"
#include "llm/tokenizer.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/safetensors.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

ABSL_FLAG(std::string, output, "", "Folder that gets model/ and text/.");
ABSL_FLAG(std::string, corpus, kvp::kAustenDatabasePath,
          "The novels: Rdata.rdb of r-cran-janeaustenr.");
ABSL_FLAG(uint64_t, seed, 1, "Seed of weights and batches.");
ABSL_FLAG(int64_t, steps, 4000, "Optimiser steps.");
ABSL_FLAG(int, threads, 2, "Compute threads.");
ABSL_FLAG(double, muon_rate, 0.02, "Peak step size of hidden matrices.");
ABSL_FLAG(double, adam_rate, 3e-3, "Peak step size of everything else.");
ABSL_FLAG(std::string, checkpoint, "",
          "File to which the state of training is saved, and from which it "
          "goes on if it exists; none if empty.");
ABSL_FLAG(int, save_every, 250, "Steps between checkpoints, each with the model in OUTPUT.");

namespace kvp {
namespace {

constexpr int kVocabulary = 2048;
constexpr char kHeldOutTitle[] = "persuasion";
// Its text ships for training traces, so that the quickstart needs no R
// package.
constexpr char kShippedTitle[] = "northanger abbey";
constexpr size_t kShippedBytes = 480 * 1000;
// Tokens that go through the model at once; their activations take about
// 50 MB.
constexpr int64_t kMicrobatchTokens = 1056;
constexpr int kWarmupSteps = 50;
// Share of the steps after which the rate falls to nothing, linearly.
constexpr double kDecayStart = 0.4;
constexpr double kAccuracyMemory = 0.95;
// Weights of the mean losses.
constexpr double kTextWeight = 0.5;
constexpr double kCopyWeightLater = 0.2;

struct Texts {
  std::vector<std::string> training;
  std::string shipped;
  std::string held_out;
};

// The longest run of whole paragraphs from the beginning, one a line.
std::string FirstParagraphs(const Novel& novel, size_t max_bytes) {
  std::string text;
  for (const std::string& paragraph : novel.paragraphs) {
    if (text.size() + paragraph.size() + 1 > max_bytes) break;
    absl::StrAppend(&text, paragraph, "\n");
  }
  return text;
}

absl::StatusOr<Texts> LoadTexts(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<Novel> novels, ReadAustenNovels(path));
  Texts texts;
  for (const Novel& novel : novels) {
    if (novel.title == kHeldOutTitle) {
      texts.held_out = FirstParagraphs(novel, kShippedBytes);
      continue;
    }
    texts.training.push_back(absl::StrJoin(novel.paragraphs, "\n") + "\n");
    if (novel.title == kShippedTitle) {
      texts.shipped = FirstParagraphs(novel, kShippedBytes);
    }
  }
  if (texts.held_out.empty() || texts.shipped.empty()) {
    return absl::DataLossError(absl::StrCat(path, ": a novel is missing"));
  }
  return texts;
}

double RateFactor(int64_t step, int64_t steps) {
  const double warm = std::min(1.0, static_cast<double>(step) / kWarmupSteps);
  const double progress = static_cast<double>(step) / (steps + 1);
  return warm * std::min(1.0, (1 - progress) / (1 - kDecayStart));
}

// Runs `work(thread)` on `threads` threads, this one among them.
template <typename Work>
void InParallel(int threads, Work work) {
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) {
    others.emplace_back([&work, i] {
      at::set_num_threads(1);
      work(i);
    });
  }
  work(0);
  for (std::thread& thread : others) thread.join();
}

class Trainer {
 public:
  Trainer(TrainingModel* model, const MuonOptions& options, int threads, bool use_bf16)
      : model_(*model),
        threads_(threads),
        workspaces_(threads),
        optimizer_(options, Rules(*model), model->parameters(), use_bf16) {}

  // One optimiser step; returns the loss sums before it.
  LossSums Step(const std::vector<TrainingSequence>& batch, int64_t step, double rate_factor,
                double copy_weight);

  MuonOptimizer& optimizer() { return optimizer_; }

 private:
  static std::vector<ParameterRule> Rules(const TrainingModel& model);

  TrainingModel& model_;
  int threads_;
  std::vector<TrainingModel::Workspace> workspaces_;
  MuonOptimizer optimizer_;
};

std::vector<ParameterRule> Trainer::Rules(const TrainingModel& model) {
  using Index = ParameterIndex;
  const TrainingModelConfig& config = model.config();
  const int64_t kv = config.kv_heads * kHeadDim;
  std::vector<ParameterRule> rules(model.parameters().size());
  for (int64_t l = 0; l < config.layers; ++l) {
    rules[Index::Of(l, Index::kQkv)].blocks = {config.query_heads * kHeadDim, kv, kv};
    rules[Index::Of(l, Index::kOutput)].blocks = {config.hidden};
    rules[Index::Of(l, Index::kGateUp)].blocks = {config.feed_forward, config.feed_forward};
    rules[Index::Of(l, Index::kDown)].blocks = {config.hidden};
  }
  return rules;
}

LossSums Trainer::Step(const std::vector<TrainingSequence>& batch, int64_t step, double rate_factor,
                       double copy_weight) {
  std::array<int64_t, kTargetKinds> targets = {};
  std::vector<std::vector<const TrainingSequence*>> microbatches;
  int64_t room = 0;
  for (const TrainingSequence& sequence : batch) {
    for (TargetKind kind : sequence.kinds) ++targets[static_cast<int>(kind)];
    const int64_t padded =
        (sequence.tokens.size() + kSequenceMultiple - 1) / kSequenceMultiple * kSequenceMultiple;
    if (microbatches.empty() || padded > room) {
      microbatches.emplace_back();
      room = kMicrobatchTokens;
    }
    microbatches.back().push_back(&sequence);
    room -= padded;
  }
  std::array<float, kTargetKinds> weights = {};
  const auto set_weight = [&](TargetKind kind, double weight) {
    const int k = static_cast<int>(kind);
    if (targets[k] > 0) weights[k] = weight / targets[k];
  };
  set_weight(TargetKind::kText, kTextWeight);
  set_weight(TargetKind::kAnswer, 1.0);
  set_weight(TargetKind::kCopy, copy_weight);

  // Every microbatch has its own gradients, added up in their order: the sum
  // doesn't depend on which thread took which.
  std::vector<std::vector<at::Tensor>> gradients(microbatches.size());
  std::vector<LossSums> sums(microbatches.size());
  std::atomic<size_t> next_microbatch{0};
  InParallel(threads_, [&](int thread) {
    while (true) {
      const size_t i = next_microbatch++;
      if (i >= microbatches.size()) return;
      sums[i] =
          model_.ForwardBackward(microbatches[i], weights, &gradients[i], &workspaces_[thread]);
    }
  });
  std::vector<at::Tensor>& parameters = model_.parameters();
  std::atomic<size_t> next_parameter{0};
  InParallel(threads_, [&](int) {
    while (true) {
      const size_t p = next_parameter++;
      if (p >= parameters.size()) return;
      at::Tensor total = gradients[0][p];
      for (size_t i = 1; i < gradients.size(); ++i) {
        total.add_(gradients[i][p]);
      }
      optimizer_.Update(p, step, rate_factor, total, &parameters[p]);
    }
  });
  model_.RefreshGemmWeights();
  LossSums result;
  for (const LossSums& sum : sums) result.Add(sum);
  return result;
}

// Where training is; together with parameters and optimiser state all that
// the rest of it depends on.
struct Position {
  int64_t step = 0;
  int64_t stage = 0;
  int64_t stage_steps = 0;
  double accuracy = 0;  // Exponentially decaying mean of the stage's task.
};

absl::Status SaveCheckpoint(const std::string& path, const Position& position,
                            const TrainingModel& model, MuonOptimizer* optimizer) {
  std::map<std::string, at::Tensor> tensors;
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    tensors[absl::StrFormat("parameter.%03d", i)] = model.parameters()[i];
  }
  for (size_t i = 0; i < optimizer->state().size(); ++i) {
    tensors[absl::StrFormat("state.%03d", i)] = optimizer->state()[i];
  }
  tensors["position"] =
      at::tensor({static_cast<double>(position.step), static_cast<double>(position.stage),
                  static_cast<double>(position.stage_steps), position.accuracy},
                 at::kDouble);
  return WriteTensors(path, tensors);
}

// NOT_FOUND if there is no checkpoint.
absl::StatusOr<Position> LoadCheckpoint(const std::string& path, TrainingModel* model,
                                        MuonOptimizer* optimizer) {
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  const auto load = [&file](const std::string& name, at::Tensor* tensor) -> absl::Status {
    ASSIGN_OR_RETURN(const SafetensorsEntry* entry, file->Find(name));
    ASSIGN_OR_RETURN(const at::Tensor stored, TensorOfEntry(*entry));
    if (stored.sizes() != tensor->sizes()) {
      return absl::InvalidArgumentError(absl::StrCat(file->path(), ": ", name, ": wrong shape"));
    }
    tensor->copy_(stored);
    return absl::OkStatus();
  };
  for (size_t i = 0; i < model->parameters().size(); ++i) {
    RETURN_IF_ERROR(load(absl::StrFormat("parameter.%03d", i), &model->parameters()[i]));
  }
  for (size_t i = 0; i < optimizer->state().size(); ++i) {
    RETURN_IF_ERROR(load(absl::StrFormat("state.%03d", i), &optimizer->state()[i]));
  }
  model->RefreshGemmWeights();
  at::Tensor stored = at::zeros({4}, at::kDouble);
  RETURN_IF_ERROR(load("position", &stored));
  const double* values = stored.data_ptr<double>();
  Position position;
  position.step = values[0];
  position.stage = values[1];
  position.stage_steps = values[2];
  position.accuracy = values[3];
  return position;
}

absl::Status Run() {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output.empty()) return absl::InvalidArgumentError("--output is missing");
  const int64_t steps = absl::GetFlag(FLAGS_steps);
  const int threads = std::max(1, absl::GetFlag(FLAGS_threads));
  const uint64_t seed = absl::GetFlag(FLAGS_seed);
  const std::string checkpoint = absl::GetFlag(FLAGS_checkpoint);
  at::set_num_threads(1);

  ASSIGN_OR_RETURN(const Texts texts, LoadTexts(absl::GetFlag(FLAGS_corpus)));
  RETURN_IF_ERROR(MakeDirectories(output + "/text"));
  RETURN_IF_ERROR(WriteFileAtomically(output + "/text/train.txt", {texts.shipped}));
  RETURN_IF_ERROR(WriteFileAtomically(output + "/text/held_out.txt", {texts.held_out}));
  // The task's marks are tokens of their own, although no novel has them.
  ASSIGN_OR_RETURN(
      const BytePairVocabulary vocabulary,
      TrainBytePairs(absl::StrJoin(texts.training, "\n"), kVocabulary, {" ;", " ?", " ."}));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::Parse(TokenizerJson(vocabulary), "tokenizer.json"));
  ASSIGN_OR_RETURN(const Curriculum curriculum,
                   Curriculum::Create(texts.training, *tokenizer, seed));

  TrainingModelConfig config;
  config.vocabulary = vocabulary.size();
  const bool use_bf16 = HasNativeBf16();
  TrainingModel model(config, seed, use_bf16);
  MuonOptions options;
  options.muon_rate = absl::GetFlag(FLAGS_muon_rate);
  options.adam_rate = absl::GetFlag(FLAGS_adam_rate);
  Trainer trainer(&model, options, threads, use_bf16);
  Position position;
  if (!checkpoint.empty()) {
    absl::StatusOr<Position> loaded = LoadCheckpoint(checkpoint, &model, &trainer.optimizer());
    if (loaded.ok()) {
      position = *loaded;
    } else if (!absl::IsNotFound(loaded.status())) {
      return loaded.status();
    }
  }
  const std::string model_directory = output + "/model";
  RETURN_IF_ERROR(WriteModelDirectory(model_directory, model, vocabulary));

  const std::vector<CurriculumStage> stages = EmbeddedCurriculum();
  const absl::Time start = absl::Now();
  const int64_t first_step = position.step;
  absl::Time last_log = start;
  int64_t tokens_since_log = 0;
  while (position.step < steps) {
    const CurriculumStage& stage = stages[position.stage];
    const int64_t step = ++position.step;
    ASSIGN_OR_RETURN(const std::vector<TrainingSequence> batch, curriculum.MakeBatch(stage, step));
    const bool copying = stage.needles == 0;
    const LossSums sums =
        trainer.Step(batch, step, RateFactor(step, steps), copying ? 1.0 : kCopyWeightLater);
    const double accuracy = sums.Accuracy(copying ? TargetKind::kCopy : TargetKind::kAnswer);
    position.accuracy = kAccuracyMemory * position.accuracy + (1 - kAccuracyMemory) * accuracy;
    ++position.stage_steps;
    for (const TrainingSequence& sequence : batch) {
      tokens_since_log += sequence.tokens.size();
    }
    if (step % 20 == 0 || step == steps) {
      const absl::Time now = absl::Now();
      LogInfo(absl::StrFormat(
          "step %d/%d, %s: text %.3f, copy %.3f (%.3f right), answers %.3f "
          "(%.3f right, mean of stage %.3f), %.0f tokens/s, %.0f s done, "
          "about %.0f s to go",
          step, steps, stage.name, sums.MeanNats(TargetKind::kText),
          sums.MeanNats(TargetKind::kCopy), sums.Accuracy(TargetKind::kCopy),
          sums.MeanNats(TargetKind::kAnswer), sums.Accuracy(TargetKind::kAnswer), position.accuracy,
          tokens_since_log / absl::ToDoubleSeconds(now - last_log),
          absl::ToDoubleSeconds(now - start),
          absl::ToDoubleSeconds(now - start) / (step - first_step) * (steps - step)));
      last_log = now;
      tokens_since_log = 0;
    }
    if (position.stage + 1 < static_cast<int64_t>(stages.size()) &&
        (position.accuracy > stage.leave_accuracy || position.stage_steps >= stage.max_steps)) {
      LogInfo(absl::StrCat("step ", step, ": stage '", stage.name, "' ends after ",
                           position.stage_steps, " steps"));
      ++position.stage;
      position.stage_steps = 0;
      position.accuracy = 0;
    }
    if (step % absl::GetFlag(FLAGS_save_every) == 0) {
      if (!checkpoint.empty()) {
        RETURN_IF_ERROR(SaveCheckpoint(checkpoint, position, model, &trainer.optimizer()));
      }
      RETURN_IF_ERROR(WriteModelDirectory(model_directory, model, vocabulary));
    }
  }

  RETURN_IF_ERROR(WriteModelDirectory(model_directory, model, vocabulary));
  // What is judged is what the file holds, computed in fp32.
  TrainingModel rounded(config, seed, /*use_bf16=*/false);
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    rounded.parameters()[i].copy_(model.parameters()[i]);
  }
  RoundToBf16(&rounded);
  ASSIGN_OR_RETURN(const EmbeddedEvaluation evaluation,
                   EvaluateEmbeddedModel(rounded, *tokenizer, texts.held_out,
                                         curriculum.novel_tokens(), EvaluationOptions()));
  LogInfo(absl::StrFormat(
      "held out: %.4f of %d questions right; %.4f nats a token on %d tokens "
      "of text (bigram model %.4f); %.0f s",
      evaluation.recall, evaluation.questions, evaluation.nats_per_token, evaluation.text_tokens,
      evaluation.bigram_nats_per_token, absl::ToDoubleSeconds(absl::Now() - start)));
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  // Activations and gradients of some megabytes come and go at every step.
  kvp::TuneMallocForLargeBuffers();
  kvp::ParseCommandLine(argc, argv,
                        "train_embedded_model: trains the embedded model from Austen's novels.\n"
                        "\nExample:\n  train_embedded_model --output llm/embedded --seed 1");
  kvp::SetLogName("train_embedded_model");
  return kvp::ExitStatus(kvp::Run());
}
