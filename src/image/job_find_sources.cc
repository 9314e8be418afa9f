// COPY and ADD: which files are meant, and a digest of all that counts of them.
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "codec/digest.h"
#include "image/copy_source.h"
#include "image/jobs.h"
#include "image/unpack_tree.h"
#include "nacelle/fd.h"
#include "sys/resolve.h"

namespace nacelle::image {
namespace {

constexpr size_t sources_max = 100'000;
constexpr size_t piece_bytes = 256u << 10;

// Which files. -----------------------------------------------------------------------------------

bool has_wildcard(std::string_view text) { return text.find_first_of("*?[\\") != text.npos; }

// "a/../b/./c" as "b/c"; what leads out is refused, as Docker refuses it.
Result<std::vector<std::string>> components_of(const std::string& pattern) {
  std::vector<std::string> parts;
  std::string_view rest = pattern;
  while (!rest.empty()) {
    const std::string part(take_until(rest, '/'));
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    } else {
      return fail(Kind::Invalid,
                  cat("forbidden path outside the build context: ", shown_name(pattern), " ()"));
    }
  }
  return parts;
}

// The paths that wildcards stand for.
class Search {
 public:
  explicit Search(const Fd& root) : root_(root) {}

  // Those of `parts` below `directory`; one without wildcards must be there.
  Result<> expand(const std::string& directory, const std::vector<std::string>& parts, size_t at) {
    if (at == parts.size()) return add(directory);
    const std::string& part = parts[at];
    if (!has_wildcard(part)) return expand(joined_path(directory, part), parts, at + 1);
    const sys::InRoot inside(root_.get());
    const long opened =
        inside.open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY);
    if (opened < 0) return {};  // no directory: nothing in it
    const Fd opened_directory(static_cast<int>(opened));
    for (const std::string& name : TRY(names_in(opened_directory, directory))) {
      if (::fnmatch(part.c_str(), name.c_str(), 0) == 0) {
        TRY(expand(joined_path(directory, name), parts, at + 1));
      }
    }
    return {};
  }

  std::vector<std::string> take() { return std::move(found_); }

 private:
  Result<> add(const std::string& path) {
    const sys::InRoot inside(root_.get());
    const long there = inside.open(path.empty() ? "." : path.c_str(), O_PATH);
    if (there < 0) {
      if (there != -ENOENT && there != -ENOTDIR && there != -ELOOP) {
        return fail_errno(static_cast<int>(-there), cat("stat ", shown_name(path)));
      }
      return fail(Kind::NotFound,
                  cat("file not found in build context or excluded by .dockerignore: stat ",
                      shown_name(path), ": file does not exist"));
    }
    const Fd opened(static_cast<int>(there));
    if (found_.size() >= sources_max) return fail(Kind::Exhausted, "too many sources");
    found_.push_back(path);
    return {};
  }

  const Fd& root_;
  std::vector<std::string> found_;
};

// Their digest. ----------------------------------------------------------------------------------

class Fingerprint final : public SourceVisitor {
 public:
  Fingerprint(bool of_owners, Asker& asker) : of_owners_(of_owners), asker_(asker) {}

  Result<> enter(Found& found, const std::string& path) override {
    const struct stat& status = found.status;
    put(path);
    put(cat(status.st_mode));
    if (of_owners_) put(cat(status.st_uid, ':', status.st_gid));
    put(found.link_target);
    put(cat(S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ? status.st_rdev : 0));
    put(cat(found.xattrs.size()));
    for (const auto& [name, value] : found.xattrs) {
      put(name);
      put(value);
    }
    return S_ISREG(status.st_mode) ? add_content(found.file, path) : Result<>();
  }
  Result<> leave() override {
    put("end");
    return {};
  }
  Digest finish() { return hasher_.finish(); }

 private:
  // With its length in front: no two lists of texts look the same.
  void put(std::string_view text) {
    hasher_.update(cat(text.size(), ':'));
    hasher_.update(text);
  }

  Result<> add_content(const Fd& file, const std::string& path) {
    codec::Hasher content;
    while (true) {
      const ssize_t got = ::read(file.get(), buffer_.data(), buffer_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno(errno, cat("reading '", shown_name(path), "'"));
      if (got == 0) break;
      content.update(std::string_view(buffer_).substr(0, static_cast<size_t>(got)));
      asker_.progress(done_ += static_cast<uint64_t>(got));
    }
    put(content.finish().text());
    return {};
  }

  const bool of_owners_;
  Asker& asker_;
  codec::Hasher hasher_;
  std::string buffer_ = std::string(piece_bytes, '\0');
  uint64_t done_ = 0;
};

// What one word of a COPY means. ------------------------------------------------------------------

Result<std::vector<CopySource>> find_all(const std::string& text, const Fd& root) {
  Search search(root);
  TRY(search.expand("", TRY(components_of(text)), 0));
  std::vector<CopySource> sources;
  for (std::string& path : search.take())
    sources.push_back({.path = std::move(path), .pattern = {}});
  return sources;
}

// With its parents: those behind "/./", or all.
Result<std::vector<CopySource>> find_with_parents(const std::string& text, const Fd& root) {
  const size_t pivot = text.find("/./");
  const std::string above = pivot == text.npos ? "" : text.substr(0, pivot);
  std::string pattern;
  for (const std::string& part :
       TRY(components_of(pivot == text.npos ? text : text.substr(pivot)))) {
    pattern = joined_path(pattern, part);
  }
  std::vector<CopySource> sources = TRY(find_all(above, root));
  for (CopySource& source : sources) source.pattern = pattern;
  // Without wildcards it must be there.
  if (!has_wildcard(text)) TRY(find_all(joined_path(above, pattern), root));
  return sources;
}

}  // namespace

Result<FindSourcesRequest::Reply> find_sources(const FindSourcesRequest& request, const Fd& root,
                                               Asker& asker) {
  FindSourcesRequest::Reply reply;
  reply.all_are_directories = true;
  std::vector<CopySource> sources;
  for (const std::string& text : request.patterns) {
    auto found = TRY(request.parents ? find_with_parents(text, root) : find_all(text, root));
    if (sources.size() + found.size() > sources_max) {
      return fail(Kind::Exhausted, "too many sources");
    }
    std::ranges::move(found, std::back_inserter(sources));
  }
  if (sources.empty()) return fail(Kind::Invalid, "no source files were specified");
  Fingerprint fingerprint(request.owners, asker);
  for (CopySource& source : sources) {
    const Selection selection = TRY(Selection::make(source.pattern, request.exclude));
    Found found = TRY(look_from_root(root, source.path));
    const bool directory = S_ISDIR(found.status.st_mode);
    const std::string name(directory ? "" : last_component(source.path));
    // Parents have directories alone, and a file is excluded by its name.
    const bool is_meant =
        directory || (!request.parents && selection.choose(name) == Selection::Choice::Whole);
    if (!is_meant) continue;
    reply.all_are_directories = reply.all_are_directories && directory;
    TRY(SourceWalk(selection, fingerprint, asker).run(found, name));
    reply.sources.push_back(std::move(source));
  }
  reply.digest = fingerprint.finish();
  return reply;
}

}  // namespace nacelle::image
