#include "image/layers.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "base/fault.h"
#include "base/text.h"
#include "image/disk.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr std::chrono::milliseconds build_pause{20};  // somebody unpacks

std::string partial_name(const Digest& chain) { return cat(".partial-", chain.hex()); }

// A name under which no one looks for a layer. Under it, it is deleted.
Result<std::string> set_aside(const Fd& layers, const std::string& name) {
  std::string trash = cat(".trash-", random_name());
  TRY(rename_between(layers, name.c_str(), layers, trash.c_str()));
  return trash;
}

}  // namespace

bool Layers::has(const Digest& chain) const {
  struct stat status;
  return !chain.empty() && ::fstatat(store_.layers_directory().get(),
                                     std::string(chain.hex()).c_str(), &status, 0) == 0;
}

Result<Fd> Layers::open(const Digest& chain) const {
  auto tree = sys::open_at(store_.layers_directory().get(), cat(chain.hex(), "/tree").c_str(),
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!tree && tree.error().error_number() == ENOENT) {
    return fail(Kind::NotFound, cat("layer ", chain.text(), " is not unpacked"));
  }
  return tree;
}

Result<std::vector<Fd>> Layers::open_all(const std::vector<Digest>& chains) const {
  std::vector<Fd> trees;
  trees.reserve(chains.size());
  for (const Digest& chain : chains) trees.push_back(TRY(open(chain)));
  return trees;
}

std::optional<LayerRecord> Layers::find_record(const Digest& chain) const {
  const auto bytes = sys::read_file_at(store_.layers_directory().get(),
                                       cat(chain.hex(), "/record").c_str(), record_bytes_max);
  if (!bytes) return std::nullopt;
  auto record = decode_layer_record(*bytes);
  if (record && record->chain != chain) return std::nullopt;
  return record;
}

ring::Task<PartialLayer> Layers::begin(ring::Loop& loop, Digest chain) {
  PartialLayer partial;
  partial.chain_ = chain;
  const Fd& layers = store_.layers_directory();
  const std::string name = partial_name(chain);
  for (;;) {
    if (has(chain)) co_return partial;
    const bool is_new = ::mkdirat(layers.get(), name.c_str(), 0700) == 0;
    if (!is_new && errno != EEXIST) co_await fail_errno(errno, cat("mkdir '", name, "'"));
    auto opened = sys::open_at(layers.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!opened && opened.error().error_number() == ENOENT) continue;
    Fd directory = co_await std::move(opened);
    if (!co_await try_lock(directory)) {
      co_await ring::sleep_for(loop, build_pause);
      continue;
    }
    // Between open and lock its owner may have finished it, or gc may have removed it.
    if (!is_still_named(directory, layers, name.c_str())) continue;
    // Or it was finished, and this is a new directory that we have just made.
    if (has(chain)) {
      if (::unlinkat(layers.get(), name.c_str(), AT_REMOVEDIR) < 0 && errno != ENOTEMPTY) {
        co_await fail_errno(errno, cat("rmdir '", name, "'"));
      }
      co_return partial;
    }
    fault_point("layer.reserved");
    if (::mkdirat(directory.get(), "tree", 0755) < 0) {
      if (errno != EEXIST) co_await fail_errno(errno, "mkdir 'tree'");
      // A dead one's. It is not known how far its files are on disk: they are made again.
      const std::string trash = co_await set_aside(layers, name);
      co_await remove_tree(loop, layers, trash);
      continue;
    }
    partial.tree_ = co_await sys::open_at(directory.get(), "tree", O_RDONLY | O_DIRECTORY);
    if (::fchmod(partial.tree_.get(), 0755) < 0) co_await fail_errno(errno, "fchmod");
    partial.directory_ = std::move(directory);
    fault_point("layer.begun");
    co_return partial;
  }
}

ring::Task<> Layers::finish(ring::Loop& loop, PartialLayer partial, LayerRecord record) {
  if (partial.done()) co_return;
  if (record.chain != partial.chain_) {
    co_await fail(Kind::Invalid,
                  cat("layer ", partial.chain_.text(), " is finished as ", record.chain.text()));
  }
  const Fd& layers = store_.layers_directory();
  const std::string bytes = encode_record(record);
  const Fd file = co_await sys::open_at(partial.directory_.get(), "record",
                                        O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  co_await sys::write_all(file, bytes, "record");
  fault_point("layer.recorded");
  co_await ring::fsync(loop, file);
  co_await ring::fsync(loop, partial.directory_);
  fault_point("layer.synced");
  const Result<> renamed = rename_between(layers, partial_name(partial.chain_).c_str(), layers,
                                          std::string(partial.chain_.hex()).c_str());
  if (!renamed) {
    const int reason = renamed.error().error_number();
    if (reason != EEXIST && reason != ENOTEMPTY) co_await renamed;
    // Whoever made it first made the same.
    co_await discard(loop, std::move(partial));
    co_return;
  }
  fault_point("layer.renamed");
  co_await ring::fsync(loop, layers);
  fault_point("layer.published");
}

ring::Task<> Layers::discard(ring::Loop& loop, PartialLayer partial) {
  if (partial.done()) co_return;
  const Fd& layers = store_.layers_directory();
  const std::string trash = co_await set_aside(layers, partial_name(partial.chain_));
  co_await remove_tree(loop, layers, trash);
}

ring::Task<> Layers::remove(ring::Loop& loop, Digest chain) {
  const Fd& layers = store_.layers_directory();
  const std::string trash = co_await set_aside(layers, std::string(chain.hex()));
  fault_point("layer.set_aside");
  co_await remove_tree(loop, layers, trash);
}

}  // namespace nacelle::image
