// Brings the layers of one image into the layer store, several side by side: downloads and unpacks
// at the same time what is not there, and takes each step of the way only once, whoever else is on
// it. What it needs protected from gc is its caller's lease.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/digest.h"
#include "image/layers.h"
#include "image/messages.h"
#include "image/observer.h"
#include "image/record.h"
#include "image/store.h"
#include "image/worker.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::image {

// Where blobs come from that the store does not have.
class BlobSource {
 public:
  // Appends to `file`, which may hold the beginning already, and gives `pipe`, if there is one, the
  // whole blob. The digest is checked.
  virtual ring::Task<> fetch(oci::Descriptor blob, const Fd& file, const Fd* pipe,
                             ProgressHandler on_progress) = 0;

 protected:
  ~BlobSource() = default;
};

// What happens once; any number of tasks may wait for it.
class Event {
 public:
  void set();
  ring::Task<> wait(ring::Loop& loop);

 private:
  Fd file_;  // an eventfd that nobody reads, made for the first who waits: ready for ever once set
  bool set_ = false;
};

class StackBuilder {
 public:
  // Everything outlives the builder.
  StackBuilder(ring::Loop& loop, Store& store, Layers& layers, const ImageRecord& record,
               Observer& observer);

  // One lane per source, each of which takes the next layer when it is done with one. Without a
  // source (nullptr) a lane unpacks what the store has.
  ring::Task<> build(std::vector<BlobSource*> lanes);
  bool complete() const;

  // A lane for every processor: unpacking is bound by those.
  static std::vector<BlobSource*> lanes_without_source();

 private:
  ring::Task<> lane(BlobSource* source);
  ring::Task<> layer(size_t index, BlobSource* source);
  ring::Task<> attempt(size_t index, BlobSource* source);
  ring::Task<> discard_beginning(size_t index);
  ring::Task<> download(size_t index, Ingest ingest, BlobSource& source, std::optional<Fd> pipe);
  ring::Task<> unpack(size_t index, const PartialLayer& partial, Fd input,
                      UnpackRequest::Reply& reply);
  ring::Task<> finish(size_t index, PartialLayer partial, UnpackRequest::Reply reply);
  void show(size_t index, Progress::Step step, uint64_t done = 0);
  std::string label(size_t index) const;

  ring::Loop& loop_;
  Store& store_;
  Layers& layers_;
  const ImageRecord& record_;
  Observer& observer_;
  std::vector<Digest> chains_;
  std::vector<Event> ready_;           // of each layer: it is unpacked
  std::vector<Progress::Step> steps_;  // of each layer
  std::vector<bool> continued_;        // of each layer: its download began where another had ended
  size_t next_ = 0;                    // the first layer no lane has taken
};

// Runs all of them; the first failure cancels the others and is the outcome.
ring::Task<> all_of(ring::Loop& loop, std::vector<ring::Task<>> tasks);

}  // namespace nacelle::image
