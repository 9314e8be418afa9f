// The engine as a whole: that it is there, what it is, what happens, what takes room.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "api/api.h"
#include "api/container_json.h"
#include "api/event_routes.h"
#include "api/image_json.h"
#include "api/image_transfer.h"
#include "api/registry_auth.h"
#include "api/route.h"
#include "api/system_json.h"
#include "api/volume_json.h"
#include "base/text.h"
#include "bpf/pins.h"
#include "codec/json_writer.h"
#include "engine/build.h"
#include "engine/disk_usage.h"
#include "engine/host_info.h"
#include "engine/moment.h"
#include "image/build_cache.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;

// Headers as every answer has them are the server's.
ring::Task<> ping(Call& call) {
  http::Headers headers{{"Builder-Version", "2"},
                        {"Cache-Control", "no-cache, no-store, must-revalidate"},
                        {"Pragma", "no-cache"},
                        {"Swarm", "inactive"}};
  const bool head = call.http.request().method == "HEAD";
  co_await call.http.reply(200, "text/plain; charset=utf-8", head ? "" : "OK", std::move(headers));
}

ring::Task<> version(Call& call) {
  const std::string text = version_json(engine::read_host_info(call.engine.options.data_root));
  co_await reply_json(call, 200, text);
}

ring::Task<> info(Call& call) {
  co_await call.engine.containers->all_loaded();
  InfoCounts counts;
  counts.images = (co_await call.engine.images->store().images()).size();
  for (const engine::Container* each : call.engine.containers->all()) {
    switch (each->state.phase) {
      case engine::Phase::Running:
      case engine::Phase::Restarting: ++counts.running; break;
      case engine::Phase::Paused: ++counts.paused; break;
      default: ++counts.stopped;
    }
  }
  engine::HostInfo host = engine::read_host_info(call.engine.options.data_root);
  const std::string pins = bpf::pins_directory(call.engine.options.run_directory);
  host.links_watched = bpf::open_pin(pins, "link_ingress").has_value();
  if (!host.links_watched) {
    host.warnings.emplace_back(
        "WARNING: No BPF programs on containers' links: nftables alone keeps networks apart");
  }
  co_await reply_json(call, 200, info_json(call.engine, host, counts));
}

// Disk usage -------------------------------------------------------------------------------------

struct Wanted {
  bool containers = true, images = true, volumes = true, build_cache = true;
};

Result<Wanted> read_types(const Call& call) {
  Wanted wanted;
  bool any = false;
  for (const auto& [name, value] : call.http.request().query) {
    if (name != "type") continue;
    if (!std::exchange(any, true)) wanted = {false, false, false, false};
    if (value == "container") {
      wanted.containers = true;
    } else if (value == "image") {
      wanted.images = true;
    } else if (value == "volume") {
      wanted.volumes = true;
    } else if (value == "build-cache") {
      wanted.build_cache = true;
    } else {
      return fail(Kind::Invalid, cat("unknown object type: ", value));
    }
  }
  return wanted;
}

std::map<std::string, int64_t> users_of_images(engine::Engine& engine) {
  std::map<std::string, int64_t> users;
  for (const engine::Container* each : engine.containers->all()) ++users[each->image_id];
  return users;
}

ring::Task<> write_images(Call& call, Writer& json) {
  const std::vector<image::Details> all = co_await call.engine.images->list();
  const std::vector<int64_t> shared = shared_sizes(*call.engine.images, all);
  const auto users = users_of_images(call.engine);
  json.member("LayersSize", layers_size(*call.engine.images, all));
  json.key("Images").begin_array();
  for (size_t at = 0; at < all.size(); ++at) {
    const auto used = users.find(all[at].id().text());
    ImageSizes sizes;
    sizes.bytes = call.engine.images->size(all[at]);
    sizes.shared = shared[at];
    sizes.containers = used == users.end() ? 0 : used->second;
    write_image_summary(json, all[at], repo_tags(all[at]), repo_digests(all[at]), sizes,
                        call.version);
  }
  json.end_array();
}

ring::Task<> write_containers(Call& call, Writer& json) {
  const auto usage = co_await engine::container_usage(call.engine);
  const int64_t now_ns = engine::now_ns();
  json.key("Containers").begin_array();
  for (const engine::ContainerUsage& each : usage) {
    const auto container = co_await as_result(call.engine.containers->find(each.id));
    if (container) write_summary(json, **container, Sizes({each.written, each.with_image}), now_ns);
  }
  json.end_array();
}

ring::Task<> write_volumes(Call& call, Writer& json) {
  const auto usage = co_await engine::volume_usage(call.engine);
  json.key("Volumes").begin_array();
  for (const engine::VolumeUsage& each : usage) {
    write_volume(json, each.volume,
                 std::pair(static_cast<int64_t>(each.bytes), static_cast<int64_t>(each.holders)));
  }
  json.end_array();
}

ring::Task<> write_build_cache(Call& call, Writer& json) {
  constexpr int64_t ns_per_s = 1'000'000'000;
  const image::BuildCache cache(call.engine.images->store());
  json.begin_array();
  for (const image::BuildCache::Listed& each : co_await cache.list()) {
    json.begin_object();
    json.member("ID", each.step.key.hex().substr(0, engine::cache_id_digits));
    json.member("Type", "regular").member("Description", each.step.description);
    json.member("InUse", false).member("Shared", false).member("Size", each.step.bytes);
    json.member("CreatedAt", engine::moment_text(each.step.created_s * ns_per_s));
    json.member("LastUsedAt", engine::moment_text(each.used_s * ns_per_s));
    json.member("UsageCount", 1).end_object();
  }
  json.end_array();
}

ring::Task<> disk_usage(Call& call) {
  const Wanted wanted = co_await read_types(call);
  co_await call.engine.containers->all_loaded();
  Writer json;
  json.begin_object();
  if (wanted.images) {
    co_await write_images(call, json);
  } else {
    json.member("LayersSize", 0).key("Images").null();
  }
  if (wanted.containers) {
    co_await write_containers(call, json);
  } else {
    json.key("Containers").null();
  }
  if (wanted.volumes) {
    co_await write_volumes(call, json);
  } else {
    json.key("Volumes").null();
  }
  json.key("BuildCache");
  if (wanted.build_cache) {
    co_await write_build_cache(call, json);
  } else {
    json.null();
  }
  json.end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

// Logging in -------------------------------------------------------------------------------------

ring::Task<> log_in(Call& call) {
  const std::string body = co_await read_json_body(call);
  RegistryAuth auth = co_await read_registry_auth(body);
  const std::string registry = registry_of(auth.server);
  const Result<> checked =
      co_await as_result(call.engine.images->check_login(registry, std::move(auth.credentials)));
  if (!checked) {
    // 401 is what clients look for.
    const int status = checked.error().kind() == Kind::Denied ? 401 : 500;
    co_await reply_error(call.http, status, checked.error().message());
    co_return;
  }
  Writer json;
  json.begin_object().member("IdentityToken", "").member("Status", "Login Succeeded").end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

}  // namespace

std::vector<Route> system_routes() {
  return {
      {"GET", "/_ping", ping},   {"HEAD", "/_ping", ping},   {"GET", "/version", version},
      {"GET", "/info", info},    {"GET", "/events", events}, {"GET", "/system/df", disk_usage},
      {"POST", "/auth", log_in},
  };
}

}  // namespace nacelle::api
