#include "api/event_filters.h"

#include <algorithm>

#include "codec/json_writer.h"

namespace nacelle::api {
namespace {

using engine::Event;

const std::vector<std::string>* find_filter(const Filters& filters, const std::string& name) {
  const auto found = filters.find(name);
  return found == filters.end() || found->second.empty() ? nullptr : &found->second;
}

std::string attribute(const Event& event, const std::string& name) {
  const auto found = event.attributes.find(name);
  return found == event.attributes.end() ? std::string() : found->second;
}

// "exec_start" stands for "exec_start: sh" and its kin.
bool matches_action(const std::string& wanted, const std::string& action) {
  const bool takes_all = wanted == "health_status" || wanted == "exec_create" ||
                         wanted == "exec_start" || wanted == "exec_die";
  return takes_all ? action.starts_with(wanted) : action == wanted;
}

std::string without_tag(const std::string& name) {
  const size_t colon = name.rfind(':');
  const bool is_port = colon != std::string::npos && name.find('/', colon) != std::string::npos;
  return colon == std::string::npos || is_port || name.contains('@') ? name : name.substr(0, colon);
}

bool matches_image(const std::vector<std::string>& wanted, const Event& event) {
  const std::string name = attribute(event, event.type == "image" ? "name" : "image");
  return std::ranges::any_of(wanted, [&](const std::string& each) {
    return each == event.actor || each == without_tag(event.actor) ||
           (!name.empty() && (each == name || each == without_tag(name)));
  });
}

}  // namespace

Result<Filters> read_event_filters(std::string_view text) {
  return read_filters(text, {"config", "container", "daemon", "event", "image", "label", "network",
                             "node", "plugin", "scope", "secret", "service", "type", "volume"});
}

bool matches_event(const Filters& filters, const Event& event) {
  const auto any = [&](const char* filter, const auto& is_it) {
    const auto* values = find_filter(filters, filter);
    return values == nullptr || std::ranges::any_of(*values, is_it);
  };
  if (!any("type", [&](const auto& each) { return each == event.type; })) return false;
  if (!any("event", [&](const auto& each) { return matches_action(each, event.action); })) {
    return false;
  }
  if (!any("scope", [&](const auto& each) { return each == "local"; })) return false;
  const std::string name = attribute(event, "name");
  for (const char* kind : {"container", "volume", "network", "daemon", "plugin", "service", "node",
                           "secret", "config"}) {
    const bool passes = any(kind, [&](const std::string& each) {
      return event.type == kind &&
             (event.actor.starts_with(each) || (!name.empty() && name.starts_with(each)));
    });
    if (!passes) return false;
  }
  if (const auto* images = find_filter(filters, "image");
      images && !matches_image(*images, event)) {
    return false;
  }
  const auto* labels = find_filter(filters, "label");
  return labels == nullptr || label_filters_match(*labels, event.attributes);
}

std::string event_line(const Event& event) {
  codec::json::Writer json;
  json.begin_object();
  if (event.type == "container" || event.type == "image") {
    json.member("status", event.action).member("id", event.actor);
    const std::string from = attribute(event, "image");
    if (!from.empty() && event.type == "container") json.member("from", from);
  }
  json.member("Type", event.type).member("Action", event.action);
  json.key("Actor").begin_object().member("ID", event.actor).key("Attributes").begin_object();
  for (const auto& [key, value] : event.attributes) json.member(key, value);
  json.end_object().end_object();
  json.member("scope", "local");
  json.member("time", event.time_ns / 1'000'000'000).member("timeNano", event.time_ns);
  json.end_object();
  return std::move(json).take() + "\n";
}

}  // namespace nacelle::api
