#include "fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "sys/file.h"

namespace nacelle::engine {

Tree::Tree() {
  char name[] = "/tmp/nacelle-spec-XXXXXX";
  path_ = ::mkdtemp(name);
  root_ = *sys::open_at(sys::working_directory, name, O_PATH | O_DIRECTORY);
}

Tree::~Tree() {
  const std::string command = "rm -rf " + path_;
  EXPECT_EQ(std::system(command.c_str()), 0);
}

static void make_parents(const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    ::mkdir(path.substr(0, slash).c_str(), 0755);
  }
}

void Tree::write(const std::string& path, std::string_view text) {
  const std::string whole = path_ + path;
  make_parents(whole);
  const Fd file =
      *sys::open_at(sys::working_directory, whole.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ASSERT_TRUE(sys::write_all(file, text, path));
}

void Tree::link(const std::string& path, const std::string& target) {
  const std::string whole = path_ + path;
  make_parents(whole);
  ASSERT_EQ(::symlink(target.c_str(), whole.c_str()), 0);
}

void Tree::fifo(const std::string& path) {
  const std::string whole = path_ + path;
  make_parents(whole);
  ASSERT_EQ(::mkfifo(whole.c_str(), 0644), 0);
}

CreateRequest plain_request() {
  CreateRequest request;
  request.config.cmd = {.set = true, .words = {"true"}};
  fill_defaults(request);
  return request;
}

}  // namespace nacelle::engine
