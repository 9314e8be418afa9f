#include "codec/digest.h"

#include <algorithm>
#include <array>
#include <utility>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::codec {
namespace {

struct Known {
  DigestAlgorithm algorithm;
  std::string_view prefix;  // algorithm_name() and hex() count on six letters and a colon
  size_t hex_digits;
  const EVP_MD* (*method)();
};
constexpr std::array known_algorithms = {
    Known{DigestAlgorithm::Sha256, "sha256:", 64, EVP_sha256},
    Known{DigestAlgorithm::Sha512, "sha512:", 128, EVP_sha512},
};

const Known& known(DigestAlgorithm algorithm) {
  const auto* found = std::ranges::find(known_algorithms, algorithm, &Known::algorithm);
  CHECK(found != known_algorithms.end());
  return *found;
}

bool is_hex_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// What a stranger wrote, fit for a message: bounded, and nothing that a terminal would obey.
std::string shown(std::string_view text) {
  constexpr size_t shown_bytes_max = 160;
  std::string out(text.substr(0, shown_bytes_max));
  std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~'; }, '?');
  if (out.size() < text.size()) out += "...";
  return out;
}

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  for (const Known& each : known_algorithms) {
    if (!text.starts_with(each.prefix)) continue;
    const std::string_view hex = text.substr(each.prefix.size());
    if (hex.size() != each.hex_digits || !std::ranges::all_of(hex, is_hex_digit)) {
      return fail(Kind::Invalid, cat("digest '", shown(text), "': expected ", each.hex_digits,
                                     " lower-case hexadecimal digits after '", each.prefix, "'"));
    }
    Digest digest;
    digest.text_ = text;
    return digest;
  }
  return fail(Kind::Invalid,
              cat("digest '", shown(text), "': expected 'sha256:' or 'sha512:' at its start"));
}

DigestAlgorithm Digest::algorithm() const {
  return text_.starts_with("sha512") ? DigestAlgorithm::Sha512 : DigestAlgorithm::Sha256;
}

struct Hasher::Context {
  DigestAlgorithm algorithm;
  EVP_MD_CTX* evp;

  explicit Context(DigestAlgorithm wanted) : algorithm(wanted), evp(EVP_MD_CTX_new()) {
    // Without this the first digest of a process reads the host's openssl.cnf, which may name
    // modules that a static program cannot load, and is not there in a sandbox. Done once, whoever
    // asks.
    CHECK(OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) == 1);
    // The methods are built in: what can fail here is memory.
    CHECK(evp != nullptr && EVP_DigestInit_ex(evp, known(algorithm).method(), nullptr) == 1);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(evp); }
};

Hasher::Hasher(DigestAlgorithm algorithm) : context_(std::make_unique<Context>(algorithm)) {}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(std::string_view bytes) {
  CHECK(context_ != nullptr);
  CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

Digest Hasher::finish() {
  CHECK(context_ != nullptr);
  const auto context = std::move(context_);
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw;
  unsigned int raw_size = 0;
  CHECK(EVP_DigestFinal_ex(context->evp, raw.data(), &raw_size) == 1);

  const Known& how = known(context->algorithm);
  CHECK(size_t{raw_size} * 2 == how.hex_digits);
  Digest digest;
  digest.text_.reserve(how.prefix.size() + how.hex_digits);
  digest.text_ = how.prefix;
  constexpr std::string_view hex = "0123456789abcdef";
  for (size_t each = 0; each < raw_size; ++each) {
    digest.text_ += hex[raw[each] >> 4];
    digest.text_ += hex[raw[each] & 15];
  }
  return digest;
}

Digest digest_of(std::string_view bytes, DigestAlgorithm algorithm) {
  Hasher hasher(algorithm);
  hasher.update(bytes);
  return hasher.finish();
}

}  // namespace nacelle::codec
