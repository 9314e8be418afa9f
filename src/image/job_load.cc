#include "image/job_load.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/fault.h"
#include "base/text.h"
#include "codec/json.h"
#include "image/job_load_archive.h"
#include "oci/image.h"
#include "oci/reference.h"

// Three forms in one: an OCI layout (index.json), what `docker save` and podman write
// (manifest.json), and both at once, where index.json has the word about the images and
// manifest.json may only add names.

namespace nacelle::image {
namespace {

using codec::json::in_quotes;

constexpr std::string_view docker_manifest_name = "manifest.json";
constexpr std::string_view index_name = "index.json";
constexpr std::string_view layout_name = "oci-layout";
constexpr const char* full_name_annotation = "io.containerd.image.name";
constexpr const char* ref_name_annotation = "org.opencontainers.image.ref.name";
constexpr const char* reference_type_annotation = "vnd.docker.reference.type";

// One element of manifest.json.
struct DockerImage {
  std::string config;
  std::optional<std::vector<std::string>> names;
  std::vector<std::string> layers;
};

[[maybe_unused]] Result<> read_json(const codec::json::Value& value, DockerImage& image) {
  const auto object = TRY(value.object());
  TRY(object.need("Config", image.config));
  TRY(object.maybe("RepoTags", image.names));
  TRY(object.maybe("Layers", image.layers));
  return {};
}

// An image that was found, with all its parts there.
struct Found {
  Found(std::string media_type, codec::Digest digest, uint64_t size, const oci::Manifest& parts)
      : config(parts.config.digest) {
    // What index.json says about it beyond that has been used.
    manifest.media_type = std::move(media_type);
    manifest.digest = std::move(digest);
    manifest.size = size;
    for (const oci::Descriptor& layer : parts.layers) layers.push_back(layer.digest);
  }
  oci::Descriptor manifest;
  codec::Digest config;
  std::vector<codec::Digest> layers;
  std::vector<std::string> names;
};

// Something index.json points at.
struct Candidate {
  oci::Descriptor manifest;
  std::vector<std::string> names;
};

bool is_attachment(const oci::Descriptor& descriptor) {
  return !descriptor.artifact_type.empty() ||
         descriptor.annotations.contains(reference_type_annotation) ||
         (descriptor.platform && descriptor.platform->os == "unknown");
}

Result<std::string> tagged_name(std::string_view text) {
  const oci::Reference reference = TRY(oci::parse_reference(text));
  if (reference.digest.empty()) return reference.text();
  return fail(Kind::Invalid, cat(in_quotes(text), ": a name with a digest is none to give"));
}

// containerd's annotation is a whole name. The OCI's own is any text: a tag (skopeo without a
// name), or a whole name (podman, buildah), which only one with a separator in it can be.
Result<std::vector<std::string>> names_of(const oci::Descriptor& descriptor) {
  const auto& annotations = descriptor.annotations;
  if (const auto full = annotations.find(full_name_annotation); full != annotations.end()) {
    const auto reference = oci::parse_reference(full->second);
    // An image that was pulled by digest is named so, and has no tag.
    if (reference && !reference->digest.empty()) return std::vector<std::string>();
    return std::vector{TRY(tagged_name(full->second).context(full_name_annotation))};
  }
  if (const auto own = annotations.find(ref_name_annotation); own != annotations.end()) {
    if (own->second.find_first_of("/:") != std::string::npos) {
      if (auto name = tagged_name(own->second)) return std::vector{*std::move(name)};
    }
  }
  return std::vector<std::string>();
}

class Loader {
 public:
  Loader(const LoadLimits& limits, LoadedArchive& archive) : limits_(limits), archive_(archive) {}

  Result<LoadRequest::Reply> run() {
    const LoadedArchive::Blob* index = TRY(archive_.find(index_name));
    const LoadedArchive::Blob* docker = TRY(archive_.find(docker_manifest_name));
    if (index == nullptr && docker == nullptr) {
      return fail(Kind::Invalid, "no image in it: neither index.json nor manifest.json");
    }
    if (index != nullptr) {
      TRY(check_layout());
      TRY(take_index(*index).context(index_name));
    }
    if (docker != nullptr) TRY(take_docker_manifest(*docker).context(docker_manifest_name));
    if (found_.empty() && passed_over_) return std::unexpected(*std::move(passed_over_));
    if (found_.empty()) return fail(Kind::Invalid, "no image in it");
    return give();
  }

 private:
  // index.json ------------------------------------------------------------------------------------

  Result<> check_layout() {
    const LoadedArchive::Blob* layout = TRY(archive_.find(layout_name));
    if (layout == nullptr) return {};  // some tools forget it, and it says nothing else
    const std::string text =
        TRY(archive_.read_document(*layout, limits_.document_bytes_max).context(layout_name));
    const auto json = TRY(codec::json::Document::parse(text).context(layout_name));
    std::string version;
    TRY(TRY(json.root().object().context(layout_name))
            .need("imageLayoutVersion", version)
            .context(layout_name));
    if (version.starts_with("1.")) return {};
    return fail(Kind::Unsupported, cat("oci-layout: version ", in_quotes(version)));
  }

  Result<> take_index(const LoadedArchive::Blob& blob) {
    const std::string text = TRY(archive_.read_document(blob, limits_.document_bytes_max));
    const oci::Index index = TRY(oci::parse_index(text, ""));
    std::vector<Candidate> candidates;
    for (const oci::Descriptor& descriptor : index.manifests) {
      if (is_attachment(descriptor)) continue;
      Candidate candidate{descriptor, TRY(names_of(descriptor))};
      if (oci::is_index_type(descriptor.media_type)) {
        candidate.manifest = TRY(choose(descriptor, 2));
      } else if (!oci::is_manifest_type(descriptor.media_type)) {
        continue;
      }
      candidates.push_back(std::move(candidate));
    }
    for (Candidate& each : one_per_platform_list(std::move(candidates))) {
      TRY(add(std::move(each.manifest), each.names));
    }
    return {};
  }

  // Some tools write the manifests of several platforms straight into index.json. Those of one name
  // (or of none) that all say their platform are one image.
  std::vector<Candidate> one_per_platform_list(std::vector<Candidate> candidates) const {
    std::map<std::vector<std::string>, std::vector<Candidate>> groups;
    std::vector<Candidate> chosen;
    for (Candidate& each : candidates) {
      if (each.manifest.platform) {
        groups[each.names].push_back(std::move(each));
      } else {
        chosen.push_back(std::move(each));
      }
    }
    for (auto& [names, members] : groups) {
      oci::Index index;
      for (const Candidate& member : members) index.manifests.push_back(member.manifest);
      const auto best = choose_present(index);
      if (members.size() > 1 && best) {
        chosen.push_back({*best, names});
      } else {
        std::ranges::move(members, std::back_inserter(chosen));
      }
    }
    return chosen;
  }

  // The manifest for this host, of those whose bytes are in the archive: `docker save --platform`
  // leaves the others out. The only one there is is taken whatever it is for.
  Result<oci::Descriptor> choose_present(const oci::Index& index) const {
    oci::Index present;
    for (const oci::Descriptor& each : index.manifests) {
      if (!is_attachment(each) && archive_.find(each.digest) != nullptr) {
        present.manifests.push_back(each);
      }
    }
    if (present.manifests.size() == 1) return present.manifests.front();
    if (present.manifests.empty()) {
      return fail(Kind::NotFound, "none of the manifests it lists is in the archive");
    }
    return oci::choose_platform(present, oci::host_platform());
  }

  Result<oci::Descriptor> choose(const oci::Descriptor& descriptor, unsigned depth) {
    const std::string& what = descriptor.digest.text();
    const auto context = [&] { return what; };
    if (depth > limits_.index_depth_max) {
      return fail(Kind::Exhausted,
                  cat(what, ": more than ", limits_.index_depth_max, " indexes in each other"));
    }
    const std::string text = TRY(read_described(descriptor, oci::manifest_bytes_max));
    const oci::Index index = TRY(oci::parse_index(text, descriptor.media_type).context(context));
    oci::Descriptor chosen = TRY(choose_present(index).context(context));
    if (oci::is_index_type(chosen.media_type)) return choose(chosen, depth + 1);
    return chosen;
  }

  // Images ----------------------------------------------------------------------------------------

  Result<const LoadedArchive::Blob*> need(const oci::Descriptor& descriptor) const {
    const std::string& what = descriptor.digest.text();
    const LoadedArchive::Blob* blob = archive_.find(descriptor.digest);
    if (blob == nullptr) return fail(Kind::NotFound, cat(what, ": not in the archive"));
    if (blob->second == descriptor.size) return blob;
    return fail(Kind::Invalid,
                cat(what, ": ", blob->second, " bytes, where ", descriptor.size, " are announced"));
  }

  Result<std::string> read_described(const oci::Descriptor& descriptor, size_t bytes_max) {
    const auto context = [&] { return descriptor.digest.text(); };
    return archive_.read_document(*TRY(need(descriptor)), bytes_max).context(context);
  }

  Result<oci::ImageConfig> read_config(const oci::Descriptor& descriptor) {
    const std::string text = TRY(read_described(descriptor, oci::config_bytes_max));
    const auto context = [&] { return cat("configuration ", descriptor.digest.text()); };
    return oci::parse_image_config(text).context(context);
  }

  Result<> add(oci::Descriptor manifest, const std::vector<std::string>& names) {
    const auto same = std::ranges::find(found_, manifest.digest,
                                        [](const Found& each) { return each.manifest.digest; });
    if (same != found_.end()) return add_names(*same, names);
    const auto context = [&] { return cat("image ", manifest.digest.text()); };
    const std::string text =
        TRY(read_described(manifest, oci::manifest_bytes_max).context(context));
    auto parsed = oci::parse_manifest(text, manifest.media_type).context(context);
    if (!parsed && parsed.error().kind() == Kind::Unsupported && names.empty()) {
      // A signature or another artifact that lies beside the images.
      if (!passed_over_) passed_over_ = std::move(parsed).error();
      return {};
    }
    const oci::Manifest parts = TRY(std::move(parsed));
    const oci::ImageConfig config = TRY(read_config(parts.config).context(context));
    TRY(oci::check_config_fits(parts, config).context(context));
    for (const oci::Descriptor& layer : parts.layers) TRY(need(layer).context(context));
    return add_found({parts.media_type, manifest.digest, manifest.size, parts}, names);
  }

  Result<> add_found(Found found, const std::vector<std::string>& names) {
    if (found_.size() == limits_.images_max) {
      return fail(Kind::Exhausted, cat("more than ", limits_.images_max, " images"));
    }
    found_.push_back(std::move(found));
    return add_names(found_.back(), names);
  }

  Result<> add_names(Found& found, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      const auto [at, is_new] = owners_.try_emplace(name, found.manifest.digest);
      if (!is_new && at->second != found.manifest.digest) {
        return fail(Kind::Invalid, cat("two images with the name '", name, "'"));
      }
      if (is_new) found.names.push_back(name);
      if (owners_.size() > limits_.names_max) {
        return fail(Kind::Exhausted, cat("more than ", limits_.names_max, " names"));
      }
    }
    return {};
  }

  // manifest.json ---------------------------------------------------------------------------------

  Result<> take_docker_manifest(const LoadedArchive::Blob& blob) {
    const std::string text = TRY(archive_.read_document(blob, limits_.document_bytes_max));
    const auto json = TRY(codec::json::Document::parse(text));
    std::vector<DockerImage> images;
    TRY(json.root().read(images));
    for (size_t at = 0; at < images.size(); ++at) {
      TRY(take_docker_image(images[at]).context(cat("[", at, "]")));
    }
    return {};
  }

  Result<> take_docker_image(const DockerImage& image) {
    std::vector<std::string> names;
    for (const std::string& each : image.names.value_or(std::vector<std::string>())) {
      names.push_back(TRY(tagged_name(each).context("RepoTags")));
    }
    if (image.layers.size() > oci::layers_max) {
      return fail(Kind::Exhausted, cat("Layers: more than ", oci::layers_max));
    }
    oci::Manifest manifest;
    manifest.media_type = oci::media::oci_manifest;
    manifest.config = TRY(describe(image.config, oci::media::oci_config).context("Config"));
    for (const std::string& each : image.layers) {
      manifest.layers.push_back(TRY(describe_layer(each).context("Layers")));
    }
    if (Found* known = TRY(find_same(manifest))) return add_names(*known, names);
    TRY(check_docker_image(manifest));
    const std::string text = oci::write_manifest(manifest);
    const LoadedArchive::Blob* blob = TRY(archive_.add(text));
    return add_found({manifest.media_type, blob->first, blob->second, manifest}, names);
  }

  // The image from index.json, or of an earlier element, that has the same configuration.
  Result<Found*> find_same(const oci::Manifest& manifest) {
    for (Found& each : found_) {
      if (each.config != manifest.config.digest) continue;
      if (std::ranges::equal(each.layers, manifest.layers, {}, {}, &oci::Descriptor::digest)) {
        return &each;
      }
      return fail(Kind::Invalid, cat("other layers for configuration ",
                                     manifest.config.digest.text(), " than were given before"));
    }
    return nullptr;
  }

  Result<oci::Descriptor> describe(const std::string& name, std::string_view media_type) const {
    const LoadedArchive::Blob* blob = TRY(archive_.find(name).context(in_quotes(name)));
    if (blob == nullptr) {
      return fail(Kind::NotFound, cat(in_quotes(name), ": not in the archive"));
    }
    oci::Descriptor descriptor;
    descriptor.media_type = media_type;
    descriptor.digest = blob->first;
    descriptor.size = blob->second;
    return descriptor;
  }

  Result<oci::Descriptor> describe_layer(const std::string& name) const {
    oci::Descriptor layer = TRY(describe(name, oci::media::oci_layer));
    const std::string beginning = TRY(archive_.read_beginning(*archive_.find(layer.digest)));
    const codec::Compression compression = codec::detect_compression(beginning);
    switch (compression) {
      case codec::Compression::None: break;
      case codec::Compression::Gzip: layer.media_type = oci::media::oci_layer_gzip; break;
      case codec::Compression::Zstd: layer.media_type = oci::media::oci_layer_zstd; break;
      case codec::Compression::Bzip2:
      case codec::Compression::Xz:
        // No media type says so, for whoever would be given it.
        return fail(Kind::Unsupported, cat(in_quotes(name), ": a layer compressed with ",
                                           codec::to_string(compression)));
    }
    return layer;
  }

  // Uncompressed layers can be checked now; the others are when they are unpacked.
  Result<> check_docker_image(const oci::Manifest& manifest) {
    const oci::ImageConfig config = TRY(read_config(manifest.config));
    TRY(oci::check_config_fits(manifest, config));
    for (size_t at = 0; at < manifest.layers.size(); ++at) {
      const oci::Descriptor& layer = manifest.layers[at];
      const codec::Digest& wanted = config.diff_ids[at];
      if (layer.media_type != oci::media::oci_layer || layer.digest == wanted ||
          layer.digest.algorithm() != wanted.algorithm()) {
        continue;
      }
      return fail(Kind::Invalid,
                  cat("Layers[", at, "]: digest mismatch: its content is ", layer.digest.text(),
                      ", the configuration says ", wanted.text()));
    }
    return {};
  }

  // The reply -------------------------------------------------------------------------------------

  Result<LoadRequest::Reply> give() {
    LoadRequest::Reply reply;
    std::set<codec::Digest> wanted;
    for (Found& each : found_) {
      wanted.insert(each.manifest.digest);
      wanted.insert(each.config);
      wanted.insert(each.layers.begin(), each.layers.end());
      reply.images.push_back({std::move(each.manifest), std::move(each.names)});
    }
    for (const codec::Digest& digest : wanted) {
      reply.blobs.push_back({digest, archive_.find(digest)->second});
    }
    TRY(archive_.keep_only(wanted));
    return reply;
  }

  const LoadLimits& limits_;
  LoadedArchive& archive_;
  std::vector<Found> found_;
  std::map<std::string, codec::Digest> owners_;  // of names
  std::optional<Error> passed_over_;             // why the first that was no image was none
};

}  // namespace

Result<LoadRequest::Reply> load_within(const LoadLimits& limits, const Fd& root, const Fd& archive,
                                       Asker& asker) {
  fault_point("load.begin");
  LoadedArchive parts(limits, root, asker);
  TRY(parts.read(archive).context("archive"));
  auto reply = Loader(limits, parts).run();
  if (reply) fault_point("load.done");
  return std::move(reply).context("archive");
}

Result<LoadRequest::Reply> load(const LoadRequest&, const Fd& root, const Fd& archive,
                                Asker& asker) {
  return load_within({}, root, archive, asker);
}

}  // namespace nacelle::image
