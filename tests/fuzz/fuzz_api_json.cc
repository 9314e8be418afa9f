// What clients send to the Docker API: bodies, filters, times, paths. Nothing of it may do more
// than be refused, and what is taken must come out of inspect and of the list as JSON.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/container_filters.h"
#include "api/container_json.h"
#include "api/json_requests.h"
#include "api/route.h"
#include "base/check.h"
#include "codec/json.h"
#include "codec/json_writer.h"

namespace {

using namespace nacelle;

void check_is_json(const std::string& text) {
  // Escapes make the answer larger and deeper than the question.
  const auto document =
      codec::json::Document::parse(text, {.bytes_max = 64u << 20, .depth_max = 96});
  CHECK(document.has_value());
}

void fuzz_create(std::string_view body) {
  auto request = api::read_create_request(body);
  if (!request) return;
  (void)api::move_mac_address(*request);
  engine::Container container;
  container.id = "0123456789ab";
  container.config = std::move(request->config);
  container.host = std::move(request->host);
  container.endpoints = std::move(request->networking.endpoints);
  container.args = container.config.cmd.words;
  container.state.phase = engine::Phase::Running;
  check_is_json(api::inspect_json(container, api::Sizes({1, 2})));
  codec::json::Writer json;
  api::write_summary(json, container, {}, 0);
  check_is_json(std::move(json).take());
}

void fuzz_filters(std::string_view text) {
  engine::Container container;
  container.id = "0123456789ab";
  container.name = "web";
  container.config.labels = {{"a", "b"}};
  container.config.exposed_ports = {{"80/tcp", {}}};
  if (auto criteria = api::read_criteria(text)) {
    criteria->all = true;
    (void)api::matches(*criteria, container);
  }
  if (const auto chosen = api::prune_choice(text)) {
    (void)(*chosen)(container);
  }
}

void fuzz_path(std::string_view path) {
  static const api::Table table({{"GET", "/containers/{id}/json", nullptr},
                                 {"GET", "/images/{name...}/json", nullptr},
                                 {"GET", "/images/{name...}", nullptr},
                                 {"GET", "/_ping", nullptr}});
  (void)api::take_version(path);
  std::vector<std::string> variables;
  (void)table.find("GET", path, variables);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'c': fuzz_create(text); break;
    case 'u': (void)api::read_update_request(text); break;
    case 'e': (void)api::read_exec_config(text); break;
    case 's': (void)api::read_exec_start(text); break;
    case 'f': fuzz_filters(text); break;
    case 't': (void)api::read_time(text); break;
    case 'p': fuzz_path(text); break;
    default: break;
  }
  return 0;
}
