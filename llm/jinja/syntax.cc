#include "llm/jinja/syntax.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/jinja/expression_parser.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

using Kind = Statement::Kind;

// Deeper than any template; each level takes stack.
constexpr int kMaxDepth = 100;

class TemplateParser {
 public:
  explicit TemplateParser(std::vector<Token> tokens) : parser_(std::move(tokens)) {}

  absl::StatusOr<Statements> Run() {
    ASSIGN_OR_RETURN(Statements statements, ParseUntil({}));
    return statements;
  }

 private:
  // Statements up to a block that begins with one of `ends`, whose name is then current; with no
  // ends, up to the template's end.
  absl::StatusOr<Statements> ParseUntil(std::initializer_list<absl::string_view> ends) {
    if (depth_ == kMaxDepth) return parser_.Error("nested too deeply");
    ++depth_;
    Statements statements;
    while (parser_.current().kind != Token::Kind::kEnd) {
      const Token& token = parser_.current();
      if (token.kind == Token::Kind::kData) {
        Statement& text = statements.emplace_back(New(Kind::kText));
        text.text = token.text;
        parser_.Advance();
      } else if (token.kind == Token::Kind::kVariableBegin) {
        Statement print = New(Kind::kPrint);
        parser_.Advance();
        ASSIGN_OR_RETURN(print.expression, parser_.ParseTuple());
        RETURN_IF_ERROR(parser_.Expect(Token::Kind::kVariableEnd, "}}"));
        statements.push_back(std::move(print));
      } else {
        RETURN_IF_ERROR(parser_.Expect(Token::Kind::kBlockBegin, "a block"));
        for (const absl::string_view end : ends) {
          if (!parser_.IsName(end)) continue;
          --depth_;
          return statements;
        }
        ASSIGN_OR_RETURN(Statement statement, ParseBlock());
        statements.push_back(std::move(statement));
      }
    }
    if (ends.size() > 0) {
      return parser_.Error(absl::StrCat("\"", *ends.begin(), "\" is missing at the end"));
    }
    --depth_;
    return statements;
  }

  Statement New(Kind kind) const {
    Statement statement;
    statement.kind = kind;
    statement.line = parser_.current().line;
    return statement;
  }

  absl::Status EndBlock() { return parser_.Expect(Token::Kind::kBlockEnd, "%}"); }

  // Takes the name that ParseUntil has stopped at, and the block's end.
  absl::Status EndBlock(absl::string_view name) {
    if (!parser_.TakeName(name)) return parser_.Error(absl::StrCat(name, " is needed"));
    return EndBlock();
  }

  absl::StatusOr<Statement> ParseBlock() {
    if (parser_.TakeName("if")) return ParseIf();
    if (parser_.TakeName("for")) return ParseFor();
    if (parser_.TakeName("set")) return ParseSet();
    if (parser_.TakeName("macro")) return ParseMacro();
    // Marks what an assistant says, for training.
    if (parser_.TakeName("generation")) return ParseBody(Kind::kBlock, "endgeneration");
    for (const auto& [name, kind] : {std::pair<absl::string_view, Kind>{"break", Kind::kBreak},
                                     {"continue", Kind::kContinue}}) {
      if (!parser_.TakeName(name)) continue;
      Statement statement = New(kind);
      RETURN_IF_ERROR(EndBlock());
      return statement;
    }
    return absl::UnimplementedError(absl::StrCat("line ", parser_.current().line, ": {% ",
                                                 parser_.current().text, " %} isn't supported"));
  }

  absl::StatusOr<Statement> ParseBody(Kind kind, absl::string_view end) {
    Statement statement = New(kind);
    RETURN_IF_ERROR(EndBlock());
    ASSIGN_OR_RETURN(statement.body, ParseUntil({end}));
    RETURN_IF_ERROR(EndBlock(end));
    return statement;
  }

  absl::StatusOr<Statement> ParseIf() {
    Statement statement = New(Kind::kIf);
    ASSIGN_OR_RETURN(statement.expression, parser_.ParseExpression());
    RETURN_IF_ERROR(EndBlock());
    ASSIGN_OR_RETURN(statement.body, ParseUntil({"endif", "elif", "else"}));
    if (parser_.TakeName("elif")) {
      if (depth_ == kMaxDepth) return parser_.Error("nested too deeply");
      ++depth_;
      ASSIGN_OR_RETURN(Statement rest, ParseIf());
      --depth_;
      statement.otherwise.push_back(std::move(rest));
      return statement;
    }
    if (parser_.TakeName("else")) {
      RETURN_IF_ERROR(EndBlock());
      ASSIGN_OR_RETURN(statement.otherwise, ParseUntil({"endif"}));
    }
    RETURN_IF_ERROR(EndBlock("endif"));
    return statement;
  }

  absl::StatusOr<Statement> ParseFor() {
    Statement statement = New(Kind::kFor);
    const bool is_parenthesized = parser_.TakeOperator("(");
    do {
      ASSIGN_OR_RETURN(statement.names.emplace_back(), parser_.ExpectName());
    } while (parser_.TakeOperator(","));
    if (is_parenthesized) RETURN_IF_ERROR(parser_.ExpectOperator(")"));
    if (!parser_.TakeName("in")) return parser_.Error("\"in\" is needed");
    ASSIGN_OR_RETURN(statement.expression, parser_.ParseOr());
    if (parser_.TakeName("if")) {
      ASSIGN_OR_RETURN(statement.condition, parser_.ParseExpression());
    }
    if (parser_.IsName("recursive")) {
      return absl::UnimplementedError(
          absl::StrCat("line ", statement.line, ": a recursive for isn't supported"));
    }
    RETURN_IF_ERROR(EndBlock());
    ASSIGN_OR_RETURN(statement.body, ParseUntil({"endfor", "else"}));
    if (parser_.TakeName("else")) {
      RETURN_IF_ERROR(EndBlock());
      ASSIGN_OR_RETURN(statement.otherwise, ParseUntil({"endfor"}));
    }
    RETURN_IF_ERROR(EndBlock("endfor"));
    return statement;
  }

  absl::StatusOr<Statement> ParseSet() {
    Statement statement = New(Kind::kSet);
    do {
      ASSIGN_OR_RETURN(statement.names.emplace_back(), parser_.ExpectName());
    } while (parser_.TakeOperator(","));
    if (parser_.TakeOperator(".")) {
      ASSIGN_OR_RETURN(statement.member, parser_.ExpectName());
    }
    if (parser_.TakeOperator("=")) {
      ASSIGN_OR_RETURN(statement.expression, parser_.ParseTuple());
      RETURN_IF_ERROR(EndBlock());
      return statement;
    }
    RETURN_IF_ERROR(EndBlock());
    ASSIGN_OR_RETURN(statement.body, ParseUntil({"endset"}));
    RETURN_IF_ERROR(EndBlock("endset"));
    return statement;
  }

  absl::StatusOr<Statement> ParseMacro() {
    Statement statement = New(Kind::kMacro);
    ASSIGN_OR_RETURN(statement.names.emplace_back(), parser_.ExpectName());
    RETURN_IF_ERROR(parser_.ExpectOperator("("));
    while (!parser_.TakeOperator(")")) {
      ASSIGN_OR_RETURN(std::string name, parser_.ExpectName());
      ExpressionPointer value;
      if (parser_.TakeOperator("=")) {
        ASSIGN_OR_RETURN(value, parser_.ParseExpression());
      }
      statement.parameters.emplace_back(std::move(name), std::move(value));
      if (!parser_.IsOperator(")")) RETURN_IF_ERROR(parser_.ExpectOperator(","));
    }
    RETURN_IF_ERROR(EndBlock());
    ASSIGN_OR_RETURN(statement.body, ParseUntil({"endmacro"}));
    RETURN_IF_ERROR(EndBlock("endmacro"));
    return statement;
  }

  ExpressionParser parser_;
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<Statements> ParseTemplate(absl::string_view source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return TemplateParser(std::move(tokens)).Run();
}

}  // namespace kvp::jinja
