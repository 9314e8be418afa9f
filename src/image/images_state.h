// What the files that make up Images share. Private to them.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "image/gc.h"
#include "image/images.h"
#include "image/layers.h"
#include "image/lease.h"
#include "image/stack_builder.h"
#include "image/store.h"
#include "image/worker.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::image {

struct Images::State {
  State(ring::Loop& loop_in, ImagesOptions options_in, Store store_in)
      : loop(loop_in), options(std::move(options_in)), store(std::move(store_in)), layers(store) {}

  ring::Loop& loop;
  ImagesOptions options;
  Store store;
  Layers layers;

  // The record of a manifest, made in the worker when there is none.
  ring::Task<ImageRecord> describe(oci::Descriptor manifest);
  // The same of documents that are not in the store yet; their digests have been checked.
  ring::Task<ImageRecord> read_documents(oci::Descriptor manifest,
                                         const std::string& manifest_bytes,
                                         const std::string& config_bytes);
  ring::Task<ImageRecord> parse_manifest(Worker& worker, oci::Descriptor manifest,
                                         const Fd& document);
  ring::Task<> parse_config(Worker& worker, ImageRecord& record, const Fd& document);
  ring::Task<Described> look_into(oci::Descriptor manifest);  // an index is no error here
  ring::Task<Details> find(std::string name);
  // Unpacks what of the image's layers is not unpacked, from blobs the store has.
  ring::Task<> unpack(const ImageRecord& record, Observer& observer);
  // What a mount stacks, lowest first, in the form that was asked for.
  ring::Task<std::vector<Fd>> open_layers(const ImageRecord& record);
  // Takes away what nothing refers to any more.
  ring::Task<Removed> collect_garbage();
  // The manifest, its record and its name, once its blobs and layers are there.
  ring::Task<Image> publish(ImageRecord record, std::string manifest_bytes,
                            std::string config_bytes, std::string name, std::string repo_digest);
  // A new image of `layers` and `config`: writes both documents.
  ring::Task<Image> make_image(std::vector<oci::Descriptor> layers, oci::ImageConfig config,
                               std::string name);
};

// Everything an image is made of, for a lease.
std::vector<Digest> all_digests(const ImageRecord& record);

}  // namespace nacelle::image
