// What the instructions of a Dockerfile that touch no file make of an image's configuration, and
// the words in which dockerd's builder writes them into the history. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "build/dockerfile.h"
#include "build/expand.h"
#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::engine {

// A stage's configuration while it grows.
struct StageConfig {
  oci::RunConfig run;
  std::string author;
  bool has_command = false;  // this stage said CMD: its ENTRYPOINT leaves it alone
};

// Variables are replaced already. The value is the history's text: `ENV a=b`, `CMD ["sh"]`. RUN,
// COPY and ADD are no business of this, of a WORKDIR only the name, of an ARG only the text.
Result<std::string> apply_instruction(const build::Instruction& instruction, StageConfig& stage);

// Where no instruction has said PATH.
void set_default_path(oci::RunConfig& run);

// "/bin/sh -c #(nop) WORKDIR /app"
std::string history_text(const oci::RunConfig& run, std::string_view instruction);
// "|1 a=b /bin/sh -c make": the words of a RUN, after the ARGs it sees.
std::string run_text(const std::vector<std::string>& words, const build::Environment& arguments);

// ARGs of one stage.
class StageArguments {
 public:
  // `given`: --build-arg; a name without a value is not given. `global`: what FROM lines see.
  StageArguments(const build::Environment& given, const build::Environment& global)
      : given_(given), global_(global) {}

  // `environment`: what a default is expanded with.
  Result<> declare(const build::Arg& arg, const build::Environment& environment, char escape);
  // Those with a value.
  const build::Environment& declared() const { return declared_; }
  // What words are expanded with: ENV before ARG.
  build::Environment environment(const oci::RunConfig& run) const;
  // What a RUN's program sees of ARGs: none that ENV has. `counting` leaves out proxies that
  // were not declared, which are no part of what the image is.
  build::Environment for_run(const oci::RunConfig& run, bool counting) const;

 private:
  const build::Environment& given_;
  const build::Environment& global_;
  build::Environment declared_;
};

// Build arguments that need no ARG.
bool is_proxy_argument(std::string_view name);

// `["a" "b"]`, as Go's %q writes a list.
std::string go_quoted_list(const std::vector<std::string>& words);

}  // namespace nacelle::engine
