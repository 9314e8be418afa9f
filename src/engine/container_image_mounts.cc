// Images that a container has mounted somewhere (--mount type=image): an overlay of their layers,
// made by the container for itself as other mounts are, so that nothing is mounted on the host. The
// layers are written down with the mount: its image may lose its name, and keeps its layers.
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "image/layers.h"
#include "oci/image.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

// A path as one of those that `lowerdir` lists.
void append_escaped(std::string& list, std::string_view path) {
  for (const char c : path) {
    if (c == ':' || c == '\\') list += '\\';
    list += c;
  }
}

}  // namespace

ring::Task<std::string> Containers::State::find_mounted_images(std::vector<MountPlan>* plans) {
  std::string manifests;
  for (MountPlan& plan : *plans) {
    if (plan.point.type != "image") continue;
    const auto found = co_await ring::as_result(find_image(plan.point.source));
    if (!found) {
      // No NotFound: clients would take it for the container's own image, and fetch that.
      const Kind kind = found.error().kind();
      co_await fail(kind == Kind::NotFound ? Kind::Invalid : kind,
                    cat("mount of '", plan.point.destination, "': ", found.error().message()));
    }
    const std::shared_ptr<KnownImage>& image = *found;
    co_await prepare_root(image);  // every layer is unpacked now
    plan.layers.clear();
    for (std::string_view rest = image->chains; !rest.empty();) {
      plan.layers.emplace_back(take_until(rest, '\n'));
    }
    manifests += cat('\n', image->details.image.manifest.digest.text());
  }
  co_return manifests;
}

Result<VolumeMount> Containers::State::mount_of_image(const MountPlan& plan) const {
  const image::Layers layers(engine.images->store());
  std::vector<std::string> paths;  // topmost first, as the kernel lists them
  for (auto chain = plan.layers.rbegin(); chain != plan.layers.rend(); ++chain) {
    const Fd tree = TRY(layers.open(TRY(codec::Digest::parse(*chain))));
    paths.push_back(
        TRY(sys::read_link_at(sys::working_directory, cat("/proc/self/fd/", tree.get()).c_str())));
  }
  if (paths.empty()) {
    return fail(Kind::Invalid, cat("mount of '", plan.point.destination, "': image ",
                                   plan.point.source, " has no layers"));
  }
  // overlayfs wants two, and a bind is cheaper to read through.
  if (paths.size() == 1) return VolumeMount{"bind", std::move(paths[0]), {"bind"}};
  std::string list = "lowerdir=";
  for (const std::string& path : paths) {
    if (!list.ends_with('=')) list += ':';
    append_escaped(list, path);
  }
  return VolumeMount{"overlay", "nacelle", {std::move(list)}};
}

}  // namespace nacelle::engine
