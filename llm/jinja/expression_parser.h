// Tokens to expressions.

#ifndef KVP_LLM_JINJA_EXPRESSION_PARSER_H_
#define KVP_LLM_JINJA_EXPRESSION_PARSER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/jinja/lexer.h"
#include "llm/jinja/syntax.h"

namespace kvp::jinja {

// Goes through the tokens of a template; the last one must be kEnd.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[position_]; }
  void Advance() {
    if (position_ + 1 < tokens_.size()) ++position_;
  }
  bool IsOperator(absl::string_view text) const {
    return current().kind == Token::Kind::kOperator && current().text == text;
  }
  bool IsName(absl::string_view text) const {
    return current().kind == Token::Kind::kName && current().text == text;
  }
  // Whether the token was there; if so, goes on.
  bool TakeOperator(absl::string_view text);
  bool TakeName(absl::string_view text);
  absl::Status Expect(Token::Kind kind, absl::string_view what);
  absl::Status ExpectOperator(absl::string_view text);
  absl::StatusOr<std::string> ExpectName();
  // INVALID_ARGUMENT with the line.
  absl::Status Error(absl::string_view what) const;

  // The precedences, from the loosest on; errors name the line.
  absl::StatusOr<ExpressionPointer> ParseExpression();
  // Without "… if … else …", as the list of a `for` is.
  absl::StatusOr<ExpressionPointer> ParseOr();
  // One expression, or several with commas as a list.
  absl::StatusOr<ExpressionPointer> ParseTuple();

 private:
  using Result = absl::StatusOr<ExpressionPointer>;
  using Level = Result (ExpressionParser::*)();

  ExpressionPointer New(Expression::Kind kind, std::string name = "") const;
  Result Binary(Level next, std::initializer_list<absl::string_view> operators);
  Result ParseAnd();
  Result ParseNot();
  Result ParseComparison();
  Result ParseSum();
  Result ParseConcatenation();
  Result ParseProduct();
  Result ParsePower();
  Result ParseUnary();
  Result ParseSigned(bool with_filters);
  Result ParsePrimary();
  Result ParseNameOrLiteral();
  Result ParseParenthesized();
  Result ParseList();
  Result ParseDict();
  Result ParsePostfix(ExpressionPointer operand);
  Result ParseSubscript(ExpressionPointer operand);
  Result ParseFilters(ExpressionPointer operand);
  Result ParseTest(ExpressionPointer operand);
  absl::Status ParseArguments(Expression& call);

  const std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
};

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_EXPRESSION_PARSER_H_
