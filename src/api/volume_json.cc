#include "api/volume_json.h"

#include "api/docker_fields.h"
#include "api/route.h"
#include "codec/json_fields.h"

namespace nacelle::api {

void write_volume(codec::json::Writer& json, const engine::Volume& volume,
                  const VolumeUsage& usage) {
  json.begin_object();
  json.member("CreatedAt", volume.created_at).member("Driver", volume.driver);
  json.key("Labels");
  write_docker(json, volume.labels);
  json.member("Mountpoint", volume.mountpoint).member("Name", volume.name);
  json.key("Options");
  write_docker(json, volume.options);
  json.member("Scope", "local");
  if (usage) {
    json.key("UsageData").begin_object();
    json.member("RefCount", usage->second).member("Size", usage->first).end_object();
  }
  json.end_object();
}

namespace {

struct Fields {
  VolumeCreateRequest& request;
  template <class V>
  void describe(V& v) {
    v("Name", request.name);
    v("Driver", request.driver);
    v("Labels", request.labels);
    v("DriverOpts", request.options);
  }
};

}  // namespace

Result<VolumeCreateRequest> read_volume_create(std::string_view body) {
  VolumeCreateRequest request;
  if (body.empty()) return request;
  const auto document = TRY(parse_body(body));
  Fields fields{request};
  TRY(codec::json::read_fields(document.root(), fields));
  return request;
}

}  // namespace nacelle::api
