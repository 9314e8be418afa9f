#include "image/lease.h"

#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "base/text.h"
#include "image/disk.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr size_t lease_bytes_max = 16u << 20;

}  // namespace

ring::Task<Lease> Lease::take(ring::Loop& loop, const Store& store) {
  // Under the lock, so that no gc finds the file before it is locked.
  const StoreLock held = co_await store.lock(loop, Store::LockKind::Shared);
  std::string name = random_name();
  Fd file = co_await sys::open_at(store.leases_directory().get(), name.c_str(),
                                  O_RDWR | O_CREAT | O_EXCL | O_APPEND, 0600);
  if (!co_await try_lock(file)) co_await fail(Kind::Internal, "a new lease is locked");
  fault_point("lease.taken");
  co_return Lease(store, std::move(name), std::move(file));
}

Lease::~Lease() {
  if (file_) (void)::unlinkat(store_->leases_directory().get(), name_.c_str(), 0);
}

ring::Task<> Lease::protect(ring::Loop& loop, std::vector<Digest> digests) {
  std::string lines;
  for (const Digest& digest : digests) {
    if (!digest.empty()) lines += cat(digest.text(), '\n');
  }
  const StoreLock held = co_await store_->lock(loop, Store::LockKind::Shared);
  co_await sys::write_all(file_, lines, "lease");
  fault_point("lease.written");
}

Result<std::vector<Digest>> read_leases(const Store& store) {
  const Fd& directory = store.leases_directory();
  std::vector<Digest> digests;
  for (const std::string& name : TRY(list_directory(directory))) {
    auto file = sys::open_at(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW);
    if (!file && file.error().error_number() == ENOENT) continue;  // its owner has just ended it
    const Fd opened = TRY(std::move(file));
    if (TRY(try_lock(opened))) {
      (void)::unlinkat(directory.get(), name.c_str(), 0);
      continue;
    }
    const std::string text = TRY(sys::read_all(opened, lease_bytes_max, name));
    std::string_view rest = text;
    while (!rest.empty()) {
      if (auto digest = Digest::parse(take_until(rest, '\n')))
        digests.push_back(*std::move(digest));
    }
  }
  return digests;
}

}  // namespace nacelle::image
