// Content digests as the OCI image-spec writes them (descriptor.md, "Digests"): `sha256:<hex>`.
// The text of a Digest is safe as a file name's part: nothing but [a-z0-9] on both sides of the
// colon.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::codec {

enum class DigestAlgorithm : uint8_t { Sha256, Sha512 };

class Digest {
 public:
  Digest() = default;  // of nothing yet: empty() is true
  // Exactly `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits. Invalid
  // otherwise, with the text in the message.
  static Result<Digest> parse(std::string_view text);

  const std::string& text() const { return text_; }
  std::string_view algorithm_name() const { return std::string_view(text_).substr(0, 6); }
  std::string_view hex() const { return std::string_view(text_).substr(text_.empty() ? 0 : 7); }
  DigestAlgorithm algorithm() const;
  bool empty() const { return text_.empty(); }
  auto operator<=>(const Digest&) const = default;

 private:
  friend class Hasher;
  std::string text_;
};

// A digest in the making (OpenSSL EVP underneath).
class Hasher {
 public:
  explicit Hasher(DigestAlgorithm algorithm = DigestAlgorithm::Sha256);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void update(std::string_view bytes);
  Digest finish();  // once; the hasher is spent

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest digest_of(std::string_view bytes, DigestAlgorithm algorithm = DigestAlgorithm::Sha256);

}  // namespace nacelle::codec
