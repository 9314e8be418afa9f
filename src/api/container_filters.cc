#include "api/container_filters.h"

#include <regex.h>

#include <algorithm>
#include <utility>

#include "api/container_json.h"
#include "api/json_requests.h"
#include "base/text.h"

namespace nacelle::api {
namespace {

using engine::Container;

constexpr size_t pattern_bytes_max = 256;

template <class Test>
bool any_or_none_asked(const std::vector<std::string>& values, Test test) {
  return values.empty() || std::ranges::any_of(values, test);
}

bool name_matches(const Container& container, const std::string& value) {
  return pattern_matches(value, container.name) || pattern_matches(value, "/" + container.name);
}

bool volume_matches(const Container& container, const std::string& value) {
  return std::ranges::any_of(container.mounts, [&](const engine::MountPoint& mount) {
    return value == mount.destination || value == (mount.name.empty() ? mount.source : mount.name);
  });
}

bool network_matches(const Container& container, const std::string& value) {
  return std::ranges::any_of(container.endpoints, [&](const auto& each) {
    return value == each.first || (!value.empty() && each.second.network_id.starts_with(value));
  });
}

bool port_matches(const Container& container, const std::vector<PortRange>& ranges) {
  if (ranges.empty()) return true;
  return std::ranges::any_of(container.config.exposed_ports, [&](const auto& each) {
    const auto port = parse_port(each.first);
    return port && std::ranges::any_of(ranges, [&](const PortRange& range) {
             return range.has(port->number, port->protocol);
           });
  });
}

Result<> check_words(const Filters& filters, const char* name, std::string_view what,
                     std::initializer_list<std::string_view> words) {
  for (const std::string& value : values_of(filters, name)) {
    if (contains(words, value)) continue;
    std::string list;
    for (const std::string_view word : words) list += cat(list.empty() ? "" : ", ", word);
    return fail(Kind::Invalid, cat("invalid filter '", name, '=', value, "': invalid value for ",
                                   what, " (", value, "): must be one of ", list));
  }
  return {};
}

}  // namespace

const std::vector<std::string>& values_of(const Filters& filters, const std::string& name) {
  static const std::vector<std::string> none;
  const auto found = filters.find(name);
  return found == filters.end() ? none : found->second;
}

int64_t created_ns(const Container& container) {
  return parse_rfc3339(container.created).value_or(0);
}

bool matches(const Criteria& criteria, const Container& container) {
  const Filters& filters = criteria.filters;
  if (!criteria.all && !counts_as_running(container.state.phase)) return false;
  if (criteria.only_tasks || !criteria.published.empty()) return false;  // there are none
  if (!criteria.exit_codes.empty() &&
      (counts_as_running(container.state.phase) || container.state.started_at.empty() ||
       !contains(criteria.exit_codes, container.state.exit_code))) {
    return false;
  }
  if (criteria.before && created_ns(container) >= *criteria.before) return false;
  if (criteria.since && created_ns(container) <= *criteria.since) return false;
  if (criteria.image_ids && !contains(*criteria.image_ids, container.image_id)) return false;
  const auto each = [&](const char* name, auto test) {
    return any_or_none_asked(values_of(filters, name),
                             [&](const std::string& value) { return test(container, value); });
  };
  return each("name", name_matches) && each("volume", volume_matches) &&
         each("network", network_matches) &&
         each("id",
              [](const Container& c, const std::string& v) { return pattern_matches(v, c.id); }) &&
         each("status",
              [](const Container& c, const std::string& v) {
                return v == engine::to_string(c.state.phase);
              }) &&
         each("health",
              [](const Container& c, const std::string& v) { return v == health_text(c.state); }) &&
         port_matches(container, criteria.exposed) &&
         label_filters_match(values_of(filters, "label"), container.config.labels);
}

// What can be wrong without looking at anything.
Result<Criteria> read_criteria(std::string_view text) {
  Criteria criteria;
  criteria.filters = TRY(read_filters(
      text, {"ancestor", "before", "exited", "expose", "health", "id", "isolation", "is-task",
             "label", "name", "network", "publish", "since", "status", "volume"}));
  const Filters& filters = criteria.filters;
  TRY(check_words(filters, "status", "state",
                  {"created", "running", "paused", "restarting", "removing", "exited", "dead"}));
  TRY(check_words(filters, "health", "health", {"none", "starting", "healthy", "unhealthy"}));
  for (const std::string& value : values_of(filters, "exited")) {
    criteria.exit_codes.push_back(
        TRY(read_number(value).context(cat("invalid filter 'exited=", value, "'"))));
  }
  criteria.only_tasks = TRY(bool_filter(filters, "is-task", false));
  for (const auto& [name, into] :
       {std::pair{"expose", &criteria.exposed}, std::pair{"publish", &criteria.published}}) {
    for (const std::string& value : values_of(filters, name)) {
      into->push_back(TRY(
          parse_port_range(value).context(cat("error while looking up for ", name, ' ', value))));
    }
  }
  return criteria;
}

bool pattern_matches(const std::string& pattern, const std::string& text) {
  if (pattern == text) return true;
  if (pattern.size() > pattern_bytes_max || pattern.contains('{')) return false;
  // glibc knows references to what was matched before, which Docker's expressions do not have, and
  // which take time without bound.
  for (size_t at = 0; (at = pattern.find('\\', at)) != std::string::npos; at += 2) {
    if (at + 1 < pattern.size() && pattern[at + 1] >= '0' && pattern[at + 1] <= '9') return false;
  }
  // glibc writes down what a plus stands behind twice: one behind the other, without bound.
  constexpr auto repetitions_max = 8;
  if (std::ranges::count(pattern, '+') > repetitions_max) return false;
  regex_t compiled;
  if (::regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) return false;
  const bool found = ::regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  ::regfree(&compiled);
  return found;
}

Result<PortRange> parse_port_range(std::string_view text) {
  const std::string_view ports = take_until(text, '/');
  PortRange range;
  range.protocol = text.empty() ? "tcp" : std::string(text);
  std::string_view rest = ports;
  const std::string_view first = take_until(rest, '-');
  const auto low = parse_number<uint16_t>(first);
  const auto high = ports.contains('-') ? parse_number<uint16_t>(rest) : low;
  if (!low || !high || *low > *high ||
      (range.protocol != "tcp" && range.protocol != "udp" && range.protocol != "sctp")) {
    return fail(Kind::Invalid, cat("invalid port range: ", quoted(ports)));
  }
  range.first = *low;
  range.last = *high;
  return range;
}

Result<Chosen> prune_choice(std::string_view text) {
  const Filters filters = TRY(read_filters(text, {"label", "label!", "until"}));
  const auto& until = values_of(filters, "until");
  if (until.size() > 1) return fail(Kind::Invalid, "more than one until filter specified");
  const int64_t before = until.empty() ? INT64_MAX : TRY(read_time(until[0]));
  return Chosen([before, labels = values_of(filters, "label"),
                 not_labels = values_of(filters, "label!")](const Container& container) {
    if (before != INT64_MAX && created_ns(container) >= before) {
      return false;
    }
    if (!not_labels.empty() && label_filters_match(not_labels, container.config.labels)) {
      return false;
    }
    return label_filters_match(labels, container.config.labels);
  });
}

}  // namespace nacelle::api
