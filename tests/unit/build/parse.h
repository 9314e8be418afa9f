// What the tests of Dockerfiles share: parsing one, or one instruction of it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/text.h"
#include "build/dockerfile.h"

namespace nacelle::build {

// Inside of a test, `Run` is a function of gtest's.
using RunStep = Run;

inline Dockerfile parsed(std::string_view text) {
  auto file = parse_dockerfile(text);
  EXPECT_TRUE(file) << text << "\n" << (file ? "" : file.error().message());
  return file ? *std::move(file) : Dockerfile{};
}

// The instruction `text`, in a stage.
template <class What>
What instruction(std::string_view text) {
  const Dockerfile file = parsed(cat("FROM a\n", text, "\n"));
  if (file.stages.empty() || file.stages[0].instructions.size() != 1) {
    ADD_FAILURE() << text << ": is not one instruction";
    return {};
  }
  const What* what = std::get_if<What>(&file.stages[0].instructions[0].what);
  if (what == nullptr)
    ADD_FAILURE() << text << ": is a " << file.stages[0].instructions[0].keyword();
  return what == nullptr ? What{} : *what;
}

// The first line of what is said about a Dockerfile.
inline std::string complaint(std::string_view text) {
  const auto file = parse_dockerfile(text);
  if (file) return "none";
  const std::string& message = file.error().message();
  return message.substr(0, message.find('\n'));
}

// The same of one instruction in line 2, without the name of the file.
inline std::string complaint_of(std::string_view text) {
  std::string message = complaint(cat("FROM a\n", text, "\n"));
  constexpr std::string_view name = "Dockerfile:";
  return message.starts_with(name) ? message.substr(name.size()) : message;
}

}  // namespace nacelle::build
