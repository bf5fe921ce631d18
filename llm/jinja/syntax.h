// A template, parsed: what it is made of.

#ifndef KVP_LLM_JINJA_SYNTAX_H_
#define KVP_LLM_JINJA_SYNTAX_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/jinja/value.h"

namespace kvp::jinja {

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    kLiteral,      // value
    kName,         // name
    kList,         // operands
    kDict,         // operands: key, value, key, value, …
    kMember,       // operands[0] . name
    kSubscript,    // operands[0] [ operands[1] ]
    kSlice,        // operands[0] [ operands[1] : operands[2] : operands[3] ], each may be null
    kCall,         // operands[0] ( operands[1…], named )
    kFilter,       // operands[0] | name ( operands[1…], named )
    kTest,         // operands[0] is name ( operands[1…], named )
    kUnary,        // name operands[0]: "not", "-", "+"
    kBinary,       // operands[0] name operands[1]
    kConditional,  // operands[0] if operands[1] else operands[2], which may be null
  };
  Kind kind;
  int line;
  std::string name;
  Value value;
  std::vector<ExpressionPointer> operands;
  std::vector<std::pair<std::string, ExpressionPointer>> named;
};

struct Statement;
using Statements = std::vector<Statement>;

struct Statement {
  enum class Kind {
    kText,      // text
    kPrint,     // expression
    kIf,        // expression, body, otherwise
    kFor,       // names, expression, condition (or null), body, otherwise
    kSet,       // names (or names[0] . member) = expression, or body where that is null
    kMacro,     // names[0] ( parameters ), body
    kBlock,     // body alone
    kBreak,     //
    kContinue,  //
  };
  Kind kind;
  int line = 0;
  std::string text;
  std::vector<std::string> names;
  std::string member;
  ExpressionPointer expression;
  ExpressionPointer condition;
  std::vector<std::pair<std::string, ExpressionPointer>> parameters;  // with defaults, or null
  Statements body;
  Statements otherwise;
};

// INVALID_ARGUMENT, naming the line, for what is no template; UNIMPLEMENTED for a statement that
// isn't supported.
absl::StatusOr<Statements> ParseTemplate(absl::string_view source);

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_SYNTAX_H_
