// Variables in the words of a Dockerfile, as BuildKit's frontend 1.x replaces them:
//   $x ${x} ${x:-w} ${x-w} ${x:+w} ${x+w} ${x:?w} ${x?w} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/w}
//   ${x//p/w}
// with the escape character, 'single' and "double" quotes. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "build/dockerfile.h"
#include "nacelle/result.h"

namespace nacelle::build {

using Environment = std::map<std::string, std::string, std::less<>>;

inline constexpr size_t expand_depth_max = 50;         // ${a:-${b:-...}}
inline constexpr size_t expanded_bytes_max = 4 << 20;  // of one word

struct ExpandOptions {
  char escape = '\\';
  bool keep_quotes = false;    // quotes stay in the result
  bool keep_escapes = false;   // escape characters stay
  bool ignore_quotes = false;  // quotes are characters like others (here-documents)
  bool keep_unset = false;     // `$x` without a value stays as it is written
};

struct Expanded {
  std::string text;
  std::vector<std::string> words;  // text cut at spaces that no quote or escape protects
  std::set<std::string> used;      // names that had a value
  std::set<std::string> unset;     // and names that had none
};

Result<Expanded> expand_all(std::string_view word, const Environment& environment,
                            const ExpandOptions& options = {});

// The text alone.
Result<std::string> expand(std::string_view word, const Environment& environment,
                           const ExpandOptions& options = {});

// Replaces variables in all parts of one instruction where Docker does: ADD, COPY (and their
// here-documents), ENV, LABEL, EXPOSE, STOPSIGNAL, USER, VOLUME, WORKDIR and RUN's mounts, which
// are complete afterwards. All parts see the same environment: `ENV a=1 b=$a` is b's of before. Of
// an ARG only the names: its default is expand()ed by who finds that nobody gave a value, so that
// `ARG x=${y:?}` fails only then.
Result<> expand_variables(Instruction& instruction, const Environment& environment, char escape);

}  // namespace nacelle::build
