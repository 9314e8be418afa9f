// Images by name and id.
#include <algorithm>

#include "base/text.h"
#include "image/index_file.h"
#include "image/store.h"
#include "oci/reference.h"

namespace nacelle::image {
namespace {

std::unexpected<Error> no_such_image(std::string_view text) {
  const auto reference = oci::parse_reference(text);
  return fail(Kind::NotFound,
              cat("No such image: ", reference ? reference->familiar() : std::string(text)));
}

const Image* find_by_name(const std::vector<Image>& images, const oci::Reference& reference) {
  if (reference.digest.empty()) {
    const std::string name = reference.text();
    const auto found = std::ranges::find_if(
        images, [&](const Image& image) { return contains(image.names, name); });
    return found == images.end() ? nullptr : &*found;
  }
  const std::string repo_digest = cat(reference.name(), '@', reference.digest);
  const std::string names_begin = cat(reference.name(), ':');
  const auto found = std::ranges::find_if(images, [&](const Image& image) {
    if (contains(image.repo_digests, repo_digest)) return true;
    return image.manifest.digest.text() == reference.digest &&
           std::ranges::any_of(
               image.names, [&](const std::string& name) { return name.starts_with(names_begin); });
  });
  return found == images.end() ? nullptr : &*found;
}

// Images whose id, or whose manifest's digest, begins so. Several manifests of one configuration
// are one image to whoever names it by its id: the first.
Result<const Image*> find_by_id(const Store& store, const std::vector<Image>& images,
                                std::string_view text) {
  const bool has_algorithm = text.contains(':');
  const auto begins_so = [&](const Digest& digest) {
    return (has_algorithm ? std::string_view(digest.text()) : digest.hex()).starts_with(text);
  };
  std::vector<std::string> ids;
  const Image* found = nullptr;
  for (const Image& image : images) {
    const auto record = store.find_record(image.manifest.digest);
    const Digest& id = record ? record->id() : image.manifest.digest;
    if (!begins_so(id) && !begins_so(image.manifest.digest)) continue;
    if (contains(ids, id.text())) continue;
    ids.push_back(id.text());
    if (found == nullptr) found = &image;
  }
  if (ids.size() < 2) return found;
  constexpr size_t shown_max = 8;
  std::string list;
  for (size_t at = 0; at < ids.size() && at < shown_max; ++at)
    list += cat(at > 0 ? ", " : "", ids[at]);
  if (ids.size() > shown_max) list += cat(" and ", ids.size() - shown_max, " more");
  return fail(Kind::Conflict, cat("'", text, "' is the beginning of several image ids: ", list));
}

const Image* find_by_manifest(const std::vector<Image>& images, const Digest& manifest) {
  const auto found = std::ranges::find_if(
      images, [&](const Image& image) { return image.manifest.digest == manifest; });
  return found == images.end() ? nullptr : &*found;
}

// What can be kept as a name, in the one form in which it is kept.
Result<std::string> checked_name(const std::string& name) {
  const auto reference = TRY(oci::parse_reference(name));
  if (!reference.digest.empty()) {
    return fail(Kind::Invalid, cat("'", name, "': an image is given a tag, not a digest"));
  }
  return reference.text();
}

// A name that is yet to be given. It must not be mistaken for a digest.
Result<std::string> checked_new_name(const std::string& name) {
  const std::string familiar = TRY(oci::parse_reference(name)).familiar_name();
  if (familiar == "sha256" || familiar == "sha512") {
    return fail(Kind::Invalid,
                "refusing to create an ambiguous tag using digest algorithm as name");
  }
  return checked_name(name);
}

Result<std::string> checked_repo_digest(const std::string& text) {
  const auto reference = TRY(oci::parse_reference(text));
  if (reference.digest.empty()) {
    return fail(Kind::Invalid, cat("'", text, "' has no digest"));
  }
  return cat(reference.name(), '@', reference.digest);
}

}  // namespace

Result<std::vector<Image>> Store::images() const { return TRY(read_index()).images(); }

Result<Image> Store::find(std::string_view text) const {
  const std::vector<Image> all = TRY(images());
  if (const auto digest = Digest::parse(text)) {
    if (const Image* found = find_by_manifest(all, *digest)) return *found;
    if (const Image* found = TRY(find_by_id(*this, all, text))) return *found;
    return no_such_image(text);
  }
  if (const auto reference = oci::parse_reference(text)) {
    if (const Image* found = find_by_name(all, *reference)) return *found;
  }
  if (oci::may_be_image_id(text)) {
    if (const Image* found = TRY(find_by_id(*this, all, text))) return *found;
  }
  return no_such_image(text);
}

Result<Image> Store::find(const Digest& manifest) const {
  const std::vector<Image> all = TRY(images());
  if (const Image* found = find_by_manifest(all, manifest)) return *found;
  return fail(Kind::NotFound, cat("No such image: ", manifest.text()));
}

ring::Task<> Store::tag(ring::Loop& loop, TagRequest request) {
  if (request.manifest.digest.empty()) {
    co_await fail(Kind::Invalid, "an image needs its manifest's digest");
  }
  if (!request.name.empty()) request.name = co_await checked_new_name(request.name);
  if (!request.repo_digest.empty()) {
    request.repo_digest = co_await checked_repo_digest(request.repo_digest);
  }
  co_await change_index(loop, [request = std::move(request)](IndexFile& index) -> Result<> {
    if (request.must_exist && !index.has(request.manifest.digest)) {
      return fail(Kind::NotFound, cat("No such image: ", request.manifest.digest.text()));
    }
    index.tag(request);
    return {};
  });
}

ring::Task<> Store::untag(ring::Loop& loop, std::string name, LastName last) {
  const std::string checked = co_await checked_name(name);
  co_await change_index(loop, [checked, last](IndexFile& index) -> Result<> {
    if (index.untag(checked, last == LastName::KeepImage)) return {};
    return no_such_image(checked);
  });
}

ring::Task<> Store::forget_digest(ring::Loop& loop, std::string repo_digest) {
  const std::string checked = co_await checked_repo_digest(repo_digest);
  co_await change_index(loop, [checked](IndexFile& index) -> Result<> {
    if (index.forget_digest(checked)) return {};
    return no_such_image(checked);
  });
}

ring::Task<> Store::remove(ring::Loop& loop, Digest manifest) {
  co_await change_index(loop, [manifest](IndexFile& index) -> Result<> {
    if (index.remove(manifest)) return {};
    return fail(Kind::NotFound, cat("No such image: ", manifest.text()));
  });
}

ring::Task<> Store::remove(ring::Loop& loop, Digest manifest, std::vector<std::string> names_seen) {
  std::ranges::sort(names_seen);
  co_await change_index(loop, [manifest, names_seen](IndexFile& index) -> Result<> {
    const std::vector<Image> all = index.images();
    const Image* const image = find_by_manifest(all, manifest);
    if (image == nullptr) {
      return fail(Kind::NotFound, cat("No such image: ", manifest.text()));
    }
    if (image->names != names_seen) {
      return fail(Kind::Conflict,
                  cat("image ", manifest.text(), " was given another name meanwhile"));
    }
    (void)index.remove(manifest);
    return {};
  });
}

}  // namespace nacelle::image
