// The room's front door: everything done to images as a whole. `nacelle image` and the engine's API
// are two callers of the same code. All of it runs on one loop; foreign bytes are handled by
// workers (worker.h), metadata by the store (store.h).
//
// Every operation that adds something holds a lease for as long as it runs, so that a garbage
// collection beside it takes nothing away; one that fails or is cancelled, or whose process is
// killed, leaves at most what the next collection removes and the next attempt goes on from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "image/observer.h"
#include "image/registry_config.h"
#include "image/registry_credentials.h"
#include "image/store.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "oci/image.h"
#include "oci/reference.h"

namespace nacelle::image {

// What a mount stacks: the directories layers are unpacked into, or one EROFS image of each, made
// from the directory when it is first wanted (Linux 6.12).
enum class LayerForm : uint8_t { Directories, Erofs };

struct ImagesOptions {
  std::string data_root = "/var/lib/nacelle";
  LayerForm layer_form = LayerForm::Directories;
  RegistryOptions registries;
  size_t transfers_max = 3;  // layers of one image under way at a time, as Docker's default
};

// An image and what it says of itself.
struct Details {
  Image image;
  ImageRecord record;  // of an image nobody can read: its descriptor and nothing else
  // Docker's image id; the manifest's digest where the configuration cannot be read.
  const codec::Digest& id() const {
    return record.id().empty() ? image.manifest.digest : record.id();
  }
};

struct PullOutcome {
  Image image;
  codec::Digest digest;  // of what the name stands for at the registry: an index, or a manifest
  bool was_there = false;
};

struct ImportOptions {
  std::optional<oci::Reference> name;
  std::string message;
  std::vector<std::string> changes;  // Dockerfile instructions: CMD, ENTRYPOINT, ENV, LABEL, ...
  oci::Platform platform = oci::host_platform();
};

struct CommitOptions {
  std::optional<oci::Reference> name;
  codec::Digest base;  // the manifest of the image whose layers lie below
  std::string author, message;
  std::vector<std::string> changes;
  std::optional<oci::RunConfig> run;  // what `changes` change; none: what `base` has
  std::string created_by;
};

// What a registry has under a name, as it is now.
struct RemoteImage {
  oci::Descriptor descriptor;  // of the index, or of the manifest
  std::vector<oci::Platform> platforms;
};

struct Removed {
  std::vector<std::string> untagged;   // names, as Docker shows them
  std::vector<codec::Digest> deleted;  // image ids
  uint64_t bytes = 0;                  // freed on disk
  std::string kept_all_because;        // nothing could be freed, and why
};

class Lease;

class Images {
 public:
  struct State;  // images_state.h, for the files of this room

  static Result<std::unique_ptr<Images>> open(ring::Loop& loop, ImagesOptions options);
  ~Images();

  Store& store();

  // Registries. Credentials that are given, be they empty, are the only ones: no file is read.
  using Login = std::optional<Credentials>;
  ring::Task<PullOutcome> pull(oci::Reference name, oci::Platform platform, Observer& observer,
                               Login login = {});
  // The digest of the manifest as the registry has it now, and its size.
  ring::Task<oci::Descriptor> push(oci::Reference name, Observer& observer, Login login = {});
  ring::Task<RemoteImage> look_up(oci::Reference name, Login login = {});
  // Denied where the registry does not take these credentials.
  ring::Task<> check_login(std::string registry, Credentials credentials);

  // Archives. Descriptors are borrowed.
  ring::Task<> save(std::vector<std::string> names, const Fd& output);
  ring::Task<std::vector<Image>> load(const Fd& input, Observer& observer);
  ring::Task<Image> import(const Fd& input, ImportOptions options);
  // The merged root file system of an image.
  ring::Task<> export_tree(std::string name, const Fd& output);
  // The same two of what need not be an image. The caller's lease protects it. `times_at_most`:
  // files that are younger than that, in seconds since 1970, are made as old.
  enum class ArchiveForm : uint8_t {
    Docker,  // an OCI layout and what `docker load` has always read
    Oci,     // the layout alone
  };
  ring::Task<> save(ImageRecord record, std::vector<oci::Reference> names, ArchiveForm form,
                    const Fd& output);
  ring::Task<> export_tree(ImageRecord record, std::optional<int64_t> times_at_most,
                           const Fd& output);
  // A new image: `base` and on top what an overlay's upper directory holds.
  ring::Task<Image> commit(const Fd& upper, CommitOptions options);

  // Builds, which have layers and configurations before these are images. What they need protected
  // from gc is the caller's lease.
  // A layer of what an overlay's upper directory holds; none where it holds nothing.
  // `times_at_most`: as of export_tree().
  struct NewLayer {
    oci::Descriptor blob;
    codec::Digest diff_id;
  };
  ring::Task<std::optional<NewLayer>> pack_layer(const Fd& upper, Lease& lease,
                                                 std::optional<int64_t> times_at_most = {});
  // An image as it would be, with digests of documents that are nowhere yet.
  static ImageRecord draft(std::vector<oci::Descriptor> layers, oci::ImageConfig config);
  // Unpacks what is missing of its layers.
  ring::Task<> unpack(ImageRecord record);
  // Makes it one, with a name or none.
  ring::Task<Image> publish(ImageRecord record, std::optional<oci::Reference> name);

  // What is there. Names are references or the beginnings of ids.
  ring::Task<std::vector<Details>> list();
  ring::Task<Details> inspect(std::string name);
  ring::Task<Details> inspect(codec::Digest manifest);
  // Bytes on disk of the image's unpacked layers.
  uint64_t size(const Details& details) const;
  // The same of each layer, lowest first; 0 of one that is not unpacked.
  std::vector<uint64_t> layer_sizes(const Details& details) const;

  ring::Task<> tag(std::string name, oci::Reference as);
  // `force` also removes an image that has several names, when it is named by its id.
  ring::Task<Removed> remove(std::string name, bool force);
  // Images without a name, or (`all`) every image no container uses; then whatever nothing refers
  // to.
  ring::Task<Removed> prune(bool all);
  // The last part of that alone.
  ring::Task<Removed> collect_garbage();
  // What processes that were killed had half done (image/gc.h).
  ring::Task<> collect_half_done();

  // A detached overlay mount of the image's layers; writable when `upper` and `work` are given,
  // which are empty directories beside each other. Unpacks again what is missing.
  struct MountOptions {
    const Fd* upper = nullptr;
    const Fd* work = nullptr;
    bool is_volatile = false;  // no syncfs at the end: for what nobody needs after a crash
  };
  ring::Task<Fd> mount(codec::Digest manifest, MountOptions options);
  // The same of what need not be an image.
  ring::Task<Fd> mount(ImageRecord record, MountOptions options);

 private:
  explicit Images(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::image
