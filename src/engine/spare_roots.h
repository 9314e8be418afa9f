// Writable roots made ahead, for containers that are yet to come: a directory that becomes a
// container's by one rename, with all the files that a create writes, still empty, and with the
// overlay over its image already mounted. New files and mounts cost a disk file system some
// milliseconds when it is busy, and a start is not to wait for them.
//
// Spares lie in a place of their own, <data root>/spare-roots, and mean nothing to anybody: an
// engine that begins throws those of the last one away.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::engine {

// What two containers share whose roots look alike when they begin.
struct RootKind {
  std::string chains, base;  // as in the files `image` and `base`
  bool is_volatile = false;
  auto operator<=>(const RootKind&) const = default;
};

struct SpareRoot {
  std::string name;  // among the spares
  Fd place;          // its directory
  Fd mount;
};

using Trees = std::shared_ptr<std::vector<Fd>>;  // of an image's layers, lowest first

class SpareRoots {
 public:
  // `drop` is given what nobody wants any more.
  SpareRoots(ring::Loop& loop, ring::Scope& background, std::function<void(SpareRoot)> drop)
      : loop_(loop), background_(background), drop_(std::move(drop)) {}
  SpareRoots(const SpareRoots&) = delete;
  SpareRoots& operator=(const SpareRoots&) = delete;

  Result<> begin(const Fd& data);
  // Where they are.
  const Fd& directory() const { return places_->spares; }

  // Nothing where none is ready.
  std::optional<SpareRoot> take(const RootKind& kind);
  // Somebody has made a container of this kind, and may make another.
  void wish(const RootKind& kind, Trees trees);
  // The images have changed.
  void drop_all();

  // The overlay of a container, whose own `upper` and `work` are.
  Result<Fd> mount(const Trees& trees, const Fd& upper, const Fd& work, bool is_volatile) const;

 private:
  // What a thread may go on to use.
  struct Places {
    Fd spares;
    // Below the image's own layers in each root: what every container has something mounted on, so
    // that nothing has to be made in the writable one where an image lacks it.
    Fd mount_points;
  };
  // `image` and `base` of one that was made, to which those that come are links: they say the same,
  // and nobody writes to them.
  struct Pattern {
    Fd image, base;
  };
  struct Shelf {
    Trees trees;
    std::shared_ptr<const Pattern> pattern;
    size_t wanted = 0;
    ring::TimePoint last_wish{};
    std::deque<SpareRoot> ready;
  };
  static Result<> make(const Places& places, const RootKind& kind, const Shelf& like,
                       SpareRoot& spare);
  static Result<> fill(const Places& places, const RootKind& kind, const Shelf& like,
                       SpareRoot& spare);
  static Result<Fd> mount(const Places& places, const Trees& trees, const Fd& upper, const Fd& work,
                          bool is_volatile);
  static std::shared_ptr<const Pattern> pattern_of(const SpareRoot& spare);
  ring::Task<> keep();
  ring::Task<> refill();
  ring::Task<> wait_for_wish();
  void drop_old();
  void drop(Shelf& shelf);

  ring::Loop& loop_;
  ring::Scope& background_;
  std::function<void(SpareRoot)> drop_;
  std::shared_ptr<const Places> places_;
  std::map<RootKind, Shelf> shelves_;
  ring::Notice wished_;
  uint64_t wishes_ = 0, wishes_seen_ = 0;
  bool keeping_ = false;
};

// A file of a container's directory, which has none of that name, or an empty one.
Result<> put_file(const Fd& place, const char* name, std::string_view text, mode_t mode);

}  // namespace nacelle::engine
