// /etc/hosts and /etc/resolv.conf of a container, as text.
#include <algorithm>

#include "base/text.h"
#include "engine/addresses.h"
#include "engine/spec_parts.h"

namespace nacelle::engine {
namespace {

constexpr std::string_view hosts_of_everyone =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n";

constexpr std::string_view neighbours_begin =
    "# Containers of the same networks; kept up to date as they come and go.\n";
constexpr std::string_view neighbours_end = "# The end of them.\n";

// Of the host's file, what counts.
struct Resolver {
  std::vector<std::string> servers, search, options;
};

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find_first_of(" \t"), line.size());
    if (end > 0) words.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

// An address that means the host itself is of no use in another network namespace.
bool is_loopback(std::string_view text) { return text.starts_with("127.") || text == "::1"; }

Resolver parse_resolver(std::string_view text) {
  Resolver resolver;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    line = line.substr(0, line.find_first_of("#;"));
    std::vector<std::string> words = words_of(line);
    if (words.size() < 2) continue;
    const std::string keyword = words[0];
    words.erase(words.begin());
    if (keyword == "nameserver") resolver.servers.push_back(words[0]);
    // The last one counts, resolv.conf(5).
    if (keyword == "search" || keyword == "domain") resolver.search = words;
    if (keyword == "options") {
      resolver.options.insert(resolver.options.end(), words.begin(), words.end());
    }
  }
  return resolver;
}

std::string line_of(std::string_view keyword, const std::vector<std::string>& words) {
  std::string line(keyword);
  for (const std::string& word : words) line += cat(' ', word);
  return line + '\n';
}

}  // namespace

std::string neighbours_section(std::string_view lines) {
  if (lines.empty()) return {};
  return cat(neighbours_begin, lines, neighbours_end);
}

std::string replace_neighbours(std::string hosts, std::string_view section) {
  const size_t begin = hosts.find(neighbours_begin);
  const size_t end = hosts.find(neighbours_end, begin == std::string::npos ? 0 : begin);
  if (begin != std::string::npos && end != std::string::npos) {
    return hosts.replace(begin, end + neighbours_end.size() - begin, section);
  }
  if (!hosts.empty() && !hosts.ends_with('\n')) hosts += '\n';
  return hosts += section;
}

std::string hosts_file(const CreateRequest& request, const std::string& hostname,
                       const std::vector<std::pair<std::string, std::string>>& address_and_names,
                       std::string_view host_gateway) {
  std::string text(hosts_of_everyone);
  for (const std::string& entry : request.host.extra_hosts) {
    std::string_view address = entry;
    const std::string_view name = take_until(address, ':');
    if (address.starts_with('[') && address.ends_with(']')) {
      address = address.substr(1, address.size() - 2);
    }
    if (address == "host-gateway") address = host_gateway;
    if (!address.empty() && is_plain_text(entry)) text += cat(address, '\t', name, '\n');
  }
  for (const auto& [address, names] : address_and_names) {
    const std::string_view said = names.empty() ? std::string_view(hostname) : names;
    if (is_plain_text(said)) text += cat(address, '\t', said, '\n');
  }
  return text;
}

std::string resolv_conf(const HostConfig& host, std::string_view hosts_own) {
  Resolver resolver = parse_resolver(hosts_own);
  if (!host.dns.empty()) {
    resolver.servers = host.dns;
  } else if (!is_host(host.network_mode)) {
    std::erase_if(resolver.servers, is_loopback);
    // As dockerd: servers that everyone reaches, rather than none.
    if (resolver.servers.empty()) resolver.servers = {"8.8.8.8", "8.8.4.4"};
  }
  if (!host.dns_search.empty()) resolver.search = host.dns_search;
  // "." is how one asks for none.
  std::erase(resolver.search, ".");
  if (!host.dns_options.empty()) resolver.options = host.dns_options;
  std::string text = "# Made for this container from the host's file and what was asked for.\n";
  for (const std::string& server : resolver.servers) text += cat("nameserver ", server, '\n');
  if (!resolver.search.empty()) text += line_of("search", resolver.search);
  if (!resolver.options.empty()) text += line_of("options", resolver.options);
  return text;
}

}  // namespace nacelle::engine
