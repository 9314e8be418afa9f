// The tree of files that a layer's entries describe, made in an empty directory. Names are
// relative to that directory and never lead out of it: ".." above it is refused, and symbolic links
// on the way are followed inside it.
//
// What overlayfs is to see in the finished layer: a whiteout (`.wh.NAME`) is a character device
// 0:0, an opaque directory (`.wh..wh..opq`) has trusted.overlay.opaque, which only the Asker can
// set. Whiteouts speak of layers below, so an entry of the same layer wins over one of its name,
// whichever comes first; a directory with a whiteout of its own name is opaque, since nothing of
// what was there before shines through.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "codec/tar.h"
#include "image/jobs.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

inline constexpr uint64_t unpack_entries_max = 10'000'000;
inline constexpr uint64_t unpack_tree_bytes_max = 1ull << 40;
inline constexpr size_t unpack_directories_max = 250'000;  // their times are kept until the end
inline constexpr uint64_t unpack_discarded_bytes_max = 64u << 20;  // content that becomes no file
// Directories looked up for one entry; on the way through links each costs as much as
// unpack_link_step of them. The deepest path there can be takes 12'288.
inline constexpr uint64_t unpack_steps_max = 16'384;
inline constexpr uint64_t unpack_link_step = 4;
inline constexpr size_t unpack_default_acls_bytes_max = 4u << 20;

// A name from an archive in a message: what could steer a terminal is replaced, and it is cut.
std::string shown_name(std::string_view name);

class TreeWriter {
 public:
  // Both outlive the writer.
  TreeWriter(const Fd& root, Asker& asker);

  // For each entry: begin, data as often as there is some, end. Errors do not name the entry.
  Result<> begin(const codec::tar::Entry& entry);
  Result<> data(uint64_t offset, std::string_view bytes);
  Result<> end();
  // After the last entry: what could only be set when nothing more is put into a directory.
  Result<> finish();

  uint64_t entries() const { return entries_; }
  uint64_t tree_bytes() const { return tree_bytes_; }
  // Parents first.
  std::vector<std::string> implied_directories() const;

 private:
  // An open directory of the tree. Its path has no links in it.
  struct Directory {
    std::string path;
    Fd fd;
    bool sets_group = false;  // what is made in it takes its group, and directories that bit
  };
  struct Record {
    bool described = false;
    bool opaque = false;
    codec::tar::Time modified;
  };
  // Where an entry goes: `parent` is valid until the next directory is looked for.
  struct Place {
    Directory* parent = nullptr;
    std::string path;  // of the entry
    const char* name = nullptr;
  };

  Result<Directory*> directory(std::string_view path);
  Result<Directory*> walk_to(std::string_view path);
  Result<std::string> enter(const std::string& from, const std::string& name, std::string& rest,
                            int& links);
  Result<> make_implied(Directory& parent, const std::string& name, const std::string& path,
                        bool opaque);
  Result<> spend_steps(uint64_t steps);
  Result<> remove_tree(const Fd& parent, const char* name);
  Result<> record(const std::string& path, const Record& what);
  Result<> mark_opaque(const std::string& path);

  Result<> describe_root(const codec::tar::Entry& entry);
  Result<> make_directory(const Place& place, const codec::tar::Entry& entry);
  Result<> make_file(const Place& place, const codec::tar::Entry& entry);
  Result<> make_symlink(const Place& place, const codec::tar::Entry& entry);
  Result<> make_node(const Place& place, const codec::tar::Entry& entry);
  Result<> make_hard_link(const std::string& parent, const std::string& path,
                          const codec::tar::Entry& entry);
  Result<> make_whiteout(const std::string& parent, std::string_view hidden);

  // Before anything is removed: its name might be given to something else.
  void forget_whiteout() { whiteout_directory_ = Fd(); }
  Result<> remove_existing(const Place& place);
  Result<> set_owner(const Place& place, const codec::tar::Entry& entry, bool always);
  Result<> set_xattrs(const Fd& file, const codec::tar::Entry& entry, const std::string* directory);

  const Fd& root_;
  Asker& asker_;
  // From the root downwards, each in the one before. Entries come in the order of a walk, so the
  // next one's parent is nearly always here.
  std::vector<Directory> open_;
  // By path, which puts parents first.
  std::map<std::string, Record, std::less<>> records_;
  std::map<std::string, std::string> default_acls_;
  size_t default_acls_bytes_ = 0;

  // A whiteout that others can be links to; empty: none is known.
  Fd whiteout_directory_;
  std::string whiteout_name_;

  Fd file_;  // the entry that is being written, if it has content
  const codec::tar::Entry* entry_ = nullptr;
  bool file_takes_group_ = false;
  uint64_t file_end_ = 0;
  uint64_t entries_ = 0;
  uint64_t tree_bytes_ = 0;
  uint64_t discarded_bytes_ = 0;
  uint64_t steps_ = 0;  // of this entry
};

}  // namespace nacelle::image
