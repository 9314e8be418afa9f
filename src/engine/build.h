// Images made from a Dockerfile and the files around it, as dockerd's own builder makes them. Every
// step has a digest of all that goes into it; what came out of it is kept (image/build_cache.h) and
// taken again where the digest is the same. RUN is a container like any other, COPY and ADD are
// done by a worker; stages that do not need each other are built side by side, and one that nothing
// asks for is not built. Refuses, by name, secrets and agents (ssh) that are required and nobody
// gives.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/digest.h"
#include "engine/engine.h"
#include "engine/model.h"
#include "image/images.h"
#include "image/lease.h"
#include "image/observer.h"
#include "image/record.h"
#include "nacelle/fd.h"
#include "nacelle/task.h"
#include "oci/image.h"
#include "oci/reference.h"

namespace nacelle::engine {

// Who answers for the keys of whoever asks for a build (ssh-agent). Unset: nobody does.
struct BuildAgents {
  // Whether there is one of this id; the error says why not.
  std::function<ring::Task<>(std::string id)> check;
  // Carries one connection to it, until it has ended.
  std::function<ring::Task<>(std::string id, Fd connection)> serve;
};

// Where files of a build come from that are not given to build_image(): exactly one is set, or
// none.
struct BuildSource {
  std::string image;                     // of this name
  std::string directory;                 // of the client's, as it calls it
  std::string url;                       // of a repository, an archive or one file
  std::function<ring::Task<>(Fd)> send;  // writes an archive of them into a pipe

  bool is_set() const { return !image.empty() || !directory.empty() || !url.empty() || send; }
};

struct BuildRequest {
  std::string dockerfile = "Dockerfile";  // in the context
  std::vector<oci::Reference> names;
  bool no_cache = false, pull = false;
  bool keep_containers = false;
  std::map<std::string, std::string, std::less<>> arguments;
  Labels labels;
  std::string target;
  HostConfig host;  // of the containers: limits, network, hosts
  oci::Platform platform = oci::host_platform();
  bool platform_counts = false;  // of images that are here; else they will do, whatever they are of
  // Images whose layers are taken for those of steps that made them. Those that are not there are
  // passed over.
  std::vector<std::string> cache_from;
  bool pulls_cache_from = false;
  // Who we are to the registry a base image comes from.
  std::function<ring::Task<image::Images::Login>(oci::Reference)> login;
  // The Dockerfile itself, where it is no file of the context. Who sends it has left out of the
  // context what is ignored.
  std::optional<std::string> dockerfile_text;
  // Asked for only when a step needs it, or the Dockerfile is in there. One file alone is the
  // Dockerfile.
  BuildSource context;
  // What is meant by names in FROM, --from and RUN --mount=from, instead of stages and images.
  std::map<std::string, BuildSource, std::less<>> contexts;
  // A secret by its id; nothing: there is none. Unset: nobody gives any.
  std::function<ring::Task<std::optional<std::string>>(std::string)> secret;
  BuildAgents agents;
  bool squashed = false;     // what is added to the last stage's base is one layer
  bool is_published = true;  // else nothing stays of it but what the cache knows
};

// One step, for those who show each by itself.
struct BuildStep {
  size_t number = 0;  // of all, from 1
  std::string stage;  // its name; empty where it has none
  size_t stage_number = 0;
  size_t stages = 1;  // that are built
  // Among those of its stage that can write files, FROM counted. 0: it only changes the
  // configuration.
  size_t place = 0, places = 0;
  std::string text;
};

// Who is told what happens in one stage. Its steps come one after the other.
class StageListener {
 public:
  virtual ~StageListener() = default;
  virtual void text(std::string_view text) = 0;  // lines as dockerd's builder prints them
  virtual void output(std::string_view bytes) { text(bytes); }  // of a RUN
  virtual void step_begins(const BuildStep&) {}
  virtual void step_is_cached() {}
  virtual void step_ends() {}
  virtual void built(const codec::Digest& id) = 0;
  // A RUN, of which the error speaks that follows.
  virtual void command_failed(std::string_view command, int exit_code) = 0;
  // The last that is said: all is done, or this is why the whole build fails. Neither is said of a
  // stage that is given up since another has failed.
  virtual void ended() {}
  virtual void failed(const Error&) {}
  virtual image::Observer& pulls() = 0;
  // Until not too much is waiting to be read.
  virtual ring::Task<> room() = 0;
};

// Who is told what happens in a build.
class BuildListener {
 public:
  virtual void text(std::string_view text) = 0;  // about the whole
  // For each stage that is built, in the order in which they could be built one after the other,
  // before any of them begins. They go side by side.
  virtual std::unique_ptr<StageListener> add_stage() = 0;

 protected:
  ~BuildListener() = default;
};

// What came of it: an image, or (is_published) what would be one. The lease keeps all it is made
// of.
struct BuiltImage {
  image::ImageRecord record;
  image::Lease lease;
  // The build argument SOURCE_DATE_EPOCH: when the image says it was made, and the latest time that
  // a file in its new layers has.
  std::optional<int64_t> source_date_epoch;

  const codec::Digest& id() const { return record.id(); }
};

// `context` is an archive, read to its end; null where the request says where it is. Cancelling it
// ends the build, and leaves no container, mount or directory; what its finished steps made stays
// in the cache.
ring::Task<BuiltImage> build_image(Engine& engine, BuildRequest request, const Fd* context,
                                   BuildListener& listener);

// Takes away steps that were not used for so long, then what nothing needs any more.
inline constexpr size_t cache_id_digits = 25;  // of a step's key, as it is shown
struct PrunedCache {
  std::vector<std::string> ids;
  uint64_t bytes = 0;
};
ring::Task<PrunedCache> prune_build_cache(Engine& engine, std::optional<int64_t> unused_for_s);

// What builds that ended with an engine have left: containers, secrets, directories.
ring::Task<> remove_left_steps(Engine* engine);

}  // namespace nacelle::engine
