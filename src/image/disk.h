// What the store's files share: directories read and removed, names nobody has, locks that the
// kernel takes back from the dead.
#pragma once

#include <dirent.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/digest.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::image {

// What has been set aside to be deleted is called so, and a random name: it is there for nobody.
inline constexpr std::string_view trash_prefix = ".trash-";

// A directory that is being read; its descriptor is one of its own.
class Listing {
 public:
  static Result<Listing> open(const Fd& directory);
  // The next name but "." and ".."; nullptr at the end. Valid until the next call.
  const char* next();
  void rewind() { ::rewinddir(stream_.get()); }
  int fd() const { return ::dirfd(stream_.get()); }

 private:
  struct Close {
    void operator()(DIR* stream) const { ::closedir(stream); }
  };
  explicit Listing(DIR* stream) : stream_(stream) {}
  std::unique_ptr<DIR, Close> stream_;
};

Result<std::vector<std::string>> list_directory(const Fd& directory);

// Sixteen hexadecimal digits that nobody can guess.
std::string random_name();

// The digest whose hexadecimal part is a file's name; empty when it is none.
codec::Digest digest_from_name(std::string_view hex);

// flock(2) without waiting: false when someone else has it.
Result<bool> try_lock(const Fd& file, bool exclusive = true);
// Whether `file` is still what `name` stands for: it was, when it was opened, but a lock came
// later.
bool is_still_named(const Fd& file, const Fd& directory, const char* name);

Result<> rename_between(const Fd& from, const char* name, const Fd& to, const char* new_name);
Result<> ensure_directory(const Fd& parent, const char* name);

// The digest of a file's content, read in pieces between which the loop goes on.
ring::Task<codec::Digest> hash_file(ring::Loop& loop, const Fd& file,
                                    codec::DigestAlgorithm algorithm);

// Removes a directory and everything in it, of any depth and size, in pieces: step() does one of
// them and says whether there is more. A directory found inside is first moved up to the top, so
// that neither descriptors nor path lengths grow with the depth. What another one removes meanwhile
// is fine.
class TreeRemoval {
 public:
  static Result<TreeRemoval> begin(const Fd& parent, std::string name);
  Result<bool> step(size_t files_max = 512);

 private:
  TreeRemoval(const Fd& parent, std::string name, Fd top)
      : parent_(&parent), name_(std::move(name)), top_(std::move(top)) {}
  Result<> open_next();
  Result<> remove_entry(const char* entry);

  const Fd* parent_;
  std::string name_;
  Fd top_;
  std::vector<std::string> pending_;  // directories in the top, to be emptied
  std::string current_;               // one of them; empty: the top itself
  std::unique_ptr<Listing> listing_;
  bool top_listed_ = false;
  uint64_t moved_ = 0;
};

// On a thread: on a file system that discards what it frees, each file costs milliseconds.
ring::Task<> remove_trees(ring::Loop& loop, const Fd& parent, std::vector<std::string> names);
ring::Task<> remove_tree(ring::Loop& loop, const Fd& parent, std::string name);
Result<> remove_tree_now(const Fd& parent, std::string name);

}  // namespace nacelle::image
