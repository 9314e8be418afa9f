// The templates of --format: Go's text/template as far as Docker's users use it. Actions if, else,
// range, with, break, continue, variables, pipelines, parentheses, trim markers and comments; Go's
// own functions and Docker's (json, join, split, lower, upper, title, pad, truncate). Templates
// that define or call others are refused.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cli/nacelle/datum.h"
#include "nacelle/result.h"

namespace nacelle::cli {

class Template {
 public:
  // Invalid, with Go's words and the line, for what is no template.
  static Result<Template> parse(std::string_view text);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // A name that is not in the data is an error, except where it is only asked whether it is there.
  Result<std::string> execute(const Datum& data) const;
  // For the line above a table: the data are headings, which functions leave as they are.
  Result<std::string> execute_heading(const Datum& headings) const;

  struct Node;

 private:
  explicit Template(std::unique_ptr<Node> root);
  std::unique_ptr<Node> root_;
};

}  // namespace nacelle::cli
