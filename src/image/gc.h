// Garbage: what neither an image, nor a lease, nor a container, nor the caller names. Safe beside
// pulls, loads and builds of other processes. Under the store's lock things are only set aside
// (renamed); deleting them takes its time afterwards.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "codec/digest.h"
#include "image/record.h"
#include "image/store.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::image {

// A download that nobody went on with for so long is given up.
inline constexpr std::chrono::hours ingest_age_max{7 * 24};

// What a manifest blob turned out to be: an image, or an index of further manifests.
struct Described {
  std::optional<ImageRecord> image;
  std::vector<oci::Descriptor> manifests;
};
// Reads a manifest that has no record: in the worker. Its failure is no reason to stop.
using Describe = std::function<ring::Task<Described>(oci::Descriptor manifest)>;

struct CollectOptions {
  std::vector<Digest> roots;  // kept besides: blobs, manifests (with all they name), chains
  Describe describe;          // without it, manifests without a record keep all blobs alive
  bool dry_run = false;       // counts only
};

struct Collected {
  uint64_t blobs = 0, blob_bytes = 0;
  uint64_t layers = 0, layer_bytes = 0;
  uint64_t ingests = 0, ingest_bytes = 0;
  std::vector<Digest> layer_chains;  // removed
  std::string kept_all_because;      // nothing of the above was removed, and why
};

ring::Task<Collected> collect(ring::Loop& loop, const Store& store, CollectOptions options = {});
// Only what those who have died were about to make or delete: workspaces, layers half unpacked.
ring::Task<> collect_half_done(ring::Loop& loop, const Store& store);

// Whether the store is what it says. Hashes every blob and adds up every layer; with `repair`, what
// is damaged is removed, so that a pull fetches it again.
struct Finding {
  enum class What : uint8_t { BlobDamaged, BlobMissing, LayerDamaged, IndexDamaged };
  What what = What::BlobDamaged;
  std::string message;  // "blob sha256:... has the content of sha256:..."
  bool repaired = false;
};
ring::Task<std::vector<Finding>> verify(ring::Loop& loop, const Store& store, bool repair = false);

}  // namespace nacelle::image
