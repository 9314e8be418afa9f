#include "image/disk.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/check.h"
#include "base/text.h"
#include "ring/blocking.h"
#include "ring/ops.h"
#include "sys/call.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr size_t chunk_bytes = 1u << 20;  // hashed in about a millisecond

}  // namespace

Result<Listing> Listing::open(const Fd& directory) {
  Fd own = TRY(sys::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY));
  DIR* stream = ::fdopendir(own.get());
  if (stream == nullptr) return fail_errno(errno, "fdopendir");
  (void)std::move(own).release();  // the stream's from here on
  return Listing(stream);
}

const char* Listing::next() {
  while (const dirent* entry = ::readdir(stream_.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return entry->d_name;
  }
  return nullptr;
}

Result<std::vector<std::string>> list_directory(const Fd& directory) {
  Listing listing = TRY(Listing::open(directory));
  std::vector<std::string> names;
  while (const char* name = listing.next()) names.emplace_back(name);
  return names;
}

std::string random_name() {
  unsigned char bytes[8];
  CHECK(::getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
  std::string name;
  for (const unsigned char byte : bytes) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return name;
}

codec::Digest digest_from_name(std::string_view hex) {
  auto digest = codec::Digest::parse(cat(hex.size() == 128 ? "sha512:" : "sha256:", hex));
  return digest ? *std::move(digest) : codec::Digest();
}

Result<bool> try_lock(const Fd& file, bool exclusive) {
  // <sys/file.h>, which has flock(), is hidden by our own.
  const long result = sys::call(SYS_flock, file.get(), (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
  if (result == -EWOULDBLOCK) return false;
  if (result < 0) return fail_errno(static_cast<int>(-result), "flock");
  return true;
}

bool is_still_named(const Fd& file, const Fd& directory, const char* name) {
  struct stat ours, named;
  return ::fstat(file.get(), &ours) == 0 &&
         ::fstatat(directory.get(), name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

Result<> rename_between(const Fd& from, const char* name, const Fd& to, const char* new_name) {
  if (::renameat(from.get(), name, to.get(), new_name) < 0) {
    return fail_errno(errno, cat("rename '", name, "' to '", new_name, "'"));
  }
  return {};
}

Result<> ensure_directory(const Fd& parent, const char* name) {
  if (::mkdirat(parent.get(), name, 0700) < 0 && errno != EEXIST) {
    return fail_errno(errno, cat("mkdir '", name, "'"));
  }
  return {};
}

ring::Task<codec::Digest> hash_file(ring::Loop& loop, const Fd& file,
                                    codec::DigestAlgorithm algorithm) {
  codec::Hasher hasher(algorithm);
  std::string buffer(chunk_bytes, '\0');
  for (uint64_t offset = 0;;) {
    const size_t got = co_await ring::read_at(loop, file, buffer, offset);
    if (got == 0) break;
    hasher.update(std::string_view(buffer).substr(0, got));
    offset += got;
  }
  co_return hasher.finish();
}

Result<TreeRemoval> TreeRemoval::begin(const Fd& parent, std::string name) {
  Fd top = TRY(sys::open_at(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return TreeRemoval(parent, std::move(name), std::move(top));
}

Result<> TreeRemoval::open_next() {
  current_.clear();
  if (!top_listed_) {
    listing_ = std::make_unique<Listing>(TRY(Listing::open(top_)));
    top_listed_ = true;
    return {};
  }
  while (!pending_.empty()) {
    current_ = std::move(pending_.back());
    pending_.pop_back();
    auto directory =
        sys::open_at(top_.get(), current_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!directory && directory.error().error_number() == ENOENT) continue;
    const Fd opened = TRY(std::move(directory));
    listing_ = std::make_unique<Listing>(TRY(Listing::open(opened)));
    return {};
  }
  listing_.reset();
  return {};
}

Result<> TreeRemoval::remove_entry(const char* entry) {
  const int from = listing_->fd();
  if (::unlinkat(from, entry, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR) return fail_errno(errno, cat("unlink '", entry, "'"));
  if (current_.empty()) {
    pending_.emplace_back(entry);
    return {};
  }
  if (::unlinkat(from, entry, AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  for (;;) {
    std::string name = cat(".", moved_++);
    if (::renameat2(from, entry, top_.get(), name.c_str(), RENAME_NOREPLACE) == 0) {
      pending_.push_back(std::move(name));
      return {};
    }
    if (errno == ENOENT) return {};
    if (errno != EEXIST) return fail_errno(errno, cat("rename '", entry, "'"));
  }
}

Result<bool> TreeRemoval::step(size_t files_max) {
  if (!listing_) TRY(open_next());
  for (size_t count = 0; count < files_max && listing_; ++count) {
    if (const char* entry = listing_->next()) {
      TRY(remove_entry(entry));
      continue;
    }
    if (!current_.empty() && ::unlinkat(top_.get(), current_.c_str(), AT_REMOVEDIR) < 0) {
      if (errno == ENOTEMPTY) {
        // What was removed while it was read may have hidden something.
        listing_->rewind();
        continue;
      }
      if (errno != ENOENT) return fail_errno(errno, cat("rmdir '", current_, "'"));
    }
    TRY(open_next());
  }
  if (listing_) return true;
  if (::unlinkat(parent_->get(), name_.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return false;
  if (errno != ENOTEMPTY) return fail_errno(errno, cat("rmdir '", name_, "'"));
  top_listed_ = false;
  return true;
}

ring::Task<> remove_trees(ring::Loop& loop, const Fd& parent, std::vector<std::string> names) {
  Fd place = co_await sys::open_at(parent.get(), ".", O_RDONLY | O_DIRECTORY);
  auto removal = [place = std::move(place), names = std::move(names)]() -> Result<> {
    Result<> all;
    for (const std::string& name : names) {
      Result<> removed = remove_tree_now(place, name);
      if (!removed && removed.error().error_number() != ENOENT) all = std::move(removed);
    }
    return all;
  };
  co_await ring::run_blocking(loop, std::move(removal));
}

ring::Task<> remove_tree(ring::Loop& loop, const Fd& parent, std::string name) {
  std::vector<std::string> names;
  names.push_back(std::move(name));
  co_await remove_trees(loop, parent, std::move(names));
}

Result<> remove_tree_now(const Fd& parent, std::string name) {
  auto removal = TRY(TreeRemoval::begin(parent, std::move(name)));
  while (TRY(removal.step())) {
  }
  return {};
}

}  // namespace nacelle::image
