#include "oci/reference.h"

#include <algorithm>

#include "base/text.h"
#include "codec/digest.h"
#include "codec/json.h"

namespace nacelle::oci {
namespace {

using codec::json::in_quotes;

constexpr std::string_view default_registry = "docker.io";
constexpr std::string_view old_default_registry = "index.docker.io";
constexpr std::string_view official = "library/";
constexpr std::string_view default_tag = "latest";
constexpr size_t repository_bytes_max = 255;
constexpr size_t registry_bytes_max = 255;  // no name in DNS is longer
constexpr size_t tag_bytes_max = 128;
constexpr size_t id_digits = 64;

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter_or_digit(char c) { return is_lower(c) || is_upper(c) || is_digit(c); }
bool is_lower_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }

bool has_upper(std::string_view text) { return std::ranges::any_of(text, is_upper); }

bool is_id(std::string_view text) {
  return text.size() == id_digits && std::ranges::all_of(text, is_lower_hex);
}

// Whether the part before the first slash is a host, and not the beginning of a repository.
bool is_registry(std::string_view part) {
  return part == "localhost" || part.find_first_of(".:") != std::string_view::npos ||
         has_upper(part);
}

bool is_host_label(std::string_view label) {
  return !label.empty() && label.front() != '-' && label.back() != '-' &&
         std::ranges::all_of(label, [](char c) { return is_letter_or_digit(c) || c == '-'; });
}

bool is_host(std::string_view host) {
  if (host.ends_with('.')) return false;
  while (!host.empty()) {
    if (!is_host_label(take_until(host, '.'))) return false;
  }
  return true;
}

bool is_bracketed_address(std::string_view host) {
  return host.size() > 2 && host.ends_with(']') &&
         std::ranges::all_of(host.substr(1, host.size() - 2), [](char c) {
           return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':';
         });
}

bool is_valid_registry(std::string_view text) {
  if (text.empty() || text.size() > registry_bytes_max) return false;
  const bool bracketed = text.starts_with('[');
  const size_t end = bracketed ? text.find(']') : text.find(':');
  const size_t host_bytes = std::min(bracketed && end != text.npos ? end + 1 : end, text.size());
  const std::string_view host = text.substr(0, host_bytes);
  const std::string_view port = text.substr(host_bytes);
  if (!port.empty() &&
      (port.size() < 2 || port[0] != ':' || !std::ranges::all_of(port.substr(1), is_digit))) {
    return false;
  }
  return bracketed ? is_bracketed_address(host) : !host.empty() && is_host(host);
}

// Letters and digits, with one of `.`, `_`, `__` or any number of `-` between them.
bool is_component(std::string_view text) {
  while (true) {
    const size_t word =
        std::min(static_cast<size_t>(std::ranges::find_if_not(
                                         text, [](char c) { return is_lower(c) || is_digit(c); }) -
                                     text.begin()),
                 text.size());
    if (word == 0) return false;
    text.remove_prefix(word);
    if (text.empty()) return true;
    const char separator = text.front();
    const size_t run = std::min(text.find_first_not_of(separator), text.size());
    const bool good =
        separator == '-' || (separator == '.' && run == 1) || (separator == '_' && run <= 2);
    if (!good) return false;
    text.remove_prefix(run);
  }
}

bool is_repository(std::string_view text) {
  if (text.empty() || text.ends_with('/')) return false;
  while (!text.empty()) {
    if (!is_component(take_until(text, '/'))) return false;
  }
  return true;
}

bool is_tag(std::string_view text) {
  const auto is_word = [](char c) { return is_letter_or_digit(c) || c == '_'; };
  return !text.empty() && text.size() <= tag_bytes_max && is_word(text.front()) &&
         std::ranges::all_of(text, [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

std::unexpected<Error> malformed(std::string_view text, std::string_view why) {
  return fail(Kind::Invalid, cat("invalid reference format: ", in_quotes(text), ": ", why));
}

struct Split {
  std::string_view registry;
  std::string rest;
};

Split split_registry(std::string_view text) {
  std::string_view rest = text;
  const std::string_view first = take_until(rest, '/');
  const bool named = text.contains('/') && is_registry(first);
  Split split = {named ? first : default_registry, std::string(named ? rest : text)};
  if (split.registry == old_default_registry) split.registry = default_registry;
  if (split.registry == default_registry && !split.rest.contains('/')) {
    split.rest.insert(0, official);
  }
  return split;
}

Result<> check_repository(std::string_view text, std::string_view repository) {
  if (has_upper(repository)) {
    return fail(Kind::Invalid, cat("invalid reference format: repository name (",
                                   in_quotes(repository), ") must be lowercase"));
  }
  if (!is_repository(repository)) {
    return malformed(text, repository.empty() || repository == official
                               ? "the repository name is missing"
                               : cat(in_quotes(repository), " is not a repository name"));
  }
  if (repository.size() > repository_bytes_max) {
    return fail(Kind::Invalid,
                cat("repository name must not be more than ", repository_bytes_max, " characters"));
  }
  return {};
}

// Why `text` can be nothing at all, said better than by the first rule it breaks.
Result<> check_whole(std::string_view text) {
  if (text.empty()) return fail(Kind::Invalid, "invalid reference format: the name is empty");
  if (text.starts_with("https://") || text.starts_with("http://")) {
    return malformed(text, "leave out what is before the host");
  }
  if (is_id(text)) {
    return fail(Kind::Invalid, cat("invalid repository name (", text,
                                   "), cannot specify 64-byte hexadecimal strings"));
  }
  return {};
}

std::string with_tag_and_digest(std::string name, const Reference& reference) {
  if (!reference.tag.empty()) name += cat(':', reference.tag);
  if (!reference.digest.empty()) name += cat('@', reference.digest);
  return name;
}

}  // namespace

Result<Reference> parse_reference_name(std::string_view text) {
  TRY(check_whole(text));
  const Split split = split_registry(text);
  std::string_view rest = split.rest;
  const bool has_digest = rest.contains('@');
  std::string_view name = take_until(rest, '@');
  const std::string_view digest = rest;
  const bool has_tag = name.contains(':');
  const std::string_view repository = take_until(name, ':');
  const std::string_view tag = name;
  if (!is_valid_registry(split.registry)) {
    return malformed(text, cat(in_quotes(split.registry), " is not a registry's host"));
  }
  TRY(check_repository(text, repository));
  if (has_tag && !is_tag(tag)) return malformed(text, cat(in_quotes(tag), " is not a tag"));
  if (has_digest) {
    const auto checked = codec::Digest::parse(digest);
    if (!checked) return malformed(text, checked.error().message());
  }
  return Reference{std::string(split.registry), std::string(repository), std::string(tag),
                   std::string(digest)};
}

Result<Reference> parse_reference(std::string_view text) {
  Reference reference = TRY(parse_reference_name(text));
  if (reference.tag.empty() && reference.digest.empty()) reference.tag = default_tag;
  return reference;
}

std::string Reference::name() const { return cat(registry, '/', repository); }

std::string Reference::familiar_name() const {
  if (registry != default_registry) return name();
  std::string_view shorter = repository;
  if (shorter.starts_with(official) && !shorter.substr(official.size()).contains('/')) {
    shorter.remove_prefix(official.size());
  }
  // Where the short form would mean something else, the long one is shown.
  std::string_view rest = shorter;
  const std::string_view first = take_until(rest, '/');
  const bool misread = is_id(shorter) || (shorter.contains('/') && is_registry(first));
  return misread ? name() : std::string(shorter);
}

std::string Reference::text() const { return with_tag_and_digest(name(), *this); }
std::string Reference::familiar() const { return with_tag_and_digest(familiar_name(), *this); }

std::string_view Reference::api_host() const {
  return registry == default_registry ? "registry-1.docker.io" : std::string_view(registry);
}

bool may_be_image_id(std::string_view text) {
  constexpr std::string_view prefix = "sha256:";
  if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
  return !text.empty() && text.size() <= id_digits && std::ranges::all_of(text, is_lower_hex);
}

std::string familiar_name(std::string_view text) {
  const Result<Reference> reference = parse_reference(text);
  return reference ? reference->familiar() : std::string(text);
}

}  // namespace nacelle::oci
