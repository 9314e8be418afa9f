#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "image/disk.h"
#include "image/jobs.h"
#include "image/measure.h"
#include "image/worker.h"
#include "sys/file.h"

// One descriptor whatever the depth: the way back up is "..", and taken only if that is where we
// came from. A tree that is moved about meanwhile is counted as far as it was found.

namespace nacelle::image {
namespace {

constexpr size_t pending_bytes_max = 16u << 20;  // names of directories still to be looked into
constexpr size_t hard_links_max = 200'000;       // beyond these, another name counts again

using Identity = std::pair<dev_t, ino_t>;

class Measuring {
 public:
  explicit Measuring(Asker& asker) : asker_(asker) {}

  Result<MeasureRequest::Reply> run(const Fd& root) {
    Fd at = TRY(sys::open_at(root.get(), ".", O_RDONLY | O_DIRECTORY));
    device_ = TRY(sys::stat_fd(at)).st_dev;
    TRY(enter(at));
    while (!levels_.empty()) {
      if (levels_.back().names.empty()) {
        levels_.pop_back();
        if (levels_.empty() || !go_up(at)) break;
        continue;
      }
      const std::string name = std::move(levels_.back().names.back());
      levels_.back().names.pop_back();
      pending_bytes_ -= name.size();
      auto below = sys::open_at(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (!below) continue;  // it has gone
      at = *std::move(below);
      TRY(enter(at));
    }
    return MeasureRequest::Reply{.bytes = bytes_, .entries = entries_};
  }

 private:
  struct Level {
    Identity identity;
    std::vector<std::string> names;
  };

  Result<> enter(const Fd& directory) {
    const struct stat status = TRY(sys::stat_fd(directory));
    levels_.push_back({{status.st_dev, status.st_ino}, {}});
    if (status.st_dev != device_) return {};  // another file system
    Listing listing = TRY(Listing::open(directory));
    while (const char* name = listing.next()) TRY(count(directory, name));
    return {};
  }

  Result<> count(const Fd& directory, const char* name) {
    struct stat status;
    if (::fstatat(directory.get(), name, &status, AT_SYMLINK_NOFOLLOW) < 0) return {};
    asker_.progress(++entries_);
    if (S_ISDIR(status.st_mode)) {
      levels_.back().names.emplace_back(name);
      pending_bytes_ += levels_.back().names.back().size();
      if (pending_bytes_ <= pending_bytes_max) return {};
      return fail(Kind::Exhausted,
                  cat("more than ", pending_bytes_max, " bytes of directory names"));
    }
    if (status.st_nlink > 1) {
      if (links_.contains({status.st_dev, status.st_ino})) return {};
      if (links_.size() < hard_links_max) links_.insert({status.st_dev, status.st_ino});
    }
    bytes_ += static_cast<uint64_t>(status.st_size);
    return {};
  }

  bool go_up(Fd& at) {
    auto above = sys::open_at(at.get(), "..", O_RDONLY | O_DIRECTORY);
    if (!above) return false;
    at = *std::move(above);
    const auto status = sys::stat_fd(at);
    return status && levels_.back().identity == Identity(status->st_dev, status->st_ino);
  }

  Asker& asker_;
  dev_t device_ = 0;
  std::vector<Level> levels_;
  std::set<Identity> links_;
  size_t pending_bytes_ = 0;
  uint64_t bytes_ = 0, entries_ = 0;
};

}  // namespace

Result<MeasureRequest::Reply> measure(const MeasureRequest&, const Fd& root, Asker& asker) {
  return Measuring(asker).run(root);
}

ring::Task<uint64_t> measure_tree(ring::Loop& loop, const Fd& directory) {
  Worker worker = co_await Worker::start(loop, {.kind = WorkerKind::Pack, .root = &directory});
  const MeasureRequest::Reply reply = co_await worker.call(MeasureRequest{});
  co_await worker.stop();
  co_return reply.bytes;
}

}  // namespace nacelle::image
