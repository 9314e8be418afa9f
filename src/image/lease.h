// What a running operation needs stays: blobs, layers and manifests that no image names yet are
// safe from gc while a lease names them. A lease is a file in leases/ that its owner holds
// flock'ed; when the owner dies, however, the lock is free and the lease is nothing.
//   Lease lease = co_await Lease::take(loop, store);
//   co_await lease.protect(loop, digests);      // first
//   if (!store.has_blob(...)) ...               // then look: what is there now stays there
#pragma once

#include <string>
#include <vector>

#include "codec/digest.h"
#include "image/store.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::image {

class Lease {
 public:
  static ring::Task<Lease> take(ring::Loop& loop, const Store& store);
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&&) = delete;
  ~Lease();

  // Digests of blobs, manifests (with what their record names) and chains of layers. On return gc
  // has either seen this, or has done before.
  ring::Task<> protect(ring::Loop& loop, std::vector<Digest> digests);

 private:
  Lease(const Store& store, std::string name, Fd file)
      : store_(&store), name_(std::move(name)), file_(std::move(file)) {}
  const Store* store_;
  std::string name_;
  Fd file_;
};

// What all live leases name. Removes those of the dead. Under the store's lock.
Result<std::vector<Digest>> read_leases(const Store& store);

}  // namespace nacelle::image
