#include "llm/tasks/question_set.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "llm/json_fields.h"
#include "llm/tasks/json_lines.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/json_text.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;
using Question = QuestionSet::Question;

// Of an article, each of which is related to every question of it, and of a question of HotpotQA;
// the published files have about a hundred and ten.
constexpr size_t kMaxDocuments = 1000;
constexpr size_t kMaxAnswers = 1000;

// Documents by text, numbered in the order of their texts once all are there.
class DocumentIndex {
 public:
  // A number that stays valid until Finish.
  size_t Add(std::string text) {
    return numbers_.emplace(std::move(text), numbers_.size()).first->second;
  }

  // Moves the documents into the set and rewrites its questions' numbers.
  void Finish(QuestionSet* set) {
    std::vector<size_t> sorted(numbers_.size());
    for (const auto& [text, number] : numbers_) {
      sorted[number] = set->documents.size();
      set->documents.push_back(text);
    }
    for (Question& question : set->questions) {
      for (size_t& document : question.documents) document = sorted[document];
      for (size_t& document : question.related) document = sorted[document];
    }
  }

 private:
  std::map<std::string, size_t> numbers_;
};

std::string Element(const std::string& prefix, const char* array, size_t index) {
  return absl::StrCat(prefix, array, "[", index, "].");
}

absl::StatusOr<std::vector<std::string>> SquadAnswers(const JsonFields& fields,
                                                      const std::string& path,
                                                      const std::string& prefix) {
  ASSIGN_OR_RETURN(const Json* answers, ObjectArray(fields, "answers"));
  if (answers->size() > kMaxAnswers) {
    return fields.Invalid("answers", absl::StrCat("more than ", kMaxAnswers));
  }
  std::vector<std::string> texts;
  for (size_t i = 0; i < answers->size(); ++i) {
    const JsonFields answer((*answers)[i], path, Element(prefix, "answers", i));
    ASSIGN_OR_RETURN(std::string text, NonEmptyString(answer, "text"));
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) {
      texts.push_back(std::move(text));
    }
  }
  return texts;
}

absl::Status AddSquadArticle(const Json& article, const std::string& path,
                             const std::string& prefix, DocumentIndex* index, QuestionSet* set) {
  ASSIGN_OR_RETURN(const Json* paragraphs,
                   ObjectArray(JsonFields(article, path, prefix), "paragraphs"));
  if (paragraphs->size() > kMaxDocuments) {
    return JsonFields(article, path, prefix)
        .Invalid("paragraphs", absl::StrCat("more than ", kMaxDocuments));
  }
  std::vector<size_t> documents;
  const size_t first_question = set->questions.size();
  for (size_t i = 0; i < paragraphs->size(); ++i) {
    const std::string place = Element(prefix, "paragraphs", i);
    const JsonFields fields((*paragraphs)[i], path, place);
    ASSIGN_OR_RETURN(std::string context, NonEmptyString(fields, "context"));
    const size_t document = index->Add(std::move(context));
    if (std::find(documents.begin(), documents.end(), document) == documents.end()) {
      documents.push_back(document);
    }
    const Json* questions = fields.Find("qas");
    // A paragraph may have no questions.
    if (questions != nullptr && questions->is_array() && questions->empty()) continue;
    ASSIGN_OR_RETURN(questions, ObjectArray(fields, "qas"));
    for (size_t j = 0; j < questions->size(); ++j) {
      const std::string question_place = Element(place, "qas", j);
      const JsonFields question_fields((*questions)[j], path, question_place);
      ASSIGN_OR_RETURN(const bool impossible, question_fields.BoolOr("is_impossible", false));
      if (impossible) continue;
      Question question;
      ASSIGN_OR_RETURN(question.text, NonEmptyString(question_fields, "question"));
      ASSIGN_OR_RETURN(question.answers, SquadAnswers(question_fields, path, question_place));
      question.documents = {document};
      set->questions.push_back(std::move(question));
    }
  }
  for (size_t i = first_question; i < set->questions.size(); ++i) {
    Question& question = set->questions[i];
    for (const size_t document : documents) {
      if (document != question.documents[0]) question.related.push_back(document);
    }
  }
  return absl::OkStatus();
}

// A document of HotpotQA: ["title", ["sentence", …]].
absl::StatusOr<std::string> HotpotDocument(const Json& pair, const JsonFields& question) {
  const auto is_string = [](const Json& value) { return value.is_string(); };
  if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_array() ||
      !std::all_of(pair[1].begin(), pair[1].end(), is_string)) {
    return question.Invalid("context", "its elements must be [\"title\", [\"sentence\", …]]");
  }
  return absl::StrCat(pair[0].get<std::string>(), "\n",
                      absl::StrJoin(pair[1].get<std::vector<std::string>>(), ""));
}

absl::Status AddHotpotQuestion(const JsonFields& fields, DocumentIndex* index, QuestionSet* set) {
  Question question;
  ASSIGN_OR_RETURN(question.text, NonEmptyString(fields, "question"));
  ASSIGN_OR_RETURN(std::string answer, NonEmptyString(fields, "answer"));
  question.answers = {std::move(answer)};
  const Json* context = fields.Find("context");
  if (context == nullptr || !context->is_array() || context->empty()) {
    return fields.Invalid("context", "an array is needed, with at least one document");
  }
  if (context->size() > kMaxDocuments) {
    return fields.Invalid("context", absl::StrCat("more than ", kMaxDocuments, " documents"));
  }
  for (const Json& pair : *context) {
    ASSIGN_OR_RETURN(std::string document, HotpotDocument(pair, fields));
    const size_t number = index->Add(std::move(document));
    std::vector<size_t>& documents = question.documents;
    if (std::find(documents.begin(), documents.end(), number) == documents.end()) {
      documents.push_back(number);
    }
  }
  set->questions.push_back(std::move(question));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QuestionSet> ReadQuestionSet(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, path));
  QuestionSet set;
  set.path = path;
  DocumentIndex index;
  if (json.is_object()) {
    set.format = QuestionSet::Format::kSquad;
    ASSIGN_OR_RETURN(const Json* articles, ObjectArray(JsonFields(json, path), "data"));
    for (size_t i = 0; i < articles->size(); ++i) {
      RETURN_IF_ERROR(AddSquadArticle((*articles)[i], path, Element("", "data", i), &index, &set));
    }
  } else if (json.is_array()) {
    set.format = QuestionSet::Format::kHotpotQa;
    for (size_t i = 0; i < json.size(); ++i) {
      if (!json[i].is_object()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": [", i, "] is a JSON ", json[i].type_name(), ", not an object"));
      }
      RETURN_IF_ERROR(
          AddHotpotQuestion(JsonFields(json[i], path, Element("", "", i)), &index, &set));
    }
  } else {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a JSON ", json.type_name(),
                                                   ": SQuAD is an object, HotpotQA an array"));
  }
  if (set.questions.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no question that has an answer"));
  }
  index.Finish(&set);
  return set;
}

}  // namespace kvp
