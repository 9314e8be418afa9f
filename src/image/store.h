// The content store: images as an OCI image layout that skopeo and umoci read as it is, and the
// places where layers, partial downloads and leases lie. Several processes use it at once.
//   content/            oci-layout, index.json, blobs/<algorithm>/<hex>
//   ingest/             what is on its way to being a blob
//   layers/             unpacked layers (layers.h)
//   images/<hex>        what is known of a manifest (record.h); a cache
//   leases/             what running operations need (lease.h)
//   lock                flock'ed while index.json changes and while garbage is set aside
// Nothing has its final name before it is whole and on disk: data, fsync, rename, fsync of the
// directory. What a power cut leaves is either not there or right.
// Plain functions here read small files and return at once; what waits for a disk or another
// process is a Task. A Store outlives every Task and every object it gave.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/digest.h"
#include "image/record.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "oci/image.h"

namespace nacelle::image {

inline constexpr const char* default_data_root = "/var/lib/nacelle";

struct IndexFile;  // index.json as values (index_file.h)

// What index.json says of one manifest.
struct Image {
  oci::Descriptor manifest;
  std::vector<std::string> names;         // "docker.io/library/busybox:latest", sorted
  std::vector<std::string> repo_digests;  // "docker.io/library/busybox@sha256:...", sorted
};

// A change of index.json: this manifest is an image. With a name, which moves here from where it
// was; an image that loses its last name so stays, without one, as Docker does.
struct TagRequest {
  oci::Descriptor manifest;
  std::string name;         // normalised, with a tag and no digest; may be empty
  std::string repo_digest;  // the name and digest it was pulled by or pushed as; may be empty
  // Only what is an image already gets the name: NotFound when it was removed meanwhile.
  bool must_exist = false;
};

// A blob on its way in. One process at a time has the Ingest of a digest; the file keeps what it
// has when that process goes, for the next one to continue.
class Ingest {
 public:
  // The blob is in the store already: nothing to do.
  bool done() const { return !file_; }
  const Fd& file() const { return file_; }
  // Bytes that are there from an earlier attempt. Their content is nobody's promise.
  uint64_t offset() const { return offset_; }

 private:
  friend class Store;
  Digest digest_;
  uint64_t size_ = 0;
  uint64_t offset_ = 0;
  Fd file_;  // flock'ed
};

// A directory below ingest/ for what gets its digest while it is written (load, import, commit). It
// and its content go with the object; after a crash, gc sees that nobody holds it.
class Workspace {
 public:
  Workspace() = default;
  Workspace(Workspace&&) noexcept = default;
  Workspace& operator=(Workspace&& other) noexcept;
  ~Workspace();
  const Fd& directory() const { return directory_; }
  // The same as its end, in pieces between which the loop goes on.
  static ring::Task<> remove(ring::Loop& loop, Workspace workspace);

 private:
  friend class Store;
  Fd directory_;  // flock'ed
  Fd parent_;
  std::string name_;
};

// The store's lock, until destroyed. Held for milliseconds: waiting for it is polling.
class StoreLock {
 public:
  StoreLock() = default;

 private:
  friend class Store;
  explicit StoreLock(Fd file) : file_(std::move(file)) {}
  Fd file_;
};

class Store {
 public:
  // Makes what is missing (0700). Needs no lock and no loop.
  static Result<Store> open(std::string path = default_data_root);

  const std::string& path() const { return path_; }
  const Fd& root() const { return root_; }
  const Fd& content_directory() const { return content_; }
  const Fd& ingest_directory() const { return ingest_; }
  const Fd& layers_directory() const { return layers_; }

  // Blobs. -----------------------------------------------------------------------------------
  // A size that is not the expected one is a blob that is not there.
  bool has_blob(const Digest& digest, uint64_t size) const;
  bool has_blob(const oci::Descriptor& descriptor) const {
    return has_blob(descriptor.digest, descriptor.size);
  }
  // NotFound when it is not there.
  Result<Fd> open_blob(const Digest& digest) const;
  Result<uint64_t> blob_size(const Digest& digest) const;

  // Waits while another process has the same blob in hand, and then finds it done() or goes on.
  ring::Task<Ingest> begin_ingest(ring::Loop& loop, Digest digest, uint64_t size);
  // The file is whole and its digest was found right by who wrote it: makes it a blob.
  ring::Task<> commit(ring::Loop& loop, Ingest ingest);
  // Its content is wrong: the next one begins anew. (To keep it for later, just let it go.)
  void discard(Ingest ingest);

  // A small document of ours. Its digest comes back.
  ring::Task<Digest> put_blob(ring::Loop& loop, std::string bytes);
  // The same with a digest it must have: Invalid otherwise.
  ring::Task<> put_blob(ring::Loop& loop, std::string bytes, Digest digest);

  Result<Workspace> make_workspace() const;
  // Makes a file of a workspace a blob. Who wrote it may be wrong or lie: its content is hashed,
  // and Internal when it is of another digest. The writer must be done with it.
  ring::Task<> adopt_blob(ring::Loop& loop, const Workspace& workspace, std::string name,
                          Digest digest, uint64_t size);

  // Images. ----------------------------------------------------------------------------------
  // In the order in which index.json first names them.
  Result<std::vector<Image>> images() const;
  // By name ("busybox", "busybox:1", "busybox@sha256:..."), id or the beginning of an id, in
  // Docker's order. An id is a configuration's digest; a manifest's will do. NotFound "No such
  // image: ..."; Conflict names the candidates.
  // What is written as a digest is never taken for a name.
  Result<Image> find(std::string_view text) const;
  // By the digest of its manifest alone: no name can come between.
  Result<Image> find(const Digest& manifest) const;

  // Invalid for a name that looks like a digest ("sha256:...").
  ring::Task<> tag(ring::Loop& loop, TagRequest request);
  // Takes a name away: NotFound when there is no such. An image that had only this one is removed,
  // unless it is to stay.
  enum class LastName : uint8_t { RemoveImage, KeepImage };
  ring::Task<> untag(ring::Loop& loop, std::string name, LastName last = LastName::RemoveImage);
  // Takes a repo digest ("busybox@sha256:...") away: NotFound when there is no such. An image that
  // has neither a name nor a repo digest left is removed.
  ring::Task<> forget_digest(ring::Loop& loop, std::string repo_digest);
  // Takes all of a manifest's names, and it, out of the index. Its blobs stay until gc.
  ring::Task<> remove(ring::Loop& loop, Digest manifest);
  // The same for who decided by the image's names: Conflict when they are others by now.
  ring::Task<> remove(ring::Loop& loop, Digest manifest, std::vector<std::string> names_seen);

  // Records. ---------------------------------------------------------------------------------
  std::optional<ImageRecord> find_record(const Digest& manifest) const;
  Result<> put_record(const ImageRecord& record) const;

  // For gc and leases. -----------------------------------------------------------------------
  enum class LockKind : uint8_t { Shared, Exclusive };
  ring::Task<StoreLock> lock(ring::Loop& loop, LockKind kind) const;
  Result<IndexFile> read_index() const;
  ring::Task<> write_index(ring::Loop& loop, const StoreLock& held, const IndexFile& index) const;
  const Fd& images_directory() const { return records_; }
  const Fd& leases_directory() const { return leases_; }
  const Fd& blobs_directory(codec::DigestAlgorithm algorithm) const {
    return algorithm == codec::DigestAlgorithm::Sha256 ? sha256_ : sha512_;
  }

 private:
  using Change = std::function<Result<>(IndexFile&)>;
  ring::Task<> change_index(ring::Loop& loop, Change change);
  ring::Task<> publish(ring::Loop& loop, const Fd& file, const Fd& directory, std::string name,
                       Digest digest);

  std::string path_;
  Fd root_, content_, sha256_, sha512_, ingest_, layers_, records_, leases_;
};

}  // namespace nacelle::image
