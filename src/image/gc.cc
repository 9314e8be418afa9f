#include "image/gc.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <map>
#include <set>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "image/build_cache.h"
#include "image/disk.h"
#include "image/index_file.h"
#include "image/layers.h"
#include "image/lease.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr int rounds_max = 3;  // others add images while we look
constexpr size_t container_bytes_max = 1u << 20;
constexpr std::chrono::hours record_partial_age_max{1};
constexpr codec::DigestAlgorithm algorithms[] = {codec::DigestAlgorithm::Sha256,
                                                 codec::DigestAlgorithm::Sha512};

// What is to stay, found from what is named.
class Marks {
 public:
  // `indexes`: what is known to be no image, and which manifests it names.
  Marks(const Store& store, const std::map<Digest, std::vector<oci::Descriptor>>& indexes)
      : store_(store), layers_(store), indexes_(indexes) {}

  // A blob, a manifest or a chain: whichever there is.
  void add(const Digest& digest) {
    if (!kept_.insert(digest).second) return;
    add_record(digest);
    for (Digest chain = digest; const auto record = layers_.find_record(chain);) {
      chain = record->parent;
      if (chain.empty() || !kept_.insert(chain).second) break;
    }
  }

  // An image's manifest, or an index of some. What nobody could say anything about is left in
  // unknown().
  void add_manifest(const oci::Descriptor& manifest) {
    std::vector<oci::Descriptor> pending{manifest};
    while (!pending.empty()) {
      const oci::Descriptor next = std::move(pending.back());
      pending.pop_back();
      if (!seen_.insert(next.digest).second) continue;
      add(next.digest);
      if (recorded_.contains(next.digest) || !store_.blob_size(next.digest)) continue;
      const auto index = indexes_.find(next.digest);
      if (index == indexes_.end()) {
        unknown_.push_back(next);
      } else {
        pending.insert(pending.end(), index->second.begin(), index->second.end());
      }
    }
  }

  bool keeps(const Digest& digest) const { return kept_.contains(digest); }
  const std::vector<oci::Descriptor>& unknown() const { return unknown_; }
  bool has_unknown_besides(const std::set<Digest>& asked) const {
    return std::ranges::any_of(unknown_, [&](const oci::Descriptor& manifest) {
      return !asked.contains(manifest.digest);
    });
  }

 private:
  void add_record(const Digest& manifest) {
    const auto record = store_.find_record(manifest);
    if (!record) return;
    recorded_.insert(manifest);
    kept_.insert(record->manifest.config.digest);
    for (const oci::Descriptor& layer : record->manifest.layers) kept_.insert(layer.digest);
    for (const Digest& chain : oci::chain_ids(record->config.diff_ids)) kept_.insert(chain);
  }

  const Store& store_;
  const Layers layers_;
  const std::map<Digest, std::vector<oci::Descriptor>>& indexes_;
  std::set<Digest> kept_, seen_, recorded_;
  std::vector<oci::Descriptor> unknown_;
};

// Empty when there is none.
Result<Fd> open_containers(const Store& store) {
  auto opened = sys::open_at(store.root().get(), "containers", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!opened && opened.error().error_number() == ENOENT) return Fd();
  return opened;
}

// <data root>/containers/<id>/<file>: a digest in each line.
Result<std::vector<Digest>> container_digests(const Store& store, const char* file) {
  std::vector<Digest> digests;
  const Fd containers = TRY(open_containers(store));
  if (!containers) return digests;
  for (const std::string& id : TRY(list_directory(containers))) {
    if (id.starts_with(trash_prefix)) continue;
    const std::string path = cat(id, '/', file);
    auto text = sys::read_file_at(containers.get(), path.c_str(), container_bytes_max);
    // Not every container has one, and what is no directory is none.
    if (!text && (text.error().error_number() == ENOENT || text.error().error_number() == ENOTDIR))
      continue;
    const std::string lines = TRY(std::move(text));
    std::string_view rest = lines;
    while (!rest.empty()) {
      if (auto digest = Digest::parse(take_until(rest, '\n')))
        digests.push_back(*std::move(digest));
    }
  }
  return digests;
}

// What is named, and what is mounted: of that, the whole image stays, so that it can be committed.
Result<> mark_images(const Store& store, Marks& marks) {
  const IndexFile index = TRY(store.read_index());
  for (const Image& image : index.images()) marks.add_manifest(image.manifest);
  for (const Digest& base : TRY(container_digests(store, "base"))) {
    oci::Descriptor manifest;
    manifest.media_type = oci::media::oci_manifest;
    manifest.digest = base;
    manifest.size = store.blob_size(base).value_or(0);
    marks.add_manifest(manifest);
  }
  return {};
}

std::chrono::seconds age_of(const struct stat& status) {
  return std::chrono::seconds(::time(nullptr) - status.st_mtim.tv_sec);
}

uint64_t size_of(const struct stat& status) { return static_cast<uint64_t>(status.st_size); }

// A directory of things set aside, flock'ed, so that only one gc deletes what is in it.
class Trash {
 public:
  Trash(const Fd& parent, bool dry_run) : parent_(&parent), dry_run_(dry_run) {}

  Result<> take(const Fd& from, const std::string& name) {
    if (dry_run_) return {};
    if (!directory_) {
      name_ = cat(trash_prefix, random_name());
      TRY(sys::make_directory_at(parent_->get(), name_.c_str(), 0700));
      directory_ =
          TRY(sys::open_at(parent_->get(), name_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      (void)TRY(try_lock(directory_));
    }
    TRY(rename_between(from, name.c_str(), directory_, cat(count_++).c_str()));
    fault_point("gc.set_aside");
    return {};
  }

  ring::Task<> empty(ring::Loop& loop) {
    if (!directory_) co_return;
    // A power cut must not bring a directory back under its name with half of its content.
    co_await ring::fsync(loop, *parent_);
    co_await remove_tree(loop, *parent_, name_);
  }

 private:
  const Fd* parent_;
  bool dry_run_;
  std::string name_;
  Fd directory_;
  uint64_t count_ = 0;
};

// Whoever made it is gone, or never comes back to it.
Result<bool> is_abandoned(const Fd& directory, const std::string& name, Fd& held) {
  auto opened = sys::open_at(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!opened) return false;
  held = *std::move(opened);
  return try_lock(held);
}

class Sweep {
 public:
  Sweep(const Store& store, const Marks& marks, bool dry_run)
      : store_(store),
        marks_(marks),
        ingest_trash_(store.ingest_directory(), dry_run),
        layers_trash_(store.layers_directory(), dry_run),
        containers_trash_(containers_, dry_run),
        dry_run_(dry_run) {}

  Collected collected;

  Result<> blobs() {
    for (const auto algorithm : algorithms) {
      const Fd& directory = store_.blobs_directory(algorithm);
      for (const std::string& name : TRY(list_directory(directory))) {
        const Digest digest = digest_from_name(name);
        // What is not a blob of ours is not our garbage.
        if (digest.empty() || marks_.keeps(digest)) continue;
        struct stat status;
        if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        TRY(ingest_trash_.take(directory, name));
        ++collected.blobs;
        collected.blob_bytes += size_of(status);
      }
    }
    return {};
  }

  Result<> layers() {
    const Fd& directory = store_.layers_directory();
    const Layers layers(store_);
    for (const std::string& name : TRY(list_directory(directory))) {
      const Digest chain = digest_from_name(name);
      if (chain.empty() || marks_.keeps(chain)) continue;
      const auto record = layers.find_record(chain);
      TRY(layers_trash_.take(directory, name));
      ++collected.layers;
      collected.layer_bytes += record ? record->tree_bytes : 0;
      collected.layer_chains.push_back(chain);
    }
    return {};
  }

  // What the dead have left.
  Result<> abandoned() {
    TRY(half_done());
    for (const std::string& name : TRY(list_directory(store_.ingest_directory()))) {
      if (!is_half_done(name)) TRY(take_old_ingest(name));
    }
    containers_ = TRY(open_containers(store_));
    if (!containers_) return {};
    for (const std::string& name : TRY(list_directory(containers_))) {
      if (name.starts_with(trash_prefix)) TRY(take_abandoned(containers_, name, containers_trash_));
    }
    return {};
  }

  // What nobody comes back to: it needs no marks.
  Result<> half_done() {
    for (const std::string& name : TRY(list_directory(store_.layers_directory()))) {
      if (name.starts_with(".partial-") || name.starts_with(trash_prefix)) {
        TRY(take_abandoned(store_.layers_directory(), name, layers_trash_));
      }
    }
    for (const std::string& name : TRY(list_directory(store_.ingest_directory()))) {
      if (is_half_done(name)) TRY(take_abandoned(store_.ingest_directory(), name, ingest_trash_));
    }
    return {};
  }

  Result<> records() {
    const Fd& directory = store_.images_directory();
    for (const std::string& name : TRY(list_directory(directory))) {
      const Digest manifest = digest_from_name(name);
      struct stat status;
      if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
      // One that is not (yet) named by a digest is being written.
      if (manifest.empty() ? age_of(status) < record_partial_age_max : marks_.keeps(manifest)) {
        continue;
      }
      if (!dry_run_) (void)::unlinkat(directory.get(), name.c_str(), 0);
    }
    return {};
  }

  ring::Task<> finish(ring::Loop& loop) {
    co_await ingest_trash_.empty(loop);
    co_await layers_trash_.empty(loop);
    co_await containers_trash_.empty(loop);
  }

 private:
  static bool is_half_done(std::string_view ingest) {
    return ingest.starts_with("work-") || ingest.starts_with(trash_prefix);
  }

  Result<> take_abandoned(const Fd& directory, const std::string& name, Trash& trash) {
    Fd held;
    if (!TRY(is_abandoned(directory, name, held))) return {};
    if (!is_still_named(held, directory, name.c_str())) return {};
    return trash.take(directory, name);
  }

  Result<> take_old_ingest(const std::string& name) {
    const Fd& directory = store_.ingest_directory();
    struct stat status;
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return {};
    const size_t dash = name.find('-');
    const Digest digest = digest_from_name(std::string_view(name).substr(dash + 1));
    if (age_of(status) < ingest_age_max || marks_.keeps(digest)) return {};
    Fd held;
    if (!TRY(is_abandoned(directory, name, held))) return {};
    TRY(ingest_trash_.take(directory, name));
    ++collected.ingests;
    collected.ingest_bytes += size_of(status);
    return {};
  }

  const Store& store_;
  const Marks& marks_;
  Fd containers_;
  Trash ingest_trash_, layers_trash_, containers_trash_;
  bool dry_run_;
};

// What manifests without a record turned out to be, as far as somebody could say.
struct Learnt {
  std::map<Digest, std::vector<oci::Descriptor>> indexes;
  std::set<Digest> asked;
};

// Has the worker read what has no record, each once. An index leads to further manifests: again,
// until there is nothing new to ask about.
ring::Task<> describe_unknown(const Store& store, const Describe& describe, Learnt& learnt) {
  for (bool asked_any = true; asked_any;) {
    asked_any = false;
    Marks marks(store, learnt.indexes);
    co_await mark_images(store, marks);
    for (const oci::Descriptor& manifest : marks.unknown()) {
      if (!learnt.asked.insert(manifest.digest).second) continue;
      asked_any = true;
      Result<Described> described = co_await as_result(describe(manifest));
      if (!described && described.error().kind() == Kind::Cancelled) {
        co_await std::unexpected(described.error());
      }
      if (!described) continue;
      if (described->image) {
        co_await store.put_record(*described->image);
      } else {
        learnt.indexes[manifest.digest] = std::move(described->manifests);
      }
    }
  }
}

Result<> mark_all(const Store& store, const CollectOptions& options, Marks& marks) {
  for (const Digest& root : options.roots) marks.add(root);
  for (const Digest& root : TRY(read_leases(store))) marks.add(root);
  for (const Digest& root : TRY(container_digests(store, "image"))) marks.add(root);
  for (const BuildCache::Listed& each : TRY(BuildCache(store).list())) {
    const ImageRecord& made = each.step.record;
    for (const oci::Descriptor& layer : made.manifest.layers) marks.add(layer.digest);
    for (const Digest& chain : oci::chain_ids(made.config.diff_ids)) marks.add(chain);
  }
  return mark_images(store, marks);
}

Result<> set_aside_garbage(const Marks& marks, Sweep& sweep) {
  fault_point("gc.marked");
  TRY(sweep.abandoned());
  if (!marks.unknown().empty()) {
    sweep.collected.kept_all_because =
        cat("it is not known what manifest ", marks.unknown().front().digest.text(), " needs");
    return {};
  }
  TRY(sweep.blobs());
  TRY(sweep.layers());
  return sweep.records();
}

}  // namespace

ring::Task<Collected> collect(ring::Loop& loop, const Store& store, CollectOptions options) {
  Learnt learnt;
  for (int round = 1;; ++round) {
    if (options.describe) co_await describe_unknown(store, options.describe, learnt);
    StoreLock held = co_await store.lock(loop, Store::LockKind::Exclusive);
    Marks marks(store, learnt.indexes);
    co_await mark_all(store, options, marks);
    // Images have come since we looked.
    if (options.describe && round < rounds_max && marks.has_unknown_besides(learnt.asked)) continue;
    Sweep sweep(store, marks, options.dry_run);
    co_await set_aside_garbage(marks, sweep);
    held = StoreLock();
    fault_point("gc.unlocked");
    co_await sweep.finish(loop);
    fault_point("gc.deleted");
    co_return std::move(sweep.collected);
  }
}

ring::Task<> collect_half_done(ring::Loop& loop, const Store& store) {
  StoreLock held = co_await store.lock(loop, Store::LockKind::Exclusive);
  const std::map<Digest, std::vector<oci::Descriptor>> no_indexes;
  const Marks no_marks(store, no_indexes);
  Sweep sweep(store, no_marks, false);
  co_await sweep.half_done();
  held = StoreLock();
  co_await sweep.finish(loop);
}

}  // namespace nacelle::image
