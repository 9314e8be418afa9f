// Unpacked layers, each once, shared read-only by all that mount it:
//   layers/<chain hex>/tree     its files, as overlayfs wants them (whiteouts as 0:0 devices)
//   layers/<chain hex>/record   what it was made from (record.h)
//   layers/.partial-<chain hex> being built by the process that holds its flock
//   layers/.trash-<random>      being deleted
// The order that a power cut cannot break: files, syncfs (the worker's), record, fsync, rename,
// fsync of layers/. So a directory under its final name is whole.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/digest.h"
#include "image/record.h"
#include "image/store.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::image {

// A layer being built. Dropped unfinished, it is left for the next one to clear away.
class PartialLayer {
 public:
  // Another process or task finished it meanwhile: nothing to do.
  bool done() const { return !directory_; }
  // An empty directory, 0755: the unpacking worker's root.
  const Fd& tree() const { return tree_; }

 private:
  friend class Layers;
  Digest chain_;
  Fd directory_;  // flock'ed
  Fd tree_;
};

class Layers {
 public:
  explicit Layers(const Store& store) : store_(store) {}

  bool has(const Digest& chain) const;
  // The layer's tree: NotFound when it is not unpacked.
  Result<Fd> open(const Digest& chain) const;
  // All trees of a stack of chains, lowest first.
  Result<std::vector<Fd>> open_all(const std::vector<Digest>& chains) const;
  std::optional<LayerRecord> find_record(const Digest& chain) const;

  // Waits while someone else builds the same layer, and then finds it done() or begins anew.
  ring::Task<PartialLayer> begin(ring::Loop& loop, Digest chain);
  // The tree is unpacked and synced. `record.chain` is the one that was begun.
  ring::Task<> finish(ring::Loop& loop, PartialLayer partial, LayerRecord record);
  // Deletes what was unpacked. (Letting go does too, when the next one begins or gc comes by.)
  ring::Task<> discard(ring::Loop& loop, PartialLayer partial);

  // Sets a layer aside and deletes it: it is damaged. What is mounted of it stays usable only as
  // far as it was read.
  ring::Task<> remove(ring::Loop& loop, Digest chain);

 private:
  const Store& store_;
};

// Gives directories that no entry described what they have in the layers below: owner, mode, times,
// xattrs. `directories` are paths inside `tree`, parents first, "" or "." being the tree itself;
// `lower` are the trees below, lowest first, seen as overlayfs would: what a whiteout, an opaque
// directory or a file hides is not there. No link is followed. In the end all is on disk.
ring::Task<> apply_implied(ring::Loop& loop, const Fd& tree, std::vector<std::string> directories,
                           std::span<const Fd* const> lower);

}  // namespace nacelle::image
