// A file or directory of ours as a tar archive, made while it is sent (`cp` into a container), and
// one from a container unpacked here. What an archive says is not trusted: nothing is written
// outside the place that was named, and no symbolic link of the archive is followed.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/tar_reader.h"
#include "codec/tar_writer.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::cli {

class ArchiveSource {
 public:
  // `top`: the name of `path` in the archive; empty: only what is in the directory.
  ArchiveSource(std::string path, std::string top, bool follow_link);
  // Which entries are left out, by their names, and of directories whether all that is in them is.
  // Whoever owns a file, it is nobody's in the archive then: a build's context is the same for all.
  enum class Wanted : uint8_t { Yes, OnlyInside, No };
  using Filter = std::function<Wanted(const std::string& name)>;
  ArchiveSource(std::string path, Filter filter);
  // A file of this content, behind all others.
  void add_text(std::string name, std::string content);
  // The next bytes; 0: the end.
  Result<size_t> read(std::span<char> into);
  uint64_t content_bytes() const { return content_bytes_; }

 private:
  struct Waiting {
    std::string path, name;
  };
  struct Text {
    std::string name, content;
  };
  Result<> advance();
  Result<> write_text(const Text& text);
  Result<> begin(const Waiting& next);
  Result<> add_children(const Waiting& directory);
  Result<> more_content();

  std::vector<Waiting> stack_;
  std::vector<Text> texts_;
  Filter filter_;
  bool follow_top_;
  codec::tar::Writer writer_;
  std::string pending_;
  size_t sent_ = 0;
  Fd file_;
  std::string file_path_;
  uint64_t size_ = 0, left_ = 0, content_bytes_ = 0;
  bool ended_ = false;
};

struct UnpackOptions {
  bool keep_owners = false;
};

// Entries of an archive whose first one is a file or a directory and the rest what is in it.
class ArchiveSink {
 public:
  // `directory`: where to; `name`: what the first entry is called there, empty: what is in it goes
  // straight there.
  ArchiveSink(Fd directory, std::string name, UnpackOptions options)
      : directory_(std::move(directory)), name_(std::move(name)), options_(options) {}
  Result<> feed(std::string_view bytes);
  Result<> finish();
  uint64_t content_bytes() const { return content_bytes_; }

 private:
  struct Late {
    std::string path;
    codec::tar::Entry entry;
  };
  Result<std::string> place_of(std::string_view name) const;
  Result<> begin(const codec::tar::Entry& entry);
  Result<> make(int parent, const char* name, const codec::tar::Entry& entry);
  Result<> write(std::string_view data, uint64_t offset);
  Result<> end_file();
  Result<> settle(int parent, const char* name, const codec::tar::Entry& entry) const;

  codec::tar::Reader reader_;
  Fd directory_;
  std::string name_, top_;
  bool has_top_ = false;
  UnpackOptions options_;
  Fd file_;
  codec::tar::Entry file_entry_;
  std::vector<Late> directories_;  // their modes and times come when all is in them
  uint64_t content_bytes_ = 0;
};

}  // namespace nacelle::cli
