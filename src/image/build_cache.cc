#include "image/build_cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "codec/flat.h"
#include "image/disk.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr const char* directory_name = "build-cache";
constexpr std::string_view version = "nacelle build step 1\n";

// An empty one where there is none.
Result<Fd> open_directory(const Store& store) {
  auto opened =
      sys::open_at(store.root().get(), directory_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!opened && opened.error().error_number() == ENOENT) return Fd();
  return opened;
}

// A line with the version, one with the digest of what follows, the step.
std::string encode(CachedStep& step) {
  const std::string bytes = codec::flat::encode(step);
  return cat(version, codec::digest_of(bytes).text(), '\n', bytes);
}

std::optional<CachedStep> decode(std::string_view text) {
  if (!text.starts_with(version)) return std::nullopt;
  text.remove_prefix(version.size());
  const std::string_view digest = take_until(text, '\n');
  if (codec::digest_of(text).text() != digest) return std::nullopt;
  auto step = codec::flat::decode<CachedStep>(text, "a build step");
  if (!step) return std::nullopt;
  return *std::move(step);
}

std::optional<CachedStep> read_step(const Fd& directory, const std::string& name) {
  const auto text = sys::read_file_at(directory.get(), name.c_str(), record_bytes_max);
  return text ? decode(*text) : std::nullopt;
}

}  // namespace

std::optional<CachedStep> BuildCache::find(const Digest& key) const {
  const auto directory = open_directory(store_);
  if (!directory || !*directory) return std::nullopt;
  const std::string name(key.hex());
  std::optional<CachedStep> step = read_step(*directory, name);
  if (!step || step->key != key) return std::nullopt;
  for (const oci::Descriptor& layer : step->record.manifest.layers) {
    if (!store_.has_blob(layer)) return std::nullopt;
  }
  // When it was last of use.
  (void)::utimensat(directory->get(), name.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
  return step;
}

ring::Task<> BuildCache::put(ring::Loop& loop, CachedStep step) const {
  const std::string name(step.key.hex());
  const StoreLock held = co_await store_.lock(loop, Store::LockKind::Shared);
  co_await ensure_directory(store_.root(), directory_name);
  const Fd directory = co_await open_directory(store_);
  co_await sys::replace_file_at(directory.get(), name.c_str(), encode(step), 0600);
}

Result<std::vector<BuildCache::Listed>> BuildCache::list() const {
  std::vector<Listed> all;
  const Fd directory = TRY(open_directory(store_));
  if (!directory) return all;
  for (const std::string& name : TRY(list_directory(directory))) {
    struct stat status;
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
    std::optional<CachedStep> step = read_step(directory, name);
    if (step) all.push_back({*std::move(step), status.st_mtim.tv_sec});
  }
  std::ranges::sort(all, {}, [](const Listed& each) { return each.step.created_s; });
  return all;
}

Result<> BuildCache::remove(const Digest& key) const {
  const Fd directory = TRY(open_directory(store_));
  if (!directory) return {};
  auto removed = sys::unlink_at(directory.get(), std::string(key.hex()).c_str());
  if (!removed && removed.error().error_number() == ENOENT) return {};
  return removed;
}

}  // namespace nacelle::image
