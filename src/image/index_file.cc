#include "image/index_file.h"

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "image/store.h"
#include "oci/reference.h"

namespace nacelle::image {
namespace {

using codec::json::in_quotes;
using codec::json::Object;

// skopeo and umoci find an image by the first, containerd's tools by the second.
constexpr const char* ref_name = "org.opencontainers.image.ref.name";
constexpr const char* image_name = "io.containerd.image.name";
constexpr const char* repo_digests_name = "io.nacelle.image.repo-digests";  // separated by spaces

// Only a name with a tag names an image here; a bare digest does not.
std::string normalised(const std::string& text) {
  const auto reference = oci::parse_reference(text);
  if (!reference || !reference->digest.empty() || reference->tag.empty()) return {};
  return reference->text();
}

// Docker and containerd write the tag alone as the one and the whole name as the other. umoci
// copies annotations to a new tag and changes ref.name only, so the other counts where they agree.
std::string name_of(const std::map<std::string, std::string>& annotations) {
  const auto written = annotations.find(ref_name), whole = annotations.find(image_name);
  if (whole != annotations.end()) {
    std::string name = normalised(whole->second);
    const bool agrees = written == annotations.end() || name.ends_with(cat(':', written->second));
    if (!name.empty() && agrees) return name;
  }
  return written == annotations.end() ? std::string() : normalised(written->second);
}

Result<IndexEntry> read_entry(const Object& json) {
  IndexEntry entry;
  std::string digest;
  TRY(json.maybe("mediaType", entry.media_type));
  TRY(json.need("digest", digest));
  TRY(json.need("size", entry.size));
  TRY(json.maybe("annotations", entry.annotations));
  auto parsed = codec::Digest::parse(digest);
  if (!parsed) return json.invalid("digest", parsed.error().message());
  entry.digest = *std::move(parsed);
  for (const auto [key, value] : json) {
    const std::string name = TRY(key.string());
    if (name == "mediaType" || name == "digest" || name == "size" || name == "annotations")
      continue;
    entry.others.emplace_back(name, value.raw());
  }
  entry.name = name_of(entry.annotations);
  return entry;
}

// One that other tools look for first beats one that they copied along, and a later one an earlier.
void settle_names(std::vector<IndexEntry>& entries) {
  std::map<std::string, IndexEntry*> owners;
  for (IndexEntry& entry : entries) {
    if (entry.name.empty()) continue;
    const auto [place, is_new] = owners.emplace(entry.name, &entry);
    if (is_new) continue;
    const IndexEntry& before = *place->second;
    if (before.annotations.contains(ref_name) <= entry.annotations.contains(ref_name)) {
      place->second = &entry;
    }
  }
  for (IndexEntry& entry : entries) {
    if (entry.name.empty()) continue;
    if (owners[entry.name]->digest != entry.digest) entry.set_name({});
  }
}

void write_platform(codec::json::Writer& json, const oci::Platform& platform) {
  json.begin_object();
  json.member("architecture", platform.architecture).member("os", platform.os);
  if (!platform.os_version.empty()) json.member("os.version", platform.os_version);
  if (!platform.variant.empty()) json.member("variant", platform.variant);
  json.end_object();
}

IndexEntry make_entry(const oci::Descriptor& manifest) {
  IndexEntry entry;
  entry.media_type = manifest.media_type;
  entry.digest = manifest.digest;
  entry.size = manifest.size;
  if (manifest.platform) {
    codec::json::Writer json;
    write_platform(json, *manifest.platform);
    entry.others.emplace_back("platform", std::move(json).take());
  }
  return entry;
}

void add_once(std::vector<std::string>& list, std::string text) {
  const auto place = std::ranges::lower_bound(list, text);
  if (place == list.end() || *place != text) list.insert(place, std::move(text));
}

std::string joined(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& each : list) text += cat(text.empty() ? "" : " ", each);
  return text;
}

}  // namespace

std::vector<std::string> IndexEntry::repo_digests() const {
  std::vector<std::string> digests;
  const auto found = annotations.find(repo_digests_name);
  if (found == annotations.end()) return digests;
  std::string_view rest = found->second;
  while (!rest.empty()) {
    const std::string_view one = take_until(rest, ' ');
    if (!one.empty()) add_once(digests, std::string(one));
  }
  return digests;
}

void IndexEntry::add_repo_digest(std::string_view repo_digest) {
  std::vector<std::string> digests = repo_digests();
  add_once(digests, std::string(repo_digest));
  annotations[repo_digests_name] = joined(digests);
}

bool IndexEntry::remove_repo_digest(std::string_view repo_digest) {
  std::vector<std::string> digests = repo_digests();
  if (std::erase(digests, repo_digest) == 0) return false;
  if (digests.empty()) {
    annotations.erase(repo_digests_name);
  } else {
    annotations[repo_digests_name] = joined(digests);
  }
  return true;
}

std::string IndexEntry::foreign_name() const {
  if (!name.empty()) return {};
  const auto written = annotations.find(ref_name);
  return written == annotations.end() ? std::string() : written->second;
}

void IndexEntry::set_name(std::string_view new_name) {
  name = new_name;
  if (name.empty()) {
    annotations.erase(ref_name);
    annotations.erase(image_name);
  } else {
    annotations[ref_name] = name;
    annotations[image_name] = name;
  }
}

std::vector<Image> IndexFile::images() const {
  std::vector<Image> images;
  std::map<codec::Digest, size_t> places;
  for (const IndexEntry& entry : manifests) {
    const auto [place, is_new] = places.emplace(entry.digest, images.size());
    if (is_new) {
      Image& image = images.emplace_back();
      image.manifest.media_type = entry.media_type;
      image.manifest.digest = entry.digest;
      image.manifest.size = entry.size;
    }
    Image& image = images[place->second];
    if (!entry.name.empty()) {
      add_once(image.names, entry.name);
    } else if (const std::string foreign = entry.foreign_name(); !foreign.empty()) {
      const bool printable =
          std::ranges::all_of(foreign, [](char c) { return c > ' ' && c < 127; });
      add_once(image.names, printable ? foreign : in_quotes(foreign));
    }
    for (std::string& digest : entry.repo_digests()) {
      add_once(image.repo_digests, std::move(digest));
    }
  }
  return images;
}

template <class Predicate>
bool IndexFile::take_name(std::string_view name, bool keep_image, Predicate&& from) {
  bool found = false;
  for (size_t at = 0; at < manifests.size();) {
    IndexEntry& entry = manifests[at];
    if (entry.name != name || !from(entry)) {
      ++at;
      continue;
    }
    found = true;
    const codec::Digest digest = entry.digest;
    const auto other = std::ranges::find_if(manifests, [&](const IndexEntry& each) {
      return &each != &entry && each.digest == digest;
    });
    if (other == manifests.end() && keep_image) {
      entry.set_name({});
      ++at;
      continue;
    }
    if (other != manifests.end()) {
      for (const std::string& each : entry.repo_digests()) other->add_repo_digest(each);
    }
    manifests.erase(manifests.begin() + static_cast<ptrdiff_t>(at));
    const bool still_named = std::ranges::any_of(manifests, [&](const IndexEntry& each) {
      return each.digest == digest && each.is_named();
    });
    if (still_named || keep_image) continue;
    (void)remove(digest);
    at = 0;
  }
  return found;
}

bool IndexFile::untag(std::string_view name, bool keep_image) {
  return take_name(name, keep_image, [](const IndexEntry&) { return true; });
}

void IndexFile::tag(const TagRequest& request) {
  const auto is_it = [&](const IndexEntry& entry) {
    return entry.digest == request.manifest.digest;
  };
  if (!request.name.empty()) {
    take_name(request.name, true, [&](const IndexEntry& entry) { return !is_it(entry); });
  }
  auto place = std::ranges::find_if(manifests, [&](const IndexEntry& entry) {
    return is_it(entry) && entry.name == request.name;
  });
  if (place == manifests.end() && !request.name.empty()) {
    // One that has no name yet takes this one; a name that we could not read stays alone.
    place = std::ranges::find_if(
        manifests, [&](const IndexEntry& entry) { return is_it(entry) && !entry.is_named(); });
  }
  if (place == manifests.end() && request.name.empty()) {
    place = std::ranges::find_if(manifests, is_it);
  }
  if (place == manifests.end()) {
    manifests.push_back(make_entry(request.manifest));
    place = manifests.end() - 1;
  }
  if (!request.name.empty()) place->set_name(request.name);
  if (!request.repo_digest.empty()) place->add_repo_digest(request.repo_digest);
}

bool IndexFile::has(const codec::Digest& manifest) const {
  return std::ranges::any_of(manifests,
                             [&](const IndexEntry& entry) { return entry.digest == manifest; });
}

bool IndexFile::forget_digest(std::string_view repo_digest) {
  std::vector<codec::Digest> changed;
  for (IndexEntry& entry : manifests) {
    if (entry.remove_repo_digest(repo_digest)) changed.push_back(entry.digest);
  }
  for (const Image& image : images()) {
    if (image.names.empty() && image.repo_digests.empty() &&
        nacelle::contains(changed, image.manifest.digest)) {
      (void)remove(image.manifest.digest);
    }
  }
  return !changed.empty();
}

bool IndexFile::remove(const codec::Digest& manifest) {
  return std::erase_if(manifests,
                       [&](const IndexEntry& entry) { return entry.digest == manifest; }) > 0;
}

Result<IndexFile> parse_index_file(std::string_view text) {
  const auto document = TRY(codec::json::Document::parse(text, {.bytes_max = index_bytes_max}));
  const Object json = TRY(document.root().object());
  uint64_t version = 0;
  TRY(json.need("schemaVersion", version));
  if (version != 2) return json.invalid("schemaVersion", "must be 2");
  IndexFile index;
  if (const auto list = json.find("manifests")) {
    for (const auto each : TRY(list->array())) {
      const Object entry = TRY(each.object());
      index.manifests.push_back(TRY(read_entry(entry)));
    }
    settle_names(index.manifests);
  }
  for (const auto [key, value] : json) {
    const std::string name = TRY(key.string());
    if (name == "schemaVersion" || name == "mediaType" || name == "manifests") continue;
    index.others.emplace_back(name, value.raw());
  }
  return index;
}

std::string write_index_file(const IndexFile& index) {
  codec::json::Writer json;
  json.begin_object();
  json.member("schemaVersion", 2).member("mediaType", oci::media::oci_index);
  json.key("manifests").begin_array();
  for (const IndexEntry& entry : index.manifests) {
    json.begin_object();
    if (!entry.media_type.empty()) json.member("mediaType", entry.media_type);
    json.member("digest", entry.digest.text()).member("size", entry.size);
    if (!entry.annotations.empty()) {
      json.key("annotations").begin_object();
      for (const auto& [key, value] : entry.annotations) json.member(key, value);
      json.end_object();
    }
    for (const auto& [key, value] : entry.others) json.key(key).raw(value);
    json.end_object();
  }
  json.end_array();
  for (const auto& [key, value] : index.others) json.key(key).raw(value);
  return std::move(json.end_object()).take();
}

}  // namespace nacelle::image
