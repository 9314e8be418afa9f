#include "engine/spare_roots.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/record.h"
#include "image/disk.h"
#include "image/overlay.h"
#include "oci/image.h"
#include "ring/blocking.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

// So many at most of one kind; begun with one, and doubled whenever one was wanted and none there.
constexpr size_t ready_max = 8, ready_first = 1;
constexpr size_t kinds_max = 2;
// Until the start that follows a create is over.
constexpr ring::Duration refill_pause = std::chrono::milliseconds(5);
constexpr ring::Duration unwanted_after = std::chrono::seconds(30);

constexpr const char* spare_roots = "spare-roots";
constexpr const char* mount_points = "mount-points";
constexpr const char* mounted_directories[] = {"proc", "sys", "dev", "etc"};
constexpr const char* mounted_files[] = {"etc/hosts", "etc/hostname", "etc/resolv.conf"};

Result<Fd> open_directory(const Fd& parent, const char* name) {
  return sys::open_at(parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<Fd> make_directory(const Fd& parent, const char* name, mode_t mode) {
  TRY(sys::make_directory_at(parent.get(), name, mode));
  return open_directory(parent, name);
}

// An inode less where there is one that says the same; where that has as many names as it can have,
// or none any more, there will be another.
Result<> link_or_put(const Fd* same, const Fd& place, const char* name, const std::string& text) {
  if (same != nullptr) {
    const std::string path = cat("/proc/self/fd/", same->get());
    if (::linkat(AT_FDCWD, path.c_str(), place.get(), name, AT_SYMLINK_FOLLOW) == 0) return {};
  }
  return put_file(place, name, text, 0600);
}

Result<Fd> make_mount_points(const Fd& data) {
  TRY(image::ensure_directory(data, mount_points));
  Fd place = TRY(open_directory(data, mount_points));
  for (const char* name : mounted_directories) {
    Result<> made = sys::make_directory_at(place.get(), name, 0755);
    if (!made && made.error().error_number() != EEXIST) {
      return std::unexpected(std::move(made).error());
    }
  }
  for (const char* name : mounted_files) TRY(put_file(place, name, {}, 0755));
  return place;
}

}  // namespace

Result<> put_file(const Fd& place, const char* name, std::string_view text, mode_t mode) {
  // Without O_TRUNC: even where there is nothing to cut off, the disk would be waited for.
  const Fd file = TRY(sys::open_at(place.get(), name, O_WRONLY | O_CREAT | O_NOFOLLOW, mode));
  if (text.empty()) return {};
  return sys::write_all(file, text, name);
}

Result<> SpareRoots::begin(const Fd& data) {
  auto places = std::make_shared<Places>();
  TRY(image::ensure_directory(data, spare_roots));
  places->spares = TRY(open_directory(data, spare_roots));
  places->mount_points = TRY(make_mount_points(data));
  places_ = std::move(places);
  return {};
}

Result<Fd> SpareRoots::mount(const Places& places, const Trees& trees, const Fd& upper,
                             const Fd& work, bool is_volatile) {
  image::OverlayOptions overlay;
  // With as many layers as there can be, a container does without.
  if (trees->size() < oci::layers_max) overlay.lower.push_back(&places.mount_points);
  for (const Fd& tree : *trees) overlay.lower.push_back(&tree);
  overlay.upper = &upper;
  overlay.work = &work;
  overlay.is_volatile = is_volatile;
  return image::mount_overlay(overlay);
}

Result<Fd> SpareRoots::mount(const Trees& trees, const Fd& upper, const Fd& work,
                             bool is_volatile) const {
  return mount(*places_, trees, upper, work, is_volatile);
}

Result<> SpareRoots::fill(const Places& places, const RootKind& kind, const Shelf& like,
                          SpareRoot& spare) {
  const Pattern* pattern = like.pattern.get();
  TRY(link_or_put(pattern != nullptr ? &pattern->image : nullptr, spare.place, "image",
                  kind.chains));
  TRY(link_or_put(pattern != nullptr ? &pattern->base : nullptr, spare.place, "base", kind.base));
  for (const char* name : {"hostname", "hosts", "resolv.conf"}) {
    TRY(put_file(spare.place, name, {}, 0644));
  }
  TRY(put_file(spare.place, new_record_name, {}, 0600));
  const Fd upper = TRY(make_directory(spare.place, "upper", 0755));
  const Fd work = TRY(make_directory(spare.place, "work", 0700));
  spare.mount = TRY(mount(places, like.trees, upper, work, kind.is_volatile));
  return {};
}

// On a thread.
Result<> SpareRoots::make(const Places& places, const RootKind& kind, const Shelf& like,
                          SpareRoot& spare) {
  spare.name = image::random_name();
  spare.place = TRY(make_directory(places.spares, spare.name.c_str(), 0700));
  Result<> filled = fill(places, kind, like, spare);
  if (filled) return {};
  spare.mount = Fd();
  spare.place = Fd();
  (void)image::remove_tree_now(places.spares, spare.name);
  return filled;
}

std::optional<SpareRoot> SpareRoots::take(const RootKind& kind) {
  const auto found = shelves_.find(kind);
  if (found == shelves_.end()) return std::nullopt;
  Shelf& shelf = found->second;
  if (shelf.ready.empty()) {
    shelf.wanted = std::min(2 * shelf.wanted, ready_max);
    return std::nullopt;
  }
  SpareRoot spare = std::move(shelf.ready.front());
  shelf.ready.pop_front();
  return spare;
}

void SpareRoots::wish(const RootKind& kind, Trees trees) {
  Shelf& shelf = shelves_[kind];
  shelf.trees = std::move(trees);
  shelf.wanted = std::max(shelf.wanted, ready_first);
  shelf.last_wish = loop_.now();
  ++wishes_;
  wished_.notify_all();
  if (keeping_) return;
  keeping_ = true;
  background_.start(keep());
}

void SpareRoots::drop(Shelf& shelf) {
  for (SpareRoot& spare : std::exchange(shelf.ready, {})) drop_(std::move(spare));
}

void SpareRoots::drop_all() {
  for (auto& [kind, shelf] : std::exchange(shelves_, {})) drop(shelf);
}

// Kinds that nobody asked for in a while, and all but those that were asked for last.
void SpareRoots::drop_old() {
  const auto now = loop_.now();
  while (!shelves_.empty()) {
    const auto oldest = std::ranges::min_element(
        shelves_, {}, [](const auto& each) { return each.second.last_wish; });
    if (shelves_.size() <= kinds_max && now - oldest->second.last_wish < unwanted_after) return;
    drop(oldest->second);
    shelves_.erase(oldest);
  }
}

std::shared_ptr<const SpareRoots::Pattern> SpareRoots::pattern_of(const SpareRoot& spare) {
  auto image = sys::open_at(spare.place.get(), "image", O_PATH | O_NOFOLLOW);
  auto base = sys::open_at(spare.place.get(), "base", O_PATH | O_NOFOLLOW);
  if (!image || !base) return nullptr;
  return std::make_shared<Pattern>(*std::move(image), *std::move(base));
}

ring::Task<> SpareRoots::refill() {
  for (;;) {
    const auto lacking = std::ranges::find_if(
        shelves_, [](const auto& each) { return each.second.ready.size() < each.second.wanted; });
    if (lacking == shelves_.end()) co_return;
    const RootKind kind = lacking->first;
    const auto like = std::make_shared<Shelf>();
    like->trees = lacking->second.trees;
    like->pattern = lacking->second.pattern;
    const auto spare = std::make_shared<SpareRoot>();
    auto making = [places = places_, kind, like, spare] {
      return make(*places, kind, *like, *spare);
    };
    Result<> made = co_await ring::as_result(ring::run_blocking(loop_, std::move(making)));
    const auto shelf = shelves_.find(kind);
    if (!made) {
      // Creates do without until somebody wishes again.
      if (shelf != shelves_.end()) {
        drop(shelf->second);
        shelves_.erase(shelf);
      }
      co_await std::move(made);
    }
    if (shelf == shelves_.end() || shelf->second.trees != like->trees) {
      drop_(std::move(*spare));
      continue;
    }
    shelf->second.pattern = pattern_of(*spare);
    shelf->second.ready.push_back(std::move(*spare));
    fault_point("spare.ready");
  }
}

ring::Task<> SpareRoots::wait_for_wish() {
  while (wishes_ == wishes_seen_) co_await wished_.wait();
}

// Ends when nobody has wished for anything in a while.
ring::Task<> SpareRoots::keep() {
  while (!shelves_.empty()) {
    const auto wished =
        co_await ring::as_result(ring::with_deadline(loop_, wait_for_wish(), unwanted_after));
    if (!wished && wished.error().kind() == Kind::Cancelled) co_await wished;
    co_await ring::sleep_for(loop_, refill_pause);
    wishes_seen_ = wishes_;
    const Result<> refilled = co_await ring::as_result(refill());
    if (!refilled && refilled.error().kind() == Kind::Cancelled) co_await refilled;
    drop_old();
  }
  keeping_ = false;
}

}  // namespace nacelle::engine
