// URLs of git repositories, as ADD and contexts have them:
// "https://host/repository.git#ref:directory".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::build {

struct GitSource {
  std::string remote;
  std::string ref;        // a branch, a tag, a commit, "refs/..."; empty: what the remote's HEAD is
  std::string directory;  // in there; empty: all of it
  std::string checksum;   // what the commit's id must begin with
  std::optional<bool> keep_git_dir;

  bool operator==(const GitSource&) const = default;
};

// Nothing where `text` is no repository's URL: "git://...", "ssh://...", "user@host:path",
// "github.com/...", and of http(s) what ends in ".git". Invalid: a part that could be taken for
// something else than a name.
Result<std::optional<GitSource>> parse_git_source(std::string_view text);

}  // namespace nacelle::build
