// ps.
#include <algorithm>
#include <cstdio>
#include <map>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/units.h"

#include <time.h>

namespace nacelle::cli {

namespace {

constexpr std::string_view table =
    "{{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}";
constexpr std::string_view table_with_size =
    "{{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}"
    "\\t"
    "{{.Size}}";

const Headings headings = {{"ID", "CONTAINER ID"},
                           {"Names", "NAMES"},
                           {"Image", "IMAGE"},
                           {"Platform", "PLATFORM"},
                           {"Command", "COMMAND"},
                           {"CreatedAt", "CREATED AT"},
                           {"RunningFor", "CREATED"},
                           {"Ports", "PORTS"},
                           {"State", "STATE"},
                           {"Status", "STATUS"},
                           {"Size", "SIZE"},
                           {"Labels", "LABELS"},
                           {"LocalVolumes", "LOCAL VOLUMES"},
                           {"Mounts", "MOUNTS"},
                           {"Networks", "NETWORKS"}};

std::string shortened(const std::string& text, size_t size_max) {
  if (text.size() <= size_max) return text;
  // Not inside a character.
  size_t end = size_max - 1;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

struct Port {
  int64_t inside = 0, outside = 0;
  std::string ip, protocol;
  auto operator<=>(const Port&) const = default;
};

std::string with_port(const std::string& ip, const std::string& port) {
  return ip.contains(':') ? cat('[', ip, "]:", port) : cat(ip, ':', port);
}

// Ports in a row are shown as a range where outside they are the same or are not published.
std::string ports_text(const Datum& given) {
  std::vector<Port> ports;
  for (const Datum& each : given.items()) {
    ports.push_back({.inside = each["PrivatePort"].integer(),
                     .outside = each["PublicPort"].integer(),
                     .ip = each["IP"].text(),
                     .protocol = each["Type"].text()});
  }
  std::ranges::sort(ports);
  struct Range {
    int64_t first, last;
  };
  std::map<std::pair<std::string, std::string>, Range> open;  // by address and protocol
  std::vector<std::string> shown, moved;
  const auto close = [&shown](const std::pair<std::string, std::string>& key, const Range& range) {
    const std::string ports_of =
        range.first == range.last ? cat(range.first) : cat(range.first, '-', range.last);
    const std::string inside = cat(ports_of, '/', key.second);
    shown.push_back(key.first.empty() ? inside : cat(with_port(key.first, ports_of), "->", inside));
  };
  for (const Port& port : ports) {
    if (port.outside != 0 && port.outside != port.inside) {
      moved.push_back(
          cat(with_port(port.ip, cat(port.outside)), "->", port.inside, '/', port.protocol));
      continue;
    }
    const std::pair<std::string, std::string> key{port.outside == 0 ? "" : port.ip, port.protocol};
    const auto known = open.find(key);
    if (known != open.end() && known->second.last + 1 == port.inside) {
      known->second.last = port.inside;
      continue;
    }
    if (known != open.end()) close(key, known->second);
    open[key] = {port.inside, port.inside};
  }
  for (const auto& [key, range] : open) close(key, range);
  shown.insert(shown.end(), moved.begin(), moved.end());
  std::string text;
  for (const std::string& each : shown) text += cat(text.empty() ? "" : ", ", each);
  return text;
}

std::string names_of(const Datum& container, bool whole) {
  std::string text;
  for (const Datum& each : container["Names"].items()) {
    std::string_view name = each.text();
    if (name.starts_with('/')) name.remove_prefix(1);
    // Names that links have given have a slash inside.
    if (!whole && name.contains('/')) continue;
    text += cat(text.empty() ? "" : ",", name);
  }
  return text;
}

std::string labels_of(const Datum& labels) {
  std::string text;
  Datum sorted = labels;
  sorted.sort_members();
  for (const auto& [key, value] : sorted.members()) {
    text += cat(text.empty() ? "" : ",", key, '=', value.text());
  }
  return text;
}

Datum row_of(const Datum& container, bool whole) {
  const std::string& id = container["Id"].text();
  std::string image = container["Image"].text();
  if (image.empty()) image = "<no image>";
  if (!whole && image.starts_with("sha256:")) image = image.substr(7, 12);
  std::string command = container["Command"].text();
  if (!whole) command = shortened(command, 20);
  const int64_t created = container["Created"].integer();
  std::string mounts, networks;
  int64_t volumes = 0;
  for (const Datum& mount : container["Mounts"].items()) {
    const std::string& name = mount["Name"].text();
    const std::string shown = name.empty() ? mount["Source"].text() : name;
    mounts += cat(mounts.empty() ? "" : ",", whole ? shown : shortened(shown, 15));
    if (mount["Driver"].text() == "local") ++volumes;
  }
  for (const auto& network : container["NetworkSettings"]["Networks"].members()) {
    networks += cat(networks.empty() ? "" : ",", network.key);
  }
  const auto written = static_cast<uint64_t>(container["SizeRw"].integer());
  const auto virtual_size = static_cast<uint64_t>(container["SizeRootFs"].integer());
  std::string size = human_size(written);
  if (virtual_size > 0) size += cat(" (virtual ", human_size(virtual_size), ')');

  Datum row = Datum::object();
  row.set("ID", whole ? id : id.substr(0, 12))
      .set("Names", names_of(container, whole))
      .set("Image", image)
      .set("Platform", Datum())
      .set("Command", cat('"', command, '"'))
      .set("CreatedAt", local_time(created))
      .set("RunningFor", cat(human_duration(::time(nullptr) - created), " ago"))
      .set("Ports", ports_text(container["Ports"]))
      .set("State", container["State"].text())
      .set("Status", container["Status"].text())
      .set("Size", size)
      .set("Labels", labels_of(container["Labels"]))
      .set("LocalVolumes", cat(volumes))
      .set("Mounts", mounts)
      .set("Networks", networks)
      .set("\x01labels", container["Labels"].is_null() ? Datum::object() : container["Labels"]);
  return row;
}

}  // namespace

Result<int> run_ps(Session& session, const Arguments& arguments) {
  bool all = false, latest = false, no_trunc = false, quiet = false, size = false;
  int64_t last = -1;
  std::string format;
  std::vector<std::string> filters;
  Options options("ps [OPTIONS]", "Lists containers.");
  options.flag("all", 'a', all, "Show those that do not run too")
      .list("filter", 'f', filters, "KEY=VALUE", "Which: name, status, label, ancestor, ...")
      .value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .value("last", 'n', last, "NUMBER", "Show the last that were created")
      .flag("latest", 'l', latest, "Show the last one that was created")
      .flag("no-trunc", 0, no_trunc, "Show everything in full")
      .flag("quiet", 'q', quiet, "Show ids only")
      .flag("size", 's', size, "Show sizes")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (latest && last == -1) last = 1;
  const bool wants_size = size || format.contains(".Size");
  Target target("/containers/json");
  target.flag("all", all);
  if (last > 0) target.with("limit", cat(last));
  target.flag("size", wants_size).maybe("filters", TRY(filters_json(filters)));
  Api* api = TRY(session.api());
  const Datum containers = TRY(api->get(target));
  std::vector<Datum> rows;
  for (const Datum& container : containers.items()) rows.push_back(row_of(container, no_trunc));
  if (quiet && format.empty()) format = "{{.ID}}";
  if (quiet && format == "table") format = "{{.ID}}";
  TRY(print_list(format, wants_size ? table_with_size : table, headings, rows));
  return 0;
}

}  // namespace nacelle::cli
