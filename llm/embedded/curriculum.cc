#include "llm/embedded/curriculum.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Different words in a copying sequence.
constexpr int kMinCopyWords = 12;
constexpr int kMaxCopyWords = 30;

}  // namespace

std::vector<CurriculumStage> EmbeddedCurriculum() {
  std::vector<CurriculumStage> stages(6);
  CurriculumStage* stage = &stages[0];
  stage->name = "copying";
  stage->text_tokens = 96;
  stage->copy_share = 0.75;
  stage->text_share = 0.25;
  stage->batch_tokens = 4224;
  stage->leave_accuracy = 0.9;
  stage->max_steps = 2000;

  stage = &stages[1];
  stage->name = "needles";
  stage->context_tokens = 40;
  stage->needles = 10;
  stage->text_tokens = 192;
  stage->copy_share = 0.15;
  stage->text_share = 0.3;
  stage->batch_tokens = 4224;
  stage->leave_accuracy = 0.9;
  stage->max_steps = 500;

  stages[2] = stages[1];
  stage = &stages[2];
  stage->name = "needles in 128";
  stage->context_tokens = 128;
  stage->needles = 8;

  stages[3] = stages[2];
  stage = &stages[3];
  stage->name = "needles in 256";
  stage->context_tokens = 256;
  stage->needles = 12;
  stage->text_tokens = 320;
  stage->copy_share = 0.1;
  stage->batch_tokens = 6336;

  stages[4] = stages[3];
  stage = &stages[4];
  stage->name = "needles in 512";
  stage->context_tokens = 512;
  stage->needles = 20;
  stage->text_tokens = 576;
  stage->copy_share = 0.05;
  stage->shorter_share = 0.2;
  stage->max_steps = 800;

  stages[5] = stages[4];
  stage = &stages[5];
  stage->name = "needles in 960";
  stage->context_tokens = 960;
  stage->needles = 28;
  stage->text_tokens = 1056;
  stage->copy_share = 0.02;
  stage->text_share = 0.35;
  stage->batch_tokens = 8448;
  stage->leave_accuracy = 2;
  return stages;
}

TrainingSequence SequenceFromTask(const RetrievalTask& task, const Tokenizer& tokenizer) {
  TrainingSequence sequence;
  const std::vector<int32_t> needle_start = tokenizer.Encode(" ;");
  const std::vector<int32_t> needle_end = tokenizer.Encode(" .");
  sequence.tokens = tokenizer.Encode(task.context);
  // own_kind[t] is about token t itself.
  std::vector<TargetKind> own_kinds;
  bool in_needle = false;
  for (int32_t token : sequence.tokens) {
    in_needle = in_needle || token == needle_start[0];
    own_kinds.push_back(in_needle ? TargetKind::kIgnored : TargetKind::kText);
    if (in_needle && token == needle_end[0]) in_needle = false;
  }
  for (const RetrievalTask::Question& question : task.questions) {
    for (int32_t token : tokenizer.Encode(question.question)) {
      sequence.tokens.push_back(token);
      own_kinds.push_back(TargetKind::kIgnored);
    }
    for (int32_t token : tokenizer.Encode(question.answer)) {
      sequence.tokens.push_back(token);
      own_kinds.push_back(TargetKind::kAnswer);
    }
  }
  sequence.kinds.assign(own_kinds.begin() + 1, own_kinds.end());
  sequence.kinds.push_back(TargetKind::kIgnored);
  return sequence;
}

absl::StatusOr<Curriculum> Curriculum::Create(const std::vector<std::string>& novels,
                                              const Tokenizer& tokenizer, uint64_t seed) {
  Curriculum curriculum(tokenizer, seed);
  std::set<std::string> words;
  for (const std::string& novel : novels) {
    curriculum.novel_tokens_.push_back(tokenizer.Encode(novel));
    ASSIGN_OR_RETURN(RetrievalTaskGenerator generator,
                     RetrievalTaskGenerator::Create(novel, [&tokenizer](absl::string_view text) {
                       return tokenizer.Encode(text).size();
                     }));
    words.insert(generator.words().begin(), generator.words().end());
    curriculum.generators_.push_back(std::move(generator));
  }
  if (curriculum.novel_tokens_.empty()) {
    return absl::InvalidArgumentError("curriculum: no novels");
  }
  for (const std::string& word : words) {
    curriculum.words_.push_back(tokenizer.Encode(absl::StrCat(" ", word))[0]);
  }
  return curriculum;
}

TrainingSequence Curriculum::CopySequence(int tokens, SplitMix64* random) const {
  const int unique = kMinCopyWords + random->Below(kMaxCopyWords - kMinCopyWords + 1);
  std::vector<int32_t> words;
  while (static_cast<int>(words.size()) < unique) {
    const int32_t word = words_[random->Below(words_.size())];
    if (std::find(words.begin(), words.end(), word) == words.end()) {
      words.push_back(word);
    }
  }
  TrainingSequence sequence;
  for (int t = 0; t < tokens; ++t) {
    sequence.tokens.push_back(words[t % unique]);
    sequence.kinds.push_back(t + 1 >= unique && t + 1 < tokens ? TargetKind::kCopy
                                                               : TargetKind::kIgnored);
  }
  // What follows the list's first pass is its first word, but nothing has
  // said so yet.
  sequence.kinds[unique - 1] = TargetKind::kIgnored;
  return sequence;
}

TrainingSequence Curriculum::TextSequence(int tokens, SplitMix64* random) const {
  // Novels by length.
  size_t total = 0;
  for (const auto& novel : novel_tokens_) total += novel.size();
  size_t position = random->Below(total);
  size_t index = 0;
  while (position >= novel_tokens_[index].size()) {
    position -= novel_tokens_[index++].size();
  }
  const std::vector<int32_t>& novel = novel_tokens_[index];
  const size_t size = std::min<size_t>(tokens, novel.size());
  const size_t begin = std::min(position, novel.size() - size);
  TrainingSequence sequence;
  sequence.tokens.assign(novel.begin() + begin, novel.begin() + begin + size);
  sequence.kinds.assign(size, TargetKind::kText);
  sequence.kinds.back() = TargetKind::kIgnored;
  return sequence;
}

absl::StatusOr<TrainingSequence> Curriculum::NeedleSequence(const CurriculumStage& stage,
                                                            SplitMix64* random) const {
  RetrievalOptions options;
  options.needles = stage.needles;
  options.context_tokens = stage.context_tokens;
  if (random->Uniform() < stage.shorter_share) {
    options.needles = 8 + random->Below(stage.needles - 7);
    const int shortest = 4 * options.needles;
    options.context_tokens = shortest + random->Below(stage.context_tokens - shortest + 1);
  }
  options.questions = options.needles;
  const RetrievalTaskGenerator& generator = generators_[random->Below(generators_.size())];
  ASSIGN_OR_RETURN(const RetrievalTask task, generator.Generate(options, random->Next()));
  return SequenceFromTask(task, *tokenizer_);
}

absl::StatusOr<std::vector<TrainingSequence>> Curriculum::MakeBatch(const CurriculumStage& stage,
                                                                    int64_t step) const {
  SplitMix64 random(seed_ * 1000003 + step);
  random.Next();
  std::vector<TrainingSequence> batch;
  int room = stage.batch_tokens;
  // Tokens of each kind so far; the kind that lags behind its share is next.
  double copied = 0, text = 0, needles = 0;
  const double needle_share = 1 - stage.copy_share - stage.text_share;
  while (true) {
    TrainingSequence sequence;
    const double total = copied + text + needles + 1;
    const double copy_lag = stage.copy_share - copied / total;
    const double text_lag = stage.text_share - text / total;
    const double needle_lag = stage.needles == 0 ? -1 : needle_share - needles / total;
    // Drawing the start keeps small shares alive in small batches.
    const double draw = total == 1 ? random.Uniform() : -1;
    if (draw >= 0 ? draw < stage.copy_share : copy_lag >= text_lag && copy_lag >= needle_lag) {
      sequence = CopySequence(stage.copy_tokens, &random);
      copied += sequence.tokens.size();
    } else if (draw >= 0 ? draw < stage.copy_share + stage.text_share : text_lag >= needle_lag) {
      sequence = TextSequence(stage.text_tokens, &random);
      text += sequence.tokens.size();
    } else {
      ASSIGN_OR_RETURN(sequence, NeedleSequence(stage, &random));
      needles += sequence.tokens.size();
    }
    room -= sequence.tokens.size();
    if (room < 0 && !batch.empty()) return batch;
    batch.push_back(std::move(sequence));
  }
}

}  // namespace kvp
