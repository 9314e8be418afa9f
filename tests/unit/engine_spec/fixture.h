// A root with files to be looked up in, and requests to be changed by a case.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "engine/spec_builder.h"
#include "nacelle/fd.h"

namespace nacelle::engine {

// A directory below /tmp that goes away with its files.
class Tree {
 public:
  Tree();
  ~Tree();
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  // Directories above are made.
  void write(const std::string& path, std::string_view text);
  void link(const std::string& path, const std::string& target);
  void fifo(const std::string& path);
  const Fd& root() const { return root_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Fd root_;
};

// The request of `docker run true`.
CreateRequest plain_request();

// What went wrong, or "ok".
template <class T>
std::string message_of(const Result<T>& result) {
  return result ? "ok" : result.error().message();
}

// dockerd 28's config.json for plain_request() with network none.
oci::Spec docker_spec();
oci::Seccomp parse_profile(const std::string& json);

}  // namespace nacelle::engine
