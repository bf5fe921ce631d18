#include "llm/jinja/expression_parser.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

using Kind = Expression::Kind;

// Deeper than any template; each level takes stack.
constexpr int kMaxDepth = 100;

}  // namespace

absl::Status ExpressionParser::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat("line ", current().line, ": ", what));
}

bool ExpressionParser::TakeOperator(absl::string_view text) {
  if (!IsOperator(text)) return false;
  Advance();
  return true;
}

bool ExpressionParser::TakeName(absl::string_view text) {
  if (!IsName(text)) return false;
  Advance();
  return true;
}

absl::Status ExpressionParser::Expect(Token::Kind kind, absl::string_view what) {
  if (current().kind != kind) {
    return Error(absl::StrCat(what, " is needed, not \"", current().text, "\""));
  }
  Advance();
  return absl::OkStatus();
}

absl::Status ExpressionParser::ExpectOperator(absl::string_view text) {
  if (TakeOperator(text)) return absl::OkStatus();
  return Error(absl::StrCat("\"", text, "\" is needed, not \"", current().text, "\""));
}

absl::StatusOr<std::string> ExpressionParser::ExpectName() {
  std::string name = current().text;
  RETURN_IF_ERROR(Expect(Token::Kind::kName, "a name"));
  return name;
}

ExpressionPointer ExpressionParser::New(Kind kind, std::string name) const {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->line = current().line;
  expression->name = std::move(name);
  return expression;
}

absl::StatusOr<ExpressionPointer> ExpressionParser::ParseExpression() {
  if (depth_ == kMaxDepth) return Error("nested too deeply");
  ++depth_;
  ASSIGN_OR_RETURN(ExpressionPointer result, ParseOr());
  while (TakeName("if")) {
    ExpressionPointer conditional = New(Kind::kConditional);
    conditional->operands.push_back(std::move(result));
    ASSIGN_OR_RETURN(ExpressionPointer condition, ParseOr());
    conditional->operands.push_back(std::move(condition));
    ExpressionPointer otherwise;
    if (TakeName("else")) {
      ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    conditional->operands.push_back(std::move(otherwise));
    result = std::move(conditional);
  }
  --depth_;
  return result;
}

absl::StatusOr<ExpressionPointer> ExpressionParser::ParseTuple() {
  ASSIGN_OR_RETURN(ExpressionPointer first, ParseExpression());
  if (!IsOperator(",")) return first;
  ExpressionPointer list = New(Kind::kList);
  list->operands.push_back(std::move(first));
  while (TakeOperator(",")) {
    const bool is_end = IsOperator(")") || current().kind == Token::Kind::kBlockEnd ||
                        current().kind == Token::Kind::kVariableEnd;
    if (is_end) break;
    ASSIGN_OR_RETURN(ExpressionPointer member, ParseExpression());
    list->operands.push_back(std::move(member));
  }
  return list;
}

ExpressionParser::Result ExpressionParser::Binary(
    Level next, std::initializer_list<absl::string_view> operators) {
  ASSIGN_OR_RETURN(ExpressionPointer left, (this->*next)());
  while (true) {
    absl::string_view found;
    for (const absl::string_view op : operators) {
      if (IsOperator(op) || IsName(op)) found = op;
    }
    if (found.empty()) return left;
    ExpressionPointer binary = New(Kind::kBinary, std::string(found));
    Advance();
    binary->operands.push_back(std::move(left));
    ASSIGN_OR_RETURN(ExpressionPointer right, (this->*next)());
    binary->operands.push_back(std::move(right));
    left = std::move(binary);
  }
}

ExpressionParser::Result ExpressionParser::ParseOr() {
  return Binary(&ExpressionParser::ParseAnd, {"or"});
}

ExpressionParser::Result ExpressionParser::ParseAnd() {
  return Binary(&ExpressionParser::ParseNot, {"and"});
}

ExpressionParser::Result ExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseComparison();
  if (depth_ == kMaxDepth) return Error("nested too deeply");
  ExpressionPointer negation = New(Kind::kUnary, "not");
  Advance();
  ++depth_;
  ASSIGN_OR_RETURN(ExpressionPointer operand, ParseNot());
  --depth_;
  negation->operands.push_back(std::move(operand));
  return negation;
}

// One comparison: Python's chains of them, "a < b < c", are refused.
ExpressionParser::Result ExpressionParser::ParseComparison() {
  ASSIGN_OR_RETURN(ExpressionPointer left, ParseSum());
  std::string op;
  for (const absl::string_view candidate : {"==", "!=", ">=", "<=", ">", "<"}) {
    if (op.empty() && TakeOperator(candidate)) op = std::string(candidate);
  }
  if (op.empty() && TakeName("in")) op = "in";
  const bool is_not_in = IsName("not") && position_ + 1 < tokens_.size() &&
                         tokens_[position_ + 1].kind == Token::Kind::kName &&
                         tokens_[position_ + 1].text == "in";
  if (op.empty() && is_not_in) {
    Advance();
    Advance();
    op = "not in";
  }
  if (op.empty()) return left;
  ExpressionPointer comparison = New(Kind::kBinary, op);
  comparison->operands.push_back(std::move(left));
  ASSIGN_OR_RETURN(ExpressionPointer right, ParseSum());
  comparison->operands.push_back(std::move(right));
  for (const absl::string_view next : {"==", "!=", ">=", "<=", ">", "<"}) {
    if (IsOperator(next)) return Error("a chain of comparisons isn't supported");
  }
  return comparison;
}

ExpressionParser::Result ExpressionParser::ParseSum() {
  return Binary(&ExpressionParser::ParseConcatenation, {"+", "-"});
}

ExpressionParser::Result ExpressionParser::ParseConcatenation() {
  return Binary(&ExpressionParser::ParseProduct, {"~"});
}

ExpressionParser::Result ExpressionParser::ParseProduct() {
  return Binary(&ExpressionParser::ParsePower, {"*", "/", "//", "%"});
}

ExpressionParser::Result ExpressionParser::ParsePower() {
  return Binary(&ExpressionParser::ParseUnary, {"**"});
}

ExpressionParser::Result ExpressionParser::ParseUnary() { return ParseSigned(true); }

ExpressionParser::Result ExpressionParser::ParseSigned(bool with_filters) {
  ExpressionPointer operand;
  if (IsOperator("-") || IsOperator("+")) {
    if (depth_ == kMaxDepth) return Error("nested too deeply");
    operand = New(Kind::kUnary, current().text);
    Advance();
    ++depth_;
    ASSIGN_OR_RETURN(ExpressionPointer number, ParseSigned(false));
    --depth_;
    operand->operands.push_back(std::move(number));
  } else {
    ASSIGN_OR_RETURN(operand, ParsePrimary());
  }
  ASSIGN_OR_RETURN(operand, ParsePostfix(std::move(operand)));
  if (!with_filters) return operand;
  return ParseFilters(std::move(operand));
}

ExpressionParser::Result ExpressionParser::ParsePrimary() {
  const Token& token = current();
  switch (token.kind) {
    case Token::Kind::kName:
      return ParseNameOrLiteral();
    case Token::Kind::kString: {
      ExpressionPointer literal = New(Kind::kLiteral);
      std::string text;
      // Strings beside each other are one.
      for (; current().kind == Token::Kind::kString; Advance()) text += current().text;
      literal->value = std::move(text);
      return literal;
    }
    case Token::Kind::kInteger:
    case Token::Kind::kFloat: {
      ExpressionPointer literal = New(Kind::kLiteral);
      const char* digits = token.text.c_str();
      if (token.kind == Token::Kind::kInteger) {
        literal->value = static_cast<int64_t>(std::strtoll(digits, nullptr, 10));
      } else {
        literal->value = std::strtod(digits, nullptr);
      }
      Advance();
      return literal;
    }
    default:
      break;
  }
  if (IsOperator("(")) return ParseParenthesized();
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  return Error(absl::StrCat("an expression is needed, not \"", token.text, "\""));
}

ExpressionParser::Result ExpressionParser::ParseNameOrLiteral() {
  const std::string name = current().text;
  ExpressionPointer expression = New(Kind::kLiteral);
  if (name == "true" || name == "True") {
    expression->value = true;
  } else if (name == "false" || name == "False") {
    expression->value = false;
  } else if (name == "none" || name == "None") {
    expression->value = None{};
  } else {
    expression->kind = Kind::kName;
    expression->name = name;
  }
  Advance();
  return expression;
}

ExpressionParser::Result ExpressionParser::ParseParenthesized() {
  ExpressionPointer empty = New(Kind::kList);
  Advance();
  if (TakeOperator(")")) return empty;
  ASSIGN_OR_RETURN(ExpressionPointer inner, ParseTuple());
  RETURN_IF_ERROR(ExpectOperator(")"));
  return inner;
}

ExpressionParser::Result ExpressionParser::ParseList() {
  ExpressionPointer list = New(Kind::kList);
  Advance();
  while (!TakeOperator("]")) {
    ASSIGN_OR_RETURN(ExpressionPointer member, ParseExpression());
    list->operands.push_back(std::move(member));
    if (!IsOperator("]")) RETURN_IF_ERROR(ExpectOperator(","));
  }
  return list;
}

ExpressionParser::Result ExpressionParser::ParseDict() {
  ExpressionPointer dict = New(Kind::kDict);
  Advance();
  while (!TakeOperator("}")) {
    ASSIGN_OR_RETURN(ExpressionPointer key, ParseExpression());
    dict->operands.push_back(std::move(key));
    RETURN_IF_ERROR(ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExpressionPointer value, ParseExpression());
    dict->operands.push_back(std::move(value));
    if (!IsOperator("}")) RETURN_IF_ERROR(ExpectOperator(","));
  }
  return dict;
}

ExpressionParser::Result ExpressionParser::ParsePostfix(ExpressionPointer operand) {
  while (true) {
    if (IsOperator("(")) {
      ExpressionPointer call = New(Kind::kCall);
      call->operands.push_back(std::move(operand));
      RETURN_IF_ERROR(ParseArguments(*call));
      operand = std::move(call);
    } else if (IsOperator("[")) {
      ASSIGN_OR_RETURN(operand, ParseSubscript(std::move(operand)));
    } else if (TakeOperator(".")) {
      ExpressionPointer member = New(Kind::kMember);
      ASSIGN_OR_RETURN(member->name, ExpectName());
      member->operands.push_back(std::move(operand));
      operand = std::move(member);
    } else {
      return operand;
    }
  }
}

ExpressionParser::Result ExpressionParser::ParseSubscript(ExpressionPointer operand) {
  ExpressionPointer subscript = New(Kind::kSubscript);
  Advance();
  subscript->operands.push_back(std::move(operand));
  for (int part = 0; part < 3; ++part) {
    ExpressionPointer index;
    if (!IsOperator(":") && !IsOperator("]")) {
      ASSIGN_OR_RETURN(index, ParseExpression());
    }
    subscript->operands.push_back(std::move(index));
    if (part == 2 || !TakeOperator(":")) break;
    subscript->kind = Kind::kSlice;
  }
  RETURN_IF_ERROR(ExpectOperator("]"));
  if (subscript->kind == Kind::kSlice) {
    subscript->operands.resize(4);
  } else if (subscript->operands[1] == nullptr) {
    return Error("an index is needed");
  }
  return subscript;
}

// Filters and tests bind tighter than any operator.
ExpressionParser::Result ExpressionParser::ParseFilters(ExpressionPointer operand) {
  while (true) {
    if (TakeOperator("|")) {
      ExpressionPointer filter = New(Kind::kFilter);
      ASSIGN_OR_RETURN(filter->name, ExpectName());
      filter->operands.push_back(std::move(operand));
      if (IsOperator("(")) RETURN_IF_ERROR(ParseArguments(*filter));
      operand = std::move(filter);
    } else if (TakeName("is")) {
      ASSIGN_OR_RETURN(operand, ParseTest(std::move(operand)));
    } else {
      return operand;
    }
  }
}

ExpressionParser::Result ExpressionParser::ParseTest(ExpressionPointer operand) {
  const bool is_negated = TakeName("not");
  ExpressionPointer test = New(Kind::kTest);
  ASSIGN_OR_RETURN(test->name, ExpectName());
  test->operands.push_back(std::move(operand));
  const Token::Kind kind = current().kind;
  const bool has_argument =
      kind == Token::Kind::kString || kind == Token::Kind::kInteger ||
      kind == Token::Kind::kFloat || IsOperator("[") || IsOperator("{") ||
      (kind == Token::Kind::kName && !IsName("else") && !IsName("or") && !IsName("and") &&
       !IsName("if") && !IsName("is") && !IsName("in") && !IsName("not"));
  if (IsOperator("(")) {
    RETURN_IF_ERROR(ParseArguments(*test));
  } else if (has_argument) {
    ASSIGN_OR_RETURN(ExpressionPointer argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test->operands.push_back(std::move(argument));
  }
  if (!is_negated) return test;
  ExpressionPointer negation = New(Kind::kUnary, "not");
  negation->operands.push_back(std::move(test));
  return negation;
}

absl::Status ExpressionParser::ParseArguments(Expression& call) {
  RETURN_IF_ERROR(ExpectOperator("("));
  while (!TakeOperator(")")) {
    const bool is_named = current().kind == Token::Kind::kName &&
                          tokens_[position_ + 1].kind == Token::Kind::kOperator &&
                          tokens_[position_ + 1].text == "=";
    if (is_named) {
      std::string name = current().text;
      Advance();
      Advance();
      ASSIGN_OR_RETURN(ExpressionPointer value, ParseExpression());
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (IsOperator("*") || IsOperator("**")) return Error("unpacking isn't supported");
      ASSIGN_OR_RETURN(ExpressionPointer value, ParseExpression());
      call.operands.push_back(std::move(value));
    }
    if (!IsOperator(")")) RETURN_IF_ERROR(ExpectOperator(","));
  }
  return absl::OkStatus();
}

}  // namespace kvp::jinja
