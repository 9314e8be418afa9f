// Goal: every way to ask for a mount means what it means to dockerd, and two for one place are an
// error. Method: one way a case, the plan as one line.
#include <functional>

#include "fixture.h"

namespace nacelle::engine {
namespace {

std::string text_of(const MountPlan& plan) {
  std::string text = cat(plan.point.type, " ", plan.point.name, plan.point.source, " -> ",
                         plan.point.destination, " ", plan.point.rw ? "rw" : "ro");
  if (!plan.point.mode.empty()) text += cat(" mode=", plan.point.mode);
  if (!plan.point.propagation.empty()) text += cat(" ", plan.point.propagation);
  if (!plan.point.driver.empty() && plan.point.driver != "local")
    text += cat(" ", plan.point.driver);
  if (plan.anonymous) text += " anonymous";
  if (plan.no_copy) text += " nocopy";
  if (plan.create_source) text += " create";
  if (!plan.subpath.empty()) text += cat(" subpath=", plan.subpath);
  text += " [";
  for (const std::string& option : plan.options) {
    text += cat(text.ends_with('[') ? "" : ",", option);
  }
  return text + "]";
}

std::string plan_of(const std::function<void(CreateRequest&)>& change,
                    const std::vector<std::vector<MountPoint>>& from = {}) {
  CreateRequest request = plain_request();
  change(request);
  const auto plans = plan_mounts(request, from);
  if (!plans) return plans.error().message();
  std::string text;
  for (const MountPlan& plan : *plans) text += (text.empty() ? "" : "; ") + text_of(plan);
  return text;
}
std::string bind(const std::string& raw) {
  return plan_of([&](CreateRequest& r) { r.host.binds = {raw}; });
}

TEST(Mounts, are_asked_for_by_binds) {
  struct Case {
    const char* raw;
    const char* plan;
  };
  const Case cases[] = {
      {"/a:/b", "bind /a -> /b rw rprivate create [rbind,rprivate]"},
      {"/a/../c/:/b//d/", "bind /c -> /b/d rw rprivate create [rbind,rprivate]"},
      {"/a:/b:ro", "bind /a -> /b ro mode=ro rprivate create [rbind,rro,rprivate]"},
      {"/a:/b:rw,z", "bind /a -> /b rw mode=rw,z rprivate create [rbind,rprivate]"},
      {"/a:/b:rslave,ro", "bind /a -> /b ro mode=rslave,ro rslave create [rbind,rro,rslave]"},
      {"/a:/b:cached", "bind /a -> /b rw mode=cached rprivate create [rbind,rprivate]"},
      {"vol:/b", "volume vol -> /b rw mode=z [rbind,rprivate]"},
      {"vol:/b:ro", "volume vol -> /b ro mode=ro [rbind,rro,rprivate]"},
      {"vol:/b:nocopy", "volume vol -> /b rw mode=nocopy nocopy [rbind,rprivate]"},
      {"/b", "volume  -> /b rw mode=z anonymous [rbind,rprivate]"},
      {"", "invalid volume specification: ''"},
      {":/b", "invalid volume specification: ':/b'"},
      {"/b:ro", "invalid volume specification: '/b:ro'"},
      {"/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"},
      {"/a:/b:nope", "invalid mode: nope"},
      {"/a:/b:ro,rw", "invalid mode: ro,rw"},
      {"/a:/b:ro,", "invalid mode: ro,"},
      {"/a:/b:slave,shared", "invalid mode: slave,shared"},
      {"vol:/b:slave",
       "invalid volume specification: 'vol:/b:slave': invalid mount config for type \"volume\": "
       "field "
       "BindOptions must not be specified"},
      {"/a:b",
       "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid "
       "mount "
       "path: 'b' mount path must be absolute"},
      {"/a:/",
       "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid "
       "specification: destination can't be '/'"},
      {"/a:/b/..",
       "invalid volume specification: '/a:/b/..': invalid mount config for type \"bind\": invalid "
       "specification: destination can't be '/'"},
      {"vol:", "invalid volume specification: 'vol:'"},
  };
  for (const Case& c : cases) EXPECT_EQ(bind(c.raw), c.plan) << c.raw;
}

std::string request(const MountRequest& mount) {
  return plan_of([&](CreateRequest& r) { r.host.mounts = {mount}; });
}
MountRequest of(const char* type, const char* source, const char* target) {
  MountRequest mount;
  mount.type = type;
  mount.source = source;
  mount.target = target;
  return mount;
}

TEST(Mounts, are_asked_for_by_mounts) {
  EXPECT_EQ(request(of("bind", "/a", "/b")), "bind /a -> /b rw rprivate [rbind,rprivate]");
  EXPECT_EQ(request(of("volume", "v", "/b")), "volume v -> /b rw mode=z [rbind,rprivate]");
  EXPECT_EQ(request(of("volume", "", "/b")), "volume  -> /b rw mode=z anonymous [rbind,rprivate]");
  EXPECT_EQ(request(of("tmpfs", "", "/b")), "tmpfs  -> /b rw [noexec,nosuid,nodev,rprivate]");
  EXPECT_EQ(request(of("image", "busybox", "/b")), "image busybox -> /b ro [rbind,rro,rprivate]");

  MountRequest mount = of("bind", "/a", "/b");
  mount.read_only = true;
  EXPECT_EQ(request(mount), "bind /a -> /b ro rprivate [rbind,rro,rprivate]");
  mount.bind_options.emplace().read_only_non_recursive = true;
  EXPECT_EQ(request(mount), "bind /a -> /b ro rprivate [rbind,ro,rprivate]");
  mount.bind_options = BindOptions{};
  mount.bind_options->non_recursive = true;
  mount.bind_options->propagation = "rshared";
  mount.bind_options->create_mountpoint = true;
  EXPECT_EQ(request(mount), "bind /a -> /b ro rshared create [bind,ro,rshared]");

  mount = of("volume", "v", "/b");
  mount.volume_options.emplace().no_copy = true;
  mount.volume_options->subpath = "in/side";
  mount.volume_options->driver_config.emplace().name = "nfs";
  EXPECT_EQ(request(mount), "volume v -> /b rw mode=z nfs nocopy subpath=in/side [rbind,rprivate]");

  mount = of("tmpfs", "", "/b");
  mount.read_only = true;
  mount.tmpfs_options.emplace().size_bytes = 4096;
  mount.tmpfs_options->mode = 01777;
  mount.tmpfs_options->options = {{"exec"}};
  EXPECT_EQ(request(mount), "tmpfs  -> /b ro [nosuid,nodev,rprivate,ro,size=4096,mode=1777,exec]");
}

TEST(Mounts, are_refused_when_they_make_no_sense) {
  const auto complaint = [](MountRequest mount, const std::function<void(MountRequest&)>& change) {
    change(mount);
    return request(mount);
  };
  const auto none = [](MountRequest&) {};
  const std::string b = "invalid mount config for type \"bind\": ";
  const std::string v = "invalid mount config for type \"volume\": ";
  const std::string t = "invalid mount config for type \"tmpfs\": ";
  EXPECT_EQ(complaint(of("bind", "/a", ""), none), b + "field Target must not be empty");
  EXPECT_EQ(complaint(of("bind", "", "/b"), none), b + "field Source must not be empty");
  EXPECT_EQ(complaint(of("bind", "a", "/b"), none),
            b + "invalid mount path: 'a' mount path must be absolute");
  EXPECT_EQ(complaint(of("bind", "/a", "b"), none),
            b + "invalid mount path: 'b' mount path must be absolute");
  EXPECT_EQ(complaint(of("bind", "/a", "//."), none),
            b + "invalid specification: destination can't be '/'");
  EXPECT_EQ(complaint(of("bind", "/a", "/b"), [](MountRequest& m) { m.volume_options.emplace(); }),
            b + "field VolumeOptions must not be specified");
  EXPECT_EQ(complaint(of("bind", "/a", "/b"),
                      [](MountRequest& m) { m.bind_options.emplace().propagation = "x"; }),
            b + "invalid propagation mode: x");
  EXPECT_EQ(complaint(of("bind", "/a\n/c", "/b"), none), b + "control characters are not allowed");
  EXPECT_EQ(complaint(of("volume", "v", "/b"), [](MountRequest& m) { m.bind_options.emplace(); }),
            v + "field BindOptions must not be specified");
  EXPECT_EQ(complaint(of("volume", "", "/b"), [](MountRequest& m) { m.read_only = true; }),
            v + "must not set ReadOnly mode when using anonymous volumes");
  EXPECT_EQ(complaint(of("volume", "", "/b"),
                      [](MountRequest& m) { m.volume_options.emplace().subpath = "x"; }),
            v + "must not set Subpath when using anonymous volumes");
  for (const char* subpath : {"../x", "/x", "a/../../x", ".."}) {
    EXPECT_EQ(complaint(of("volume", "v", "/b"),
                        [&](MountRequest& m) { m.volume_options.emplace().subpath = subpath; }),
              v + "subpath must be a relative path within the volume");
  }
  EXPECT_EQ(complaint(of("tmpfs", "/a", "/b"), none), t + "field Source must not be specified");
  EXPECT_EQ(complaint(of("tmpfs", "", "/b"), [](MountRequest& m) { m.bind_options.emplace(); }),
            t + "field BindOptions must not be specified");
  EXPECT_EQ(complaint(of("tmpfs", "", "/b"),
                      [](MountRequest& m) { m.tmpfs_options.emplace().options = {{"nope"}}; }),
            t + "invalid option: nope");
  EXPECT_EQ(complaint(of("image", "", "/b"), none),
            "invalid mount config for type \"image\": field Source must not be empty");
  EXPECT_EQ(complaint(of("nope", "", "/b"), none),
            "invalid mount config for type \"nope\": mount type unknown");
}

TEST(Mounts, are_one_for_a_place) {
  EXPECT_EQ(plan_of([](CreateRequest& r) { r.host.binds = {"/a:/b", "/c:/b/"}; }),
            "Duplicate mount point: /b");
  EXPECT_EQ(plan_of([](CreateRequest& r) {
              r.host.binds = {"/a:/b"};
              r.host.mounts = {of("bind", "/c", "/b")};
            }),
            "Duplicate mount point: /b");
  EXPECT_EQ(plan_of([](CreateRequest& r) {
              r.host.tmpfs["/b/"] = "";
              r.host.binds = {"/a:/b"};
            }),
            "Duplicate mount point: /b");
  EXPECT_EQ(plan_of([](CreateRequest& r) {
              r.host.tmpfs["/b/"] = "";
              r.host.mounts = {of("tmpfs", "", "/b")};
            }),
            "tmpfs  -> /b rw [noexec,nosuid,nodev,rprivate]");
}

TEST(Mounts, of_images_are_volumes_where_nothing_is) {
  EXPECT_EQ(plan_of([](CreateRequest& r) {
              r.config.volumes["/data"];
              r.config.volumes["/b"];
              r.config.volumes["/t"];
              r.host.tmpfs["/t"] = "";
              r.host.binds = {"/a:/b"};
            }),
            "bind /a -> /b rw rprivate create [rbind,rprivate]; volume  -> /data rw anonymous "
            "[rbind,rprivate]");
  EXPECT_EQ(plan_of([](CreateRequest& r) { r.config.volumes["/"]; }),
            "invalid specification: destination can't be '/'");
  EXPECT_EQ(plan_of([](CreateRequest& r) { r.config.volumes["data"]; }),
            "volume  -> /data rw anonymous [rbind,rprivate]");
}

TEST(Mounts, can_be_another_containers) {
  MountPoint volume;
  volume.type = "volume";
  volume.name = "v";
  volume.destination = "/v";
  MountPoint other = volume;
  other.type = "bind";
  other.name = "";
  other.source = "/o";
  other.destination = "/o";
  other.rw = false;
  const std::vector<std::vector<MountPoint>> from = {{volume, other}};
  const auto with = [&](const char* spec, const std::vector<std::string>& binds = {}) {
    return plan_of(
        [&](CreateRequest& r) {
          r.host.volumes_from = {spec};
          r.host.binds = binds;
        },
        from);
  };
  EXPECT_EQ(with("c"),
            "volume v -> /v rw nocopy [rbind,rprivate]; bind /o -> /o ro nocopy "
            "[rbind,rro,rprivate]");
  EXPECT_EQ(with("c:rw"), with("c"));
  EXPECT_EQ(with("c:ro"),
            "volume v -> /v ro nocopy [rbind,rro,rprivate]; bind /o -> /o ro nocopy "
            "[rbind,rro,rprivate]");
  EXPECT_EQ(with("c", {"/mine:/v"}),
            "bind /mine -> /v rw rprivate create [rbind,rprivate]; bind /o -> /o ro nocopy "
            "[rbind,rro,rprivate]");
  EXPECT_EQ(with(""), "volumes-from specification cannot be an empty string");
  EXPECT_EQ(with("c:x"), "invalid mode: x");
  EXPECT_EQ(with("c:"), "invalid mode: ");
  EXPECT_EQ(with("c:slave"), "invalid mode: slave");
  EXPECT_EQ(with("c:nocopy"), "invalid mode: nocopy");
}

TEST(Mounts, of_memory_have_options_that_are_known) {
  const auto check = [](const char* options) {
    CreateRequest request = plain_request();
    request.host.tmpfs["/t"] = options;
    return message_of(check_request(request));
  };
  EXPECT_EQ(check(""), "ok");
  EXPECT_EQ(check("rw,size=64m,mode=1777,uid=1,gid=2,nr_inodes=3"), "ok");
  for (const char* bad : {"nope", "context=x", "bind", "remount", "size", "source=/etc"}) {
    EXPECT_EQ(check(bad), cat("invalid tmpfs option \"", bad, "\""));
  }
  CreateRequest request = plain_request();
  request.host.tmpfs["t"] = "";
  EXPECT_EQ(message_of(check_request(request)),
            "invalid mount path: 't' mount path must be absolute");
}

}  // namespace
}  // namespace nacelle::engine
