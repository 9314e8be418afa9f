#include "build/git_source.h"

#include <algorithm>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::build {
namespace {

using codec::json::in_quotes;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// "git@github.com:owner/name": no other colon stands before a slash.
bool is_like_scp(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view before = text.substr(0, colon);
  if (colon == std::string_view::npos || before.contains('/')) return false;
  std::string_view host = before;
  const std::string_view user = take_until(host, '@');
  return !user.empty() && !host.empty() && !text.substr(colon).starts_with("://") &&
         std::ranges::all_of(user, [](char c) { return is_word(c) || c == '_' || c == '-'; });
}

bool is_web(std::string_view text) {
  return text.starts_with("http://") || text.starts_with("https://");
}

// Neither an option of git's, nor a refspec, nor anything that a shell or a terminal takes notice
// of.
Result<> check_part(std::string_view what, std::string_view text, std::string_view also) {
  const bool is_plain =
      std::ranges::all_of(text, [&](char c) { return is_word(c) || also.contains(c); });
  if (is_plain && !text.starts_with('-') && !text.starts_with('+')) return {};
  return fail(Kind::Invalid, cat("invalid ", what, " of a git repository: ", in_quotes(text)));
}

Result<> check(const GitSource& source) {
  TRY(check_part("URL", source.remote, "-._~/:@%+[]=,"));
  std::string_view host = source.remote;
  if (const size_t scheme = host.find("://"); scheme != host.npos) host.remove_prefix(scheme + 3);
  const std::string_view authority = host.substr(0, host.find_first_of("/:"));
  const std::string_view name = authority.substr(authority.rfind('@') + 1);
  if (name.empty() || name.starts_with('-')) {
    return fail(Kind::Invalid, cat("invalid host of a git repository: ", in_quotes(source.remote)));
  }
  TRY(check_part("ref", source.ref, "-._/@+"));
  TRY(check_part("checksum", source.checksum, ""));
  if (source.directory.contains('\0')) return fail(Kind::Invalid, "a directory with a zero byte");
  return {};
}

Result<> read_query(std::string_view query, GitSource& source) {
  while (!query.empty()) {
    std::string_view value = take_until(query, '&');
    const std::string_view key = take_until(value, '=');
    if (key == "ref") {
      source.ref = value;
    } else if (key == "branch") {
      source.ref = cat("refs/heads/", value);
    } else if (key == "tag") {
      source.ref = cat("refs/tags/", value);
    } else if (key == "subdir") {
      source.directory = value;
    } else if (key == "checksum" || key == "commit") {
      source.checksum = value;
    } else if (key == "keep-git-dir") {
      source.keep_git_dir = value.empty() || value == "1" || value == "true";
    } else {
      return fail(Kind::Invalid,
                  cat("unexpected ", in_quotes(key), " in the URL of a git repository"));
    }
  }
  return {};
}

}  // namespace

Result<std::optional<GitSource>> parse_git_source(std::string_view text) {
  std::string_view fragment = text;
  std::string_view query = take_until(fragment, '#');
  const bool is_scp = is_like_scp(query);
  const std::string_view remote = is_scp ? query : take_until(query, '?');
  const bool is_git = is_scp || remote.starts_with("git://") || remote.starts_with("ssh://") ||
                      remote.starts_with("github.com/") ||
                      (is_web(remote) && remote.ends_with(".git"));
  if (!is_git) return std::optional<GitSource>();
  GitSource source;
  source.remote = cat(remote.starts_with("github.com/") ? "https://" : "", remote);
  source.ref = take_until(fragment, ':');
  source.directory = fragment;
  if (!is_scp) TRY(read_query(query, source));
  TRY(check(source));
  return std::optional(std::move(source));
}

}  // namespace nacelle::build
