// Steps of builds that were done before: what came out of each, found again by a digest of all that
// went into it. A file per step, <data root>/build-cache/<key>, written whole or not at all; what
// the steps name stays, as far as garbage collection goes, until they are removed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "codec/digest.h"
#include "image/record.h"
#include "image/store.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::image {

struct CachedStep {
  Digest key;
  ImageRecord record;  // what the step made: layers and configuration, an image or none
  std::string description;
  int64_t created_s = 0;
  uint64_t bytes = 0;  // of the step's own layer, packed
  template <class Visit>
  void fields(Visit& visit) {
    visit(key, record, description, created_s, bytes);
  }
};

class BuildCache {
 public:
  explicit BuildCache(const Store& store) : store_(store) {}

  // Nothing where the step is not known, or what it made is not there any more.
  std::optional<CachedStep> find(const Digest& key) const;
  // While a lease protects what the step made.
  ring::Task<> put(ring::Loop& loop, CachedStep step) const;

  struct Listed {
    CachedStep step;
    int64_t used_s = 0;  // since 1970
  };
  // The oldest first. What cannot be read is left out.
  Result<std::vector<Listed>> list() const;
  Result<> remove(const Digest& key) const;

 private:
  const Store& store_;
};

}  // namespace nacelle::image
