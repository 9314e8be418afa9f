// A template is parsed into a tree of nodes and expressions, which is then walked with the data.
// What templates do to values is template_functions.cc.
#include "cli/nacelle/template.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "base/text.h"
#include "cli/nacelle/template_functions.h"

namespace nacelle::cli {

namespace {

constexpr size_t depth_max = 100;
constexpr size_t output_bytes_max = 64u << 20;

struct Expression;
using Command = std::vector<Expression>;  // a function or value, and its arguments

struct Pipeline {
  std::vector<std::string> declared;  // "$x"; of a range there may be two
  bool assigns = false;               // = and not :=
  std::vector<Command> commands;
};

struct Expression {
  enum class Base : uint8_t { Dot, Variable, Constant, Function, Parentheses };
  Base base = Base::Dot;
  std::string name;  // of the variable or function
  Datum constant;
  std::unique_ptr<Pipeline> inner;  // of the parentheses
  std::vector<std::string> fields;  // behind it: .A.B
};

}  // namespace

struct Template::Node {
  enum class Kind : uint8_t { Text, Action, If, Range, With, Break, Continue };
  Kind kind = Kind::Text;
  size_t line = 1;
  std::string text;  // of Text
  Pipeline pipeline;
  std::vector<Node> body, otherwise;
};

namespace {

using Node = Template::Node;
using Kind_ = Node::Kind;

std::unexpected<Error> wrong(size_t line, std::string_view complaint) {
  return fail(Kind::Invalid, cat("template parsing error: template: :", line, ": ", complaint));
}

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Inside one pair of braces.
class ActionParser {
 public:
  ActionParser(std::string_view text, size_t line) : rest_(text), line_(line) {}

  std::string_view word() {
    skip();
    size_t length = 0;
    while (length < rest_.size() && is_name(rest_[length])) ++length;
    const std::string_view found = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return found;
  }
  bool at_end() {
    skip();
    return rest_.empty();
  }
  bool take(std::string_view token) {
    skip();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  std::string_view rest() const { return rest_; }

  Result<Pipeline> pipeline(size_t depth = 0) {
    if (depth > depth_max) return wrong(line_, "too deep");
    Pipeline made;
    TRY(declarations(made));
    do {
      Command command = TRY(one_command(depth));
      made.commands.push_back(std::move(command));
    } while (take("|"));
    return made;
  }

 private:
  void skip() {
    while (!rest_.empty() && is_blank(rest_[0])) rest_.remove_prefix(1);
  }

  Result<> declarations(Pipeline& made) {
    const std::string_view before = rest_;
    std::vector<std::string> names;
    while (take("$")) {
      names.push_back(cat('$', word()));
      if (!take(",")) break;
    }
    const bool declares = !names.empty() && take(":=");
    if (declares || (!names.empty() && take("="))) {
      made.declared = std::move(names);
      made.assigns = !declares;
    } else {
      rest_ = before;
    }
    return {};
  }

  Result<Command> one_command(size_t depth) {
    Command command;
    for (;;) {
      skip();
      if (rest_.empty() || rest_[0] == '|' || rest_[0] == ')') break;
      Expression operand = TRY(expression(depth));
      command.push_back(std::move(operand));
    }
    if (command.empty()) return wrong(line_, "missing value for command");
    if (command.size() > 1 && command[0].base == Expression::Base::Constant) {
      return wrong(line_, cat("unexpected operand after constant ", command[0].constant.json()));
    }
    return command;
  }

  Result<Expression> expression(size_t depth) {
    Expression made;
    const char c = rest_[0];
    if (c == '(') {
      rest_.remove_prefix(1);
      made.base = Expression::Base::Parentheses;
      Pipeline inner = TRY(pipeline(depth + 1));
      made.inner = std::make_unique<Pipeline>(std::move(inner));
      if (!take(")")) return wrong(line_, "unclosed left paren");
    } else if (c == '.') {
      if (rest_.size() > 1 && is_name(rest_[1])) {
        TRY(fields(made));
        return made;
      }
      rest_.remove_prefix(1);
      return made;
    } else if (c == '$') {
      rest_.remove_prefix(1);
      made.base = Expression::Base::Variable;
      made.name = "$";
      while (!rest_.empty() && is_name(rest_[0])) {
        made.name += rest_[0];
        rest_.remove_prefix(1);
      }
    } else if (c == '"' || c == '`' || c == '\'') {
      made.base = Expression::Base::Constant;
      made.constant = TRY(quoted(c));
    } else if ((c >= '0' && c <= '9') || c == '-' || c == '+') {
      made.base = Expression::Base::Constant;
      made.constant = TRY(number());
    } else {
      const std::string_view name = word();
      if (name.empty()) return wrong(line_, cat("unexpected \"", c, "\" in operand"));
      if (name == "true" || name == "false") {
        made.base = Expression::Base::Constant;
        made.constant = Datum(name == "true");
      } else if (name == "nil") {
        made.base = Expression::Base::Constant;
      } else {
        if (!is_template_function(name)) {
          return wrong(line_, cat("function \"", name, "\" not defined"));
        }
        made.base = Expression::Base::Function;
        made.name = name;
        return made;
      }
    }
    TRY(fields(made));
    return made;
  }

  Result<> fields(Expression& made) {
    while (rest_.size() > 1 && rest_[0] == '.' && is_name(rest_[1])) {
      rest_.remove_prefix(1);
      size_t length = 0;
      while (length < rest_.size() && is_name(rest_[length])) ++length;
      made.fields.emplace_back(rest_.substr(0, length));
      rest_.remove_prefix(length);
    }
    if (!rest_.empty() && !is_blank(rest_[0]) && rest_[0] != ')' && rest_[0] != '|' &&
        rest_[0] != '(') {
      return wrong(line_, cat("bad character '", rest_[0], "'"));
    }
    return {};
  }

  Result<Datum> quoted(char quote) {
    rest_.remove_prefix(1);
    std::string text;
    while (!rest_.empty() && rest_[0] != quote) {
      char c = rest_[0];
      rest_.remove_prefix(1);
      if (c == '\\' && quote != '`') {
        if (rest_.empty()) break;
        c = rest_[0];
        rest_.remove_prefix(1);
        switch (c) {
          case 'n': c = '\n'; break;
          case 't': c = '\t'; break;
          case 'r': c = '\r'; break;
          case '\\':
          case '"':
          case '\'': break;
          default: return wrong(line_, "unknown escape in a quoted string");
        }
      }
      text += c;
    }
    if (rest_.empty()) return wrong(line_, "unterminated quoted string");
    rest_.remove_prefix(1);
    // A character stands for its number, as in Go.
    if (quote == '\'') {
      if (text.size() != 1) return wrong(line_, "bad character constant");
      return Datum(static_cast<int64_t>(text[0]));
    }
    return Datum(std::move(text));
  }

  Result<Datum> number() {
    size_t length = 1;
    while (length < rest_.size() && (is_name(rest_[length]) || rest_[length] == '.')) ++length;
    std::string_view digits = rest_.substr(0, length);
    rest_.remove_prefix(length);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    if (const auto whole = parse_number<int64_t>(digits)) return Datum(*whole);
    if (digits.starts_with("0x")) {
      if (const auto whole = parse_number<int64_t>(digits.substr(2), 16)) return Datum(*whole);
    }
    char* end = nullptr;
    const std::string text(digits);
    const double real = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || *end != 0) {
      return wrong(line_, cat("bad number syntax: \"", digits, "\""));
    }
    return Datum::real(real);
  }

  std::string_view rest_;
  size_t line_;
};

// Text and actions, in order.
class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  Result<Node> whole() {
    Node root;
    root.kind = Kind_::If;
    Ending ending = TRY(list(root.body, 0, false));
    if (!ending.word.empty()) return wrong(line_, cat("unexpected {{", ending.word, "}}"));
    return root;
  }

 private:
  // What ended a list: nothing (the text did), "end" or "else", with what stands behind that.
  struct Ending {
    std::string word;
    std::string rest;
  };

  Result<Ending> list(std::vector<Node>& into, size_t depth, bool in_range) {
    if (depth > depth_max) return wrong(line_, "too deep");
    for (;;) {
      const size_t open = rest_.find("{{");
      std::string_view text = rest_.substr(0, open);
      rest_ = open == std::string_view::npos ? std::string_view() : rest_.substr(open + 2);
      const bool trims = open != std::string_view::npos && rest_.size() > 1 && rest_[0] == '-' &&
                         is_blank(rest_[1]);
      add_text(into, text, trims);
      if (open == std::string_view::npos) return Ending{};
      if (trims) rest_.remove_prefix(1);
      const std::string inside = TRY(action());
      ActionParser parser(inside, line_);
      if (parser.at_end()) return wrong(line_, "missing value for command");
      const std::string_view before = parser.rest();
      const std::string word(parser.word());
      if (word == "end" || word == "else") return Ending{word, std::string(parser.rest())};
      if (word == "break" || word == "continue") {
        if (!in_range) return wrong(line_, cat("{{", word, "}} outside {{range}}"));
        into.emplace_back().kind = word == "break" ? Kind_::Break : Kind_::Continue;
      } else if (word == "if" || word == "range" || word == "with") {
        Node node = TRY(block(word, parser, depth, in_range));
        into.push_back(std::move(node));
      } else if (word == "define" || word == "template" || word == "block") {
        return wrong(line_, cat("{{", word, "}} is not supported"));
      } else {
        ActionParser again(before, line_);
        Node node;
        node.kind = Kind_::Action;
        node.line = line_;
        node.pipeline = TRY(again.pipeline());
        if (!again.at_end()) return wrong(line_, cat("unexpected \"", again.rest(), "\""));
        into.push_back(std::move(node));
      }
    }
  }

  Result<Node> block(const std::string& word, ActionParser& parser, size_t depth, bool in_range) {
    Node node;
    node.kind = word == "if" ? Kind_::If : word == "range" ? Kind_::Range : Kind_::With;
    node.line = line_;
    node.pipeline = TRY(parser.pipeline());
    if (!parser.at_end()) return wrong(line_, cat("unexpected \"", parser.rest(), "\" in ", word));
    const bool inside_range = in_range || node.kind == Kind_::Range;
    Ending ending = TRY(list(node.body, depth + 1, inside_range));
    if (ending.word == "else") {
      ActionParser more(ending.rest, line_);
      if (more.at_end()) {
        ending = TRY(list(node.otherwise, depth + 1, in_range));
        if (ending.word == "else") return wrong(line_, "unexpected {{else}}");
      } else {
        // {{else if x}} is an if inside the else, and ends both.
        const std::string next(more.word());
        if (next != "if" && next != "with") return wrong(line_, "unexpected word after else");
        Node nested = TRY(block(next, more, depth + 1, in_range));
        node.otherwise.push_back(std::move(nested));
        return node;
      }
    }
    if (ending.word != "end") return wrong(line_, "unexpected EOF");
    return node;
  }

  void add_text(std::vector<Node>& into, std::string_view text, bool trims_end) {
    line_ += static_cast<size_t>(std::ranges::count(text, '\n'));
    if (trims_next_) {
      while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    }
    if (trims_end) {
      while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    }
    trims_next_ = false;
    if (text.empty()) return;
    Node& node = into.emplace_back();
    node.text = text;
  }

  // Up to the closing braces, which may stand inside a quoted string too.
  Result<std::string> action() {
    std::string inside;
    char quote = 0;
    for (size_t at = 0; at < rest_.size(); ++at) {
      const char c = rest_[at];
      if (quote != 0) {
        if (c == '\\' && quote != '`') {
          ++at;
        } else if (c == quote) {
          quote = 0;
        }
        continue;
      }
      if (rest_.substr(at).starts_with("/*")) {
        const size_t end = rest_.find("*/", at);
        if (end == std::string_view::npos) return wrong(line_, "unclosed comment");
        at = end + 1;
        continue;
      }
      if (c == '"' || c == '`' || c == '\'') quote = c;
      if (c != '}' || at + 1 >= rest_.size() || rest_[at + 1] != '}') continue;
      std::string_view found = rest_.substr(0, at);
      rest_.remove_prefix(at + 2);
      trims_next_ = found.size() > 1 && found.back() == '-' && is_blank(found[found.size() - 2]);
      if (trims_next_) found.remove_suffix(1);
      const size_t first = found.find_first_not_of(" \t\r\n");
      // A comment is an action that says nothing.
      if (first != std::string_view::npos && found.substr(first).starts_with("/*")) return "\"\"";
      return std::string(found);
    }
    return wrong(line_, "unclosed action");
  }

  std::string_view rest_;
  size_t line_ = 1;
  bool trims_next_ = false;
};

// Walks the tree. Looked-up values are copied: data are small, and nothing then dangles.
class Execution {
 public:
  Execution(const Datum& data, bool heading) : root_(data), heading_(heading) {
    variables_.emplace_back("$", data);
  }

  Result<> list(const std::vector<Node>& nodes, const Datum& dot) {
    const size_t scope = variables_.size();
    for (const Node& node : nodes) {
      TRY(one(node, dot));
      if (leaving_ != Leaving::No) break;
    }
    forget(scope);
    return {};
  }
  std::string take() { return std::move(out_); }

 private:
  enum class Leaving : uint8_t { No, Break, Continue };

  Result<> one(const Node& node, const Datum& dot) {
    line_ = node.line;
    if (out_.size() > output_bytes_max) return fail(Kind::Exhausted, "template: too much output");
    switch (node.kind) {
      case Kind_::Text: out_ += node.text; return {};
      case Kind_::Break: leaving_ = Leaving::Break; return {};
      case Kind_::Continue: leaving_ = Leaving::Continue; return {};
      case Kind_::Action: {
        const Datum value = TRY(pipeline(node.pipeline, dot));
        if (node.pipeline.declared.empty()) {
          out_ += value.is_null() ? "<no value>" : go_text(value);
        } else {
          declare(node.pipeline, value);
        }
        return {};
      }
      case Kind_::If:
      case Kind_::With: return choose(node, dot);
      case Kind_::Range: return repeat(node, dot);
    }
    return {};
  }

  Result<> choose(const Node& node, const Datum& dot) {
    const size_t scope = variables_.size();
    asking_ = true;
    Result<Datum> value = pipeline(node.pipeline, dot);
    asking_ = false;
    if (!value) return std::unexpected(std::move(value).error());
    declare(node.pipeline, *value);
    const bool with = node.kind == Kind_::With;
    if (value->is_true()) {
      TRY(list(node.body, with ? *value : dot));
    } else {
      TRY(list(node.otherwise, dot));
    }
    forget(scope);
    return {};
  }

  Result<> repeat(const Node& node, const Datum& dot) {
    Datum over = TRY(pipeline(node.pipeline, dot));
    std::vector<std::pair<Datum, Datum>> turns;
    switch (over.type()) {
      case Datum::Type::Null: break;
      case Datum::Type::Array:
        for (const Datum& each : over.items()) {
          turns.emplace_back(Datum(static_cast<int64_t>(turns.size())), each);
        }
        break;
      case Datum::Type::Object:
        over.sort_members();
        for (const auto& [key, value] : over.members()) turns.emplace_back(Datum(key), value);
        break;
      case Datum::Type::Number:
        for (int64_t each = 0; each < std::min<int64_t>(over.integer(), 1 << 20); ++each) {
          turns.emplace_back(Datum(each), Datum(each));
        }
        break;
      default: return at(cat("range can't iterate over ", go_text(over)));
    }
    if (turns.empty()) return list(node.otherwise, dot);
    const std::vector<std::string>& names = node.pipeline.declared;
    for (const auto& [key, value] : turns) {
      const size_t scope = variables_.size();
      if (names.size() == 1) variables_.emplace_back(names[0], value);
      if (names.size() == 2) {
        variables_.emplace_back(names[0], key);
        variables_.emplace_back(names[1], value);
      }
      TRY(list(node.body, value));
      forget(scope);
      const Leaving why = std::exchange(leaving_, Leaving::No);
      if (why == Leaving::Break) break;
    }
    return {};
  }

  void forget(size_t scope) {
    variables_.erase(variables_.begin() + static_cast<long>(scope), variables_.end());
  }

  void declare(const Pipeline& pipeline, const Datum& value) {
    for (const std::string& name : pipeline.declared) {
      if (!pipeline.assigns) {
        variables_.emplace_back(name, value);
        continue;
      }
      const auto known = std::ranges::find(variables_.rbegin(), variables_.rend(), name,
                                           &std::pair<std::string, Datum>::first);
      if (known != variables_.rend()) known->second = value;
    }
  }

  std::unexpected<Error> at(std::string_view complaint) {
    return fail(Kind::Invalid,
                cat("template parsing error: template: :", line_, ": executing \"\": ", complaint));
  }

  Result<Datum> pipeline(const Pipeline& pipeline, const Datum& dot) {
    std::optional<Datum> last;
    for (const Command& command : pipeline.commands) {
      Datum value = TRY(this->command(command, dot, last));
      last = std::move(value);
    }
    return *std::move(last);
  }

  Result<Datum> command(const Command& command, const Datum& dot, std::optional<Datum>& piped) {
    const Expression& first = command[0];
    const bool short_circuits =
        first.base == Expression::Base::Function && (first.name == "and" || first.name == "or");
    std::vector<Datum> arguments;
    for (size_t each = 1; each < command.size(); ++each) {
      Datum value = TRY(evaluate(command[each], dot));
      arguments.push_back(std::move(value));
      // What stands behind a decided `and` or `or` is not looked at, as in Go.
      if (short_circuits && arguments.back().is_true() == (first.name == "or")) {
        return arguments.back();
      }
    }
    if (piped) arguments.push_back(*piped);
    if (first.base == Expression::Base::Function) {
      if (heading_ && !arguments.empty()) {
        // join and split have the list first; the others have what they change last or alone.
        for (const Datum& each : arguments) {
          if (contains(headings(), each.text())) return each;
        }
      }
      Result<Datum> value = call_template_function(first.name, arguments);
      if (!value) return at(cat("error calling ", first.name, ": ", value.error().message()));
      return value;
    }
    // A method with arguments: `.Label "name"`.
    if (!arguments.empty() && first.base == Expression::Base::Dot && first.fields.size() == 1 &&
        first.fields[0] == "Label") {
      return dot["\x01labels"][arguments[0].text()].is_null()
                 ? Datum("")
                 : dot["\x01labels"][arguments[0].text()];
    }
    if (!arguments.empty()) return at("can't give argument to non-function");
    return evaluate(first, dot);
  }

  std::vector<std::string> headings() const {
    std::vector<std::string> all;
    for (const auto& [key, value] : root_.members()) all.push_back(value.text());
    return all;
  }

  Result<Datum> evaluate(const Expression& expression, const Datum& dot) {
    Datum value;
    switch (expression.base) {
      case Expression::Base::Dot: value = dot; break;
      case Expression::Base::Constant: value = expression.constant; break;
      case Expression::Base::Parentheses: value = TRY(pipeline(*expression.inner, dot)); break;
      case Expression::Base::Function: {
        Result<Datum> called = call_template_function(expression.name, {});
        if (!called) {
          return at(cat("error calling ", expression.name, ": ", called.error().message()));
        }
        value = *std::move(called);
        break;
      }
      case Expression::Base::Variable: {
        const auto known =
            std::ranges::find(variables_.rbegin(), variables_.rend(), expression.name,
                              &std::pair<std::string, Datum>::first);
        if (known == variables_.rend()) {
          return at(cat("undefined variable \"", expression.name, "\""));
        }
        value = known->second;
        break;
      }
    }
    std::string path;
    for (const std::string& field : expression.fields) {
      path += cat('.', field);
      const Datum* found = value.find(field);
      if (found == nullptr) {
        if (asking_ || (value.is_null() && path != cat('.', field))) return Datum();
        if (value.type() != Datum::Type::Object && !value.is_null()) {
          return fail(Kind::Invalid,
                      cat("template parsing error: template: :", line_, ": executing \"\" at <",
                          path, ">: can't evaluate field ", field));
        }
        return fail(Kind::Invalid,
                    cat("template parsing error: template: :", line_, ": executing \"\" at <", path,
                        ">: map has no entry for key \"", field, "\""));
      }
      Datum next = *found;
      value = std::move(next);
    }
    return value;
  }

  const Datum& root_;
  bool heading_;
  bool asking_ = false;  // in the condition of an if or with: what is missing is false
  Leaving leaving_ = Leaving::No;
  size_t line_ = 1;
  std::vector<std::pair<std::string, Datum>> variables_;
  std::string out_;
};

Result<std::string> execute_tree(const Node& root, const Datum& data, bool heading) {
  Execution execution(data, heading);
  TRY(execution.list(root.body, data));
  return execution.take();
}

}  // namespace

Template::Template(std::unique_ptr<Node> root) : root_(std::move(root)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::parse(std::string_view text) {
  Node root = TRY(Parser(text).whole());
  return Template(std::make_unique<Node>(std::move(root)));
}

Result<std::string> Template::execute(const Datum& data) const {
  return execute_tree(*root_, data, false);
}

Result<std::string> Template::execute_heading(const Datum& headings) const {
  return execute_tree(*root_, headings, true);
}

}  // namespace nacelle::cli
