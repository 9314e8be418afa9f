// index.json of an image layout as values. What is not ours in it (annotations, members, whole
// entries that skopeo or umoci wrote) is kept as it is.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/digest.h"
#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::image {

struct Image;
struct TagRequest;

struct IndexEntry {
  std::string media_type;
  codec::Digest digest;
  uint64_t size = 0;
  std::map<std::string, std::string> annotations;
  std::vector<std::pair<std::string, std::string>> others;  // name and JSON of further members
  std::string name;  // what its annotations call it, normalised; empty: nothing, or no image's name

  // What another tool calls it that is no image's name to us; empty when there is no such.
  std::string foreign_name() const;
  bool is_named() const { return !name.empty() || !foreign_name().empty(); }
  std::vector<std::string> repo_digests() const;
  void add_repo_digest(std::string_view repo_digest);
  bool remove_repo_digest(std::string_view repo_digest);  // whether there was such
  void set_name(std::string_view new_name);               // empty takes it away
};

struct IndexFile {
  std::vector<IndexEntry> manifests;
  std::vector<std::pair<std::string, std::string>> others;

  // By manifest, in the order of first appearance. A foreign name is among the names (quoted when
  // it is not fit to be printed), so that nobody takes its image for one without a name.
  std::vector<Image> images() const;

  bool has(const codec::Digest& manifest) const;
  void tag(const TagRequest& request);
  // Whether there was such a name.
  bool untag(std::string_view name, bool keep_image);
  // Whether there was such a repo digest. An image without any other, and without a name, goes.
  bool forget_digest(std::string_view repo_digest);
  bool remove(const codec::Digest& manifest);

 private:
  template <class Predicate>
  bool take_name(std::string_view name, bool keep_image, Predicate&& from);
};

inline constexpr size_t index_bytes_max = 64u << 20;
inline constexpr std::string_view empty_index =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]})";

// Each name comes out once: skopeo moves a ref.name to what it copies here and leaves our other
// annotation with the old entry, and whoever appends an entry means it to be the newest. The entry
// that loses stays without the name.
Result<IndexFile> parse_index_file(std::string_view text);
std::string write_index_file(const IndexFile& index);

}  // namespace nacelle::image
