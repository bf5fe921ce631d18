#include "llm/jinja/template.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/jinja/budget.h"
#include "llm/jinja/functions.h"
#include "llm/jinja/syntax.h"
#include "llm/jinja/value.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

// Of statements and calls within each other, and of expressions: each takes stack.
constexpr int kMaxDepth = 200;
constexpr int kMaxExpressionDepth = 1000;
// One rendering of a template.
class Renderer {
 public:
  Renderer(int64_t max_work_bytes, const nlohmann::json& variables) : budget_(max_work_bytes) {
    scopes_.push_back(GlobalFunctions());
    Dict& outermost = scopes_.emplace_back();
    for (const auto& [name, value] : variables.items()) outermost.Set(name, Value::FromJson(value));
  }

  absl::StatusOr<std::string> Render(const Statements& statements) {
    std::string output;
    ASSIGN_OR_RETURN(const Flow flow, Run(statements, output));
    if (flow != Flow::kOn) return absl::InvalidArgumentError("break or continue outside of a for");
    return output;
  }

 private:
  // How a statement ends.
  enum class Flow { kOn, kBreak, kContinue };

  static absl::Status AtLine(int line, const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat("line ", line, ": ", status.message()));
  }

  absl::StatusOr<Flow> Run(const Statements& statements, std::string& output) {
    if (depth_ == kMaxDepth) return absl::InvalidArgumentError("nested too deeply");
    ++depth_;
    Flow flow = Flow::kOn;
    for (const Statement& statement : statements) {
      ASSIGN_OR_RETURN(flow, RunOne(statement, output));
      if (flow != Flow::kOn) break;
    }
    --depth_;
    return flow;
  }

  absl::StatusOr<Flow> RunOne(const Statement& statement, std::string& output) {
    RETURN_IF_ERROR(budget_.TakeStep());
    switch (statement.kind) {
      case Statement::Kind::kText:
        RETURN_IF_ERROR(budget_.Take(static_cast<int64_t>(statement.text.size())));
        output += statement.text;
        return Flow::kOn;
      case Statement::Kind::kPrint: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression));
        RETURN_IF_ERROR(budget_.TakeText(value));
        output += value.Text();
        return Flow::kOn;
      }
      case Statement::Kind::kIf: {
        ASSIGN_OR_RETURN(const Value condition, Evaluate(*statement.expression));
        return Run(condition.IsTrue() ? statement.body : statement.otherwise, output);
      }
      case Statement::Kind::kFor:
        return RunFor(statement, output);
      case Statement::Kind::kSet:
        RETURN_IF_ERROR(RunSet(statement));
        return Flow::kOn;
      case Statement::Kind::kMacro:
        budget_.TakeNames(scopes_.back().items().size());
        scopes_.back().Set(statement.names[0], MacroFunction(statement));
        return Flow::kOn;
      case Statement::Kind::kBlock:
        return Run(statement.body, output);
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return absl::InternalError("no such statement");
  }

  // Sets the names of a for or a set: one, or one for each member.
  absl::Status Assign(const Statement& statement, const Value& value) {
    budget_.TakeNames(scopes_.back().items().size() * statement.names.size());
    if (statement.names.size() == 1) {
      scopes_.back().Set(statement.names[0], value);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const List members, TakenMembers(value));
    if (members.size() != statement.names.size()) {
      return AtLine(statement.line,
                    absl::InvalidArgumentError(absl::StrCat(members.size(), " values for ",
                                                            statement.names.size(), " names")));
    }
    for (size_t i = 0; i < members.size(); ++i) scopes_.back().Set(statement.names[i], members[i]);
    return absl::OkStatus();
  }

  absl::StatusOr<List> TakenMembers(const Value& value) {
    RETURN_IF_ERROR(budget_.TakeMembers(value));
    return Members(value);
  }

  absl::StatusOr<List> ChosenMembers(const Statement& statement) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression));
    absl::StatusOr<List> members = TakenMembers(value);
    if (!members.ok()) return AtLine(statement.line, members.status());
    if (statement.condition == nullptr) return members;
    List chosen;
    for (const Value& member : *members) {
      RETURN_IF_ERROR(budget_.TakeCopied(member));
      scopes_.emplace_back();
      RETURN_IF_ERROR(Assign(statement, member));
      ASSIGN_OR_RETURN(const Value condition, Evaluate(*statement.condition));
      scopes_.pop_back();
      if (condition.IsTrue()) chosen.push_back(member);
    }
    return chosen;
  }

  // The variable `loop`.
  static Dict LoopOf(const List& members, size_t index) {
    const int64_t at = static_cast<int64_t>(index);
    const int64_t length = static_cast<int64_t>(members.size());
    Dict loop;
    loop.Set("index", at + 1);
    loop.Set("index0", at);
    loop.Set("revindex", length - at);
    loop.Set("revindex0", length - at - 1);
    loop.Set("first", at == 0);
    loop.Set("last", at + 1 == length);
    loop.Set("length", length);
    loop.Set("previtem", at > 0 ? members[index - 1] : Value(Undefined{"previtem"}));
    loop.Set("nextitem", at + 1 < length ? members[index + 1] : Value(Undefined{"nextitem"}));
    return loop;
  }

  absl::StatusOr<Flow> RunFor(const Statement& statement, std::string& output) {
    ASSIGN_OR_RETURN(const List members, ChosenMembers(statement));
    for (size_t i = 0; i < members.size(); ++i) {
      RETURN_IF_ERROR(budget_.TakeStep());
      // Each is the last, the present and the next one in turn.
      for (int copy = 0; copy < 3; ++copy) RETURN_IF_ERROR(budget_.TakeCopied(members[i]));
      // What a turn sets, the next one and what follows don't see.
      scopes_.emplace_back();
      scopes_.back().Set("loop", LoopOf(members, i));
      RETURN_IF_ERROR(Assign(statement, members[i]));
      ASSIGN_OR_RETURN(const Flow flow, Run(statement.body, output));
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    if (!members.empty()) return Flow::kOn;
    return Run(statement.otherwise, output);
  }

  absl::Status RunSet(const Statement& statement) {
    Value value;
    if (statement.expression != nullptr) {
      ASSIGN_OR_RETURN(value, Evaluate(*statement.expression));
    } else {
      std::string text;
      ASSIGN_OR_RETURN(const Flow flow, Run(statement.body, text));
      if (flow != Flow::kOn) return absl::UnimplementedError("break or continue within a set");
      value = std::move(text);
    }
    if (statement.member.empty()) return Assign(statement, value);
    const Value space = Find(statement.names[0]);
    if (!space.As<Namespace>()) {
      return AtLine(statement.line, absl::InvalidArgumentError(absl::StrCat(
                                        "\"", statement.names[0], "\" is no namespace")));
    }
    if (!value.extent().is_plain) {
      return absl::UnimplementedError("functions and namespaces in namespaces");
    }
    Dict& members = *space.As<Namespace>()->members;
    budget_.TakeNames(members.items().size());
    members.Set(statement.member, std::move(value));
    return absl::OkStatus();
  }

  // A macro sees the outermost variables and its own. The statement outlives the rendering.
  Value MacroFunction(const Statement& statement) {
    return Function([this, &statement](const Arguments& arguments) -> absl::StatusOr<Value> {
      if (arguments.positional.size() > statement.parameters.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("too many arguments for the macro ", statement.names[0]));
      }
      std::vector<Dict> scopes(scopes_.begin(), scopes_.begin() + 2);
      scopes.emplace_back();
      std::swap(scopes, scopes_);
      absl::StatusOr<Value> result = RunMacro(statement, arguments);
      std::swap(scopes, scopes_);
      return result;
    });
  }

  absl::StatusOr<Value> RunMacro(const Statement& statement, const Arguments& arguments) {
    budget_.TakeNames(statement.parameters.size() * statement.parameters.size());
    for (size_t i = 0; i < statement.parameters.size(); ++i) {
      const auto& [name, otherwise] = statement.parameters[i];
      Value value = Undefined{name};
      if (i < arguments.positional.size()) {
        value = arguments.positional[i];
      } else if (const Value* named = arguments.named.Find(name)) {
        value = *named;
      } else if (otherwise != nullptr) {
        ASSIGN_OR_RETURN(value, Evaluate(*otherwise));
      }
      scopes_.back().Set(name, std::move(value));
    }
    std::string text;
    ASSIGN_OR_RETURN(const Flow flow, Run(statement.body, text));
    if (flow != Flow::kOn) return absl::InvalidArgumentError("break or continue in a macro");
    return text;
  }

  Value Find(const std::string& name) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      budget_.TakeNames(1 + scope->items().size());
      if (const Value* value = scope->Find(name)) return *value;
    }
    return Undefined{name};
  }

  absl::StatusOr<Value> Evaluate(const Expression& expression) {
    if (expression_depth_ == kMaxExpressionDepth) {
      return absl::InvalidArgumentError("expressions are nested too deeply");
    }
    ++expression_depth_;
    RETURN_IF_ERROR(budget_.TakeStep());
    absl::StatusOr<Value> value = EvaluateOne(expression);
    --expression_depth_;
    return value;
  }

  absl::StatusOr<Value> EvaluateOne(const Expression& expression) {
    switch (expression.kind) {
      case Expression::Kind::kLiteral:
        RETURN_IF_ERROR(budget_.TakeCopied(expression.value));
        return expression.value;
      case Expression::Kind::kName: {
        Value value = Find(expression.name);
        RETURN_IF_ERROR(budget_.TakeCopied(value));
        return value;
      }
      case Expression::Kind::kBinary:
        return EvaluateBinary(expression);
      case Expression::Kind::kConditional:
        return EvaluateConditional(expression);
      default:
        break;
    }
    List operands;
    for (const ExpressionPointer& operand : expression.operands) {
      if (operand == nullptr) {
        operands.emplace_back(None{});
        continue;
      }
      ASSIGN_OR_RETURN(operands.emplace_back(), Evaluate(*operand));
    }
    absl::StatusOr<Value> value = EvaluateWith(expression, std::move(operands));
    if (!value.ok() && value.status().code() != absl::StatusCode::kResourceExhausted) {
      return AtLine(expression.line, value.status());
    }
    return value;
  }

  absl::StatusOr<Value> EvaluateConditional(const Expression& expression) {
    ASSIGN_OR_RETURN(const Value condition, Evaluate(*expression.operands[1]));
    if (condition.IsTrue()) return Evaluate(*expression.operands[0]);
    if (expression.operands[2] == nullptr) return Undefined{"else"};
    return Evaluate(*expression.operands[2]);
  }

  absl::StatusOr<Value> EvaluateBinary(const Expression& expression) {
    ASSIGN_OR_RETURN(Value left, Evaluate(*expression.operands[0]));
    if (expression.name == "and" || expression.name == "or") {
      if (left.IsTrue() == (expression.name == "or")) return left;
      return Evaluate(*expression.operands[1]);
    }
    ASSIGN_OR_RETURN(const Value right, Evaluate(*expression.operands[1]));
    RETURN_IF_ERROR(budget_.TakeOperator(expression.name, left, right));
    absl::StatusOr<Value> result = ApplyOperator(expression.name, left, right);
    const absl::Status status = result.ok() ? budget_.TakeMade(*result) : result.status();
    if (!status.ok()) return AtLine(expression.line, status);
    return result;
  }

  absl::StatusOr<Value> EvaluateWith(const Expression& expression, List operands) {
    using Kind = Expression::Kind;
    switch (expression.kind) {
      case Kind::kList:
        return Made(Value(std::move(operands)));
      case Kind::kDict:
        return Made(DictOf(operands));
      case Kind::kMember:
        return Copied(operands[0], Member(operands[0], expression.name));
      case Kind::kSubscript:
        return Copied(operands[0], Subscript(operands[0], operands[1]));
      case Kind::kSlice:
        return EvaluateSlice(operands);
      case Kind::kUnary:
        if (expression.name == "not") return !operands[0].IsTrue();
        if (!operands[0].is_number()) {
          return absl::InvalidArgumentError(
              absl::StrCat("operator ", expression.name, " doesn't take ", operands[0].TypeName()));
        }
        return ApplyOperator(expression.name, int64_t{0}, operands[0]);
      default:
        break;
    }
    Arguments arguments;
    arguments.positional.assign(operands.begin() + 1, operands.end());
    for (const auto& [name, value] : expression.named) {
      ASSIGN_OR_RETURN(Value argument, Evaluate(*value));
      arguments.named.Set(name, std::move(argument));
    }
    if (expression.kind == Kind::kFilter) {
      RETURN_IF_ERROR(budget_.TakeFilter(expression.name, operands[0], arguments));
      return Made(ApplyFilter(expression.name, operands[0], arguments));
    }
    if (expression.kind == Kind::kTest) {
      RETURN_IF_ERROR(budget_.TakeTest(operands[0], arguments));
      return ApplyTest(expression.name, operands[0], arguments);
    }
    RETURN_IF_ERROR(budget_.TakeCall(operands[0], arguments));
    return Made(Call(operands[0], arguments));
  }

  absl::StatusOr<Value> Made(absl::StatusOr<Value> value) {
    if (value.ok()) RETURN_IF_ERROR(budget_.TakeMade(*value));
    return value;
  }

  // A member of `container`.
  absl::StatusOr<Value> Copied(const Value& container, absl::StatusOr<Value> value) {
    RETURN_IF_ERROR(budget_.TakeCopied(container));
    if (value.ok()) RETURN_IF_ERROR(budget_.TakeCopied(*value));
    return value;
  }

  absl::StatusOr<Value> EvaluateSlice(const List& operands) {
    const bool is_scanned = operands[0].is_string() && operands[3].is_none();
    RETURN_IF_ERROR(is_scanned ? budget_.TakeCopied(operands[0])
                               : budget_.TakeMembers(operands[0]));
    return Made(Slice(operands[0], operands[1], operands[2], operands[3]));
  }

  static absl::StatusOr<Value> DictOf(const List& operands) {
    Dict dict;
    for (size_t i = 0; i + 1 < operands.size(); i += 2) {
      if (!operands[i].is_string()) {
        return absl::UnimplementedError("only strings are supported as keys of a dict");
      }
      dict.Set(*operands[i].As<std::string>(), operands[i + 1]);
    }
    return Value(std::move(dict));
  }

  static absl::StatusOr<Value> Call(const Value& callee, const Arguments& arguments) {
    const Function* function = callee.AsFunction();
    if (function != nullptr) return (*function)(arguments);
    if (const auto* undefined = callee.As<Undefined>()) {
      return absl::UnimplementedError(
          absl::StrCat("the function or method ", undefined->name, " isn't supported"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("a value of type ", callee.TypeName(), " can't be called"));
  }

  // From the outermost on: functions, the variables given and set, then one for each loop's turn.
  std::vector<Dict> scopes_;
  Budget budget_;
  int depth_ = 0;
  int expression_depth_ = 0;
};

class ParsedTemplate : public Template {
 public:
  explicit ParsedTemplate(Statements statements) : statements_(std::move(statements)) {}

  absl::StatusOr<std::string> RenderWithin(int64_t max_work_bytes,
                                           const nlohmann::json& variables) const override {
    return Renderer(max_work_bytes, variables).Render(statements_);
  }

 private:
  const Statements statements_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Template>> Template::Parse(absl::string_view source) {
  ASSIGN_OR_RETURN(Statements statements, ParseTemplate(source));
  return std::make_unique<ParsedTemplate>(std::move(statements));
}

}  // namespace kvp::jinja
