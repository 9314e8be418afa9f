// Headers and small documents of registries and token servers, of any bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "http/challenge.h"
#include "http/client.h"
#include "http/url.h"
#include "image/job_registry_reply.h"

namespace {

void check_words(std::string_view words) {
  CHECK(nacelle::is_utf8(words));
  for (const char c : words) CHECK(static_cast<unsigned char>(c) >= ' ' && c != 0x7f);
}

template <class T>
bool check(const nacelle::Result<T>& result) {
  if (result) return true;
  CHECK(!result.error().message().empty());
  check_words(result.error().message());
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nacelle;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto all = http::parse_challenges(text); check(all)) {
    CHECK(!all->empty() && all->size() <= http::challenges_max);
    for (const auto& each : *all) {
      CHECK(!each.scheme.empty() && each.parameters.size() <= http::challenge_parameters_max);
    }
  }
  if (const auto token = image::parse_token_reply(text); check(token)) {
    CHECK(!token->text.empty() && token->life >= image::token_life_default);
    for (const char c : token->text) CHECK(c > ' ' && c < 0x7f);
  }
  if (const auto range = image::parse_content_range(text); check(range)) {
    CHECK(range->first <= range->last && range->total.value_or(UINT64_MAX) > range->last);
  }
  static const http::Url base = *http::parse_url("https://localhost:5000/v2/a?b=c");
  if (const auto url = http::join_url(base, text); check(url)) {
    const auto again = http::parse_url(url->text);
    CHECK(again && http::same_origin(*again, *url));
  }
  check_words(image::registry_words(text));
  check_words(http::plain_words(text));
  (void)image::parse_retry_after(text);
  if (image::is_repository(text)) CHECK(!text.contains("..") && !text.contains("//"));
  return 0;
}
