// Image names: what a person types and what it means. Follows Docker's own normalisation
// (distribution/reference): `busybox` is `docker.io/library/busybox:latest`.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::oci {

// A normalised name. `tag` and `digest` may each be empty; with both, the digest decides.
struct Reference {
  std::string registry;    // "docker.io", "localhost:5000", "[::1]:5000"
  std::string repository;  // "library/busybox"
  std::string tag;         // "latest"
  std::string digest;      // "sha256:..."

  // "docker.io/library/busybox:latest", with "@sha256:..." when there is a digest.
  std::string text() const;
  // As Docker shows it: "busybox:latest", "localhost:5000/a/b:1".
  std::string familiar() const;
  // The same without tag and digest: "docker.io/library/busybox" and "busybox".
  std::string name() const;
  std::string familiar_name() const;
  // The host that answers for `registry`: docker.io's registry is registry-1.docker.io.
  std::string_view api_host() const;

  auto operator<=>(const Reference&) const = default;
};

// Adds what is missing: registry, "library/", and the tag `latest` when there is neither tag nor
// digest. Invalid, with the reason, for what Docker refuses: upper-case repositories, a name of 64
// hexadecimal digits, tags above 128 characters, names above 255, bad digests.
Result<Reference> parse_reference(std::string_view text);

// The same without adding a tag: for `image ls NAME`, untag and filters.
Result<Reference> parse_reference_name(std::string_view text);

// A name as Docker shows it; a text that is none as it is.
std::string familiar_name(std::string_view text);

// Whether `text` can be (the beginning of) an image id: 1 to 64 hexadecimal digits, `sha256:`
// allowed.
bool may_be_image_id(std::string_view text);

}  // namespace nacelle::oci
