// Goal: the Spec of a container is what dockerd 28 would give its runtime. Method: one comparison
// with dockerd's own for the plain case, then one option a case.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "container/cgroup_wire.h"
#include "container/launch_plan.h"
#include "fixture.h"
#include "oci/names.h"

namespace nacelle::engine {
namespace {

class Specs : public testing::Test {
 protected:
  Specs() : builder_(*SpecBuilder::open(cache_.path() + "/filters")) {
    image_.write("/etc/passwd", "root:x:0:0::/root:\nweb:x:33:44::/:\n");
    image_.write("/etc/group", "root:x:0:\nwww:x:44:\n");
  }
  SpecInput input_for(const CreateRequest& request) {
    SpecInput input;
    input.request = &request;
    input.id = "e2c34a5888a6f00df00df00df00df00df00df00df00df00df00df00df00df00d";
    input.cgroup_path = "e2c34a5888a6";
    input.init_program = "/usr/libexec/nacelle-init";
    return input;
  }
  Result<oci::Spec> try_build(const CreateRequest& request) {
    return builder_->build(input_for(request), image_.root());
  }
  oci::Spec build(const CreateRequest& request) {
    auto spec = try_build(request);
    EXPECT_TRUE(spec) << spec.error().message();
    return spec ? *std::move(spec) : oci::Spec();
  }
  oci::Spec build_with(const std::function<void(CreateRequest&)>& change) {
    CreateRequest request;
    request.config.cmd = {.set = true, .words = {"true"}};
    change(request);
    fill_defaults(request);
    return build(request);
  }
  std::string complaint_with(const std::function<void(CreateRequest&)>& change) {
    CreateRequest request;
    request.config.cmd = {.set = true, .words = {"true"}};
    change(request);
    fill_defaults(request);
    return message_of(try_build(request));
  }

  Tree cache_, image_;
  std::unique_ptr<SpecBuilder> builder_;
};

std::string text_of(const oci::Mount& mount) {
  std::string text = cat(mount.destination, " ", mount.type, " ", mount.source);
  for (const std::string& option : mount.options) text += cat(" ", option);
  return text;
}
std::vector<std::string> texts_of(const std::vector<oci::Mount>& mounts) {
  std::vector<std::string> texts;
  for (const oci::Mount& mount : mounts) texts.push_back(text_of(mount));
  return texts;
}
std::string mount_at(const oci::Spec& spec, std::string_view destination) {
  std::string found;
  for (const oci::Mount& mount : spec.mounts) {
    if (mount.destination == destination) found += text_of(mount);
  }
  return found;
}
std::string text_of(const oci::DeviceRule& rule) {
  const auto number = [](const std::optional<int64_t>& n) { return n ? cat(*n) : "*"; };
  return cat(rule.allow ? "+" : "-", rule.type, " ", number(rule.major), ":", number(rule.minor),
             " ", rule.access);
}
// dockerd says its rules twice; saying a rule again at once changes nothing.
std::vector<std::string> rules_of(const oci::Spec& spec) {
  std::vector<std::string> texts;
  for (const oci::DeviceRule& rule : spec.linux_->resources.devices) texts.push_back(text_of(rule));
  const size_t half = texts.size() / 2;
  if (texts.size() % 2 == 0 &&
      std::equal(texts.begin(), texts.begin() + half, texts.begin() + half))
    texts.resize(half);
  return texts;
}
std::vector<oci::NamespaceType> namespaces_of(const oci::Spec& spec) {
  std::vector<oci::NamespaceType> types;
  for (const oci::Namespace& each : spec.linux_->namespaces) {
    EXPECT_EQ(each.path, "");
    types.push_back(each.type);
  }
  return types;
}
bool has(const oci::Spec& spec, oci::NamespaceType type) {
  const auto types = namespaces_of(spec);
  return std::ranges::find(types, type) != types.end();
}

TEST_F(Specs, are_dockerds) {
  CreateRequest request = plain_request();
  request.host.network_mode = "none";
  const oci::Spec ours = build(request), theirs = docker_spec();
  EXPECT_EQ(ours.hostname, theirs.hostname);
  EXPECT_EQ(ours.process->args, theirs.process->args);
  EXPECT_EQ(ours.process->env, theirs.process->env);
  EXPECT_EQ(ours.process->cwd, theirs.process->cwd);
  EXPECT_EQ(ours.process->user.uid, theirs.process->user.uid);
  EXPECT_EQ(ours.process->user.gid, theirs.process->user.gid);
  EXPECT_EQ(ours.process->user.additional_gids, theirs.process->user.additional_gids);
  EXPECT_EQ(ours.process->terminal, theirs.process->terminal);
  EXPECT_EQ(ours.process->no_new_privileges, theirs.process->no_new_privileges);
  EXPECT_EQ(ours.process->oom_score_adj, theirs.process->oom_score_adj);
  EXPECT_EQ(ours.process->capabilities->bounding, theirs.process->capabilities->bounding);
  EXPECT_EQ(ours.process->capabilities->effective, theirs.process->capabilities->effective);
  EXPECT_EQ(ours.process->capabilities->permitted, theirs.process->capabilities->permitted);
  EXPECT_EQ(ours.process->capabilities->inheritable, 0u);
  EXPECT_EQ(ours.process->capabilities->ambient, 0u);
  EXPECT_EQ(texts_of(ours.mounts), texts_of(theirs.mounts));
  EXPECT_EQ(ours.linux_->sysctl, theirs.linux_->sysctl);
  EXPECT_EQ(rules_of(ours), rules_of(theirs));
  EXPECT_EQ(namespaces_of(ours), namespaces_of(theirs));
  EXPECT_EQ(ours.linux_->readonly_paths, theirs.linux_->readonly_paths);
  // The test's processors may have files that tell their heat; those come after.
  auto masked = ours.linux_->masked_paths;
  std::erase_if(masked, [](const std::string& path) { return path.ends_with("thermal_throttle"); });
  EXPECT_EQ(masked, theirs.linux_->masked_paths);
  EXPECT_EQ(ours.linux_->rootfs_propagation, theirs.linux_->rootfs_propagation);
  EXPECT_EQ(ours.linux_->devices.size(), theirs.linux_->devices.size());
}

TEST_F(Specs, limit_open_files_unless_asked) {
  const auto limits = build_with([](CreateRequest&) {}).process->rlimits;
  ASSERT_EQ(limits.size(), 1u);
  EXPECT_EQ(limits[0].resource, 7);
  EXPECT_EQ(limits[0].soft, 1024u);
  EXPECT_EQ(limits[0].hard, 524288u);
  const auto asked = build_with([](CreateRequest& r) {
                       r.host.ulimits = {{"nofile", 9, 5}, {"core", -1, 0}, {"NPROC", -1, -1}};
                     }).process->rlimits;
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ(asked[0].soft, 5u);
  EXPECT_EQ(asked[0].hard, 9u);
  EXPECT_EQ(asked[1].hard, ~uint64_t{0});
  EXPECT_EQ(asked[2].resource, 6);
}

TEST_F(Specs, set_the_environment) {
  const auto env = [&](const std::vector<std::string>& own, bool tty = false) {
    return build_with([&](CreateRequest& r) {
             r.config.env = own;
             r.config.tty = tty;
           })
        .process->env;
  };
  using Env = std::vector<std::string>;
  const std::string path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  const std::string host = "HOSTNAME=e2c34a5888a6";
  EXPECT_EQ(env({}), (Env{path, host}));
  EXPECT_EQ(env({}, true), (Env{path, host, "TERM=xterm"}));
  EXPECT_EQ(env({"TERM=dumb"}, true), (Env{path, host, "TERM=dumb"}));
  EXPECT_EQ(env({"PATH=/x", "A=1"}), (Env{"PATH=/x", host, "A=1"}));
  EXPECT_EQ(env({"PATH"}), (Env{host}));
  EXPECT_EQ(env({"NOPE"}), (Env{path, host}));
  EXPECT_EQ(env({"A=", "B=x=y"}), (Env{path, host, "A=", "B=x=y"}));
  EXPECT_EQ(env({"HOSTNAME"}), (Env{path}));
}

TEST_F(Specs, name_the_host) {
  EXPECT_EQ(build_with([](CreateRequest& r) { r.config.hostname = "web"; }).hostname, "web");
  EXPECT_EQ(build_with([](CreateRequest& r) { r.config.domainname = "x.org"; }).domainname,
            "x.org");
  const oci::Spec shared = build_with([](CreateRequest& r) { r.host.uts_mode = "host"; });
  EXPECT_EQ(shared.hostname, "");
  EXPECT_FALSE(has(shared, oci::NamespaceType::Uts));
}

TEST_F(Specs, join_and_share_namespaces) {
  using enum oci::NamespaceType;
  struct Case {
    std::string HostConfig::* mode;
    oci::NamespaceType type;
    const char* joins;
  };
  const Case cases[] = {
      {&HostConfig::pid_mode, Pid, "container:x"},   {&HostConfig::ipc_mode, Ipc, "container:x"},
      {&HostConfig::network_mode, Network, nullptr}, {&HostConfig::cgroupns_mode, Cgroup, nullptr},
      {&HostConfig::uts_mode, Uts, nullptr},
  };
  for (const Case& c : cases) {
    EXPECT_TRUE(has(build_with([](CreateRequest&) {}), c.type));
    EXPECT_FALSE(has(build_with([&](CreateRequest& r) { r.host.*c.mode = "host"; }), c.type));
    if (c.joins == nullptr) continue;
    EXPECT_FALSE(has(build_with([&](CreateRequest& r) { r.host.*c.mode = c.joins; }), c.type));
  }
  EXPECT_FALSE(has(build_with([](CreateRequest& r) { r.host.userns_mode = "host"; }), User));
  EXPECT_TRUE(
      build_with([](CreateRequest& r) { r.host.network_mode = "host"; }).linux_->sysctl.empty());
}

TEST_F(Specs, give_shared_memory_as_asked) {
  const auto shm = [&](std::string_view mode, int64_t size = 0) {
    return mount_at(build_with([&](CreateRequest& r) {
                      r.host.ipc_mode = mode;
                      r.host.shm_size = size;
                    }),
                    "/dev/shm");
  };
  const std::string plain = "/dev/shm tmpfs shm nosuid noexec nodev mode=1777 size=67108864";
  EXPECT_EQ(shm(""), plain);
  EXPECT_EQ(shm("private"), plain);
  EXPECT_EQ(shm("shareable"), plain);
  EXPECT_EQ(shm("none"), "");
  EXPECT_EQ(shm("host"), "/dev/shm bind /dev/shm rbind rprivate");
  EXPECT_EQ(shm("", 4096), "/dev/shm tmpfs shm nosuid noexec nodev mode=1777 size=4096");
}

TEST_F(Specs, run_what_image_and_request_say) {
  const auto args = [&](const std::vector<std::string>& entrypoint,
                        const std::vector<std::string>& command, bool init = false,
                        std::string_view pid_mode = "") {
    return build_with([&](CreateRequest& r) {
             r.config.entrypoint = {true, entrypoint};
             r.config.cmd = {true, command};
             r.host.init = init;
             r.host.pid_mode = pid_mode;
           })
        .process->args;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(args({"/e", "a"}, {"b", ""}), (Words{"/e", "a", "b", ""}));
  EXPECT_EQ(args({}, {"b"}), (Words{"b"}));
  EXPECT_EQ(args({"/e"}, {}, true), (Words{"/sbin/docker-init", "--", "/e"}));
  EXPECT_EQ(args({"/e"}, {}, true, "host"), (Words{"/e"}));
  EXPECT_EQ(complaint_with([](CreateRequest& r) { r.config.cmd = {}; }), "no command specified");
  EXPECT_EQ(mount_at(build_with([](CreateRequest& r) { r.host.init = true; }), "/sbin/docker-init"),
            "/sbin/docker-init bind /usr/libexec/nacelle-init bind ro nosuid");
}

TEST_F(Specs, tell_the_terminals_size) {
  const oci::Spec spec = build_with([](CreateRequest& r) {
    r.config.tty = true;
    r.host.console_size = {24, 80};
  });
  EXPECT_TRUE(spec.process->terminal);
  EXPECT_EQ(spec.process->console_size.height, 24);
  EXPECT_EQ(spec.process->console_size.width, 80);
}

uint64_t caps(std::initializer_list<const char*> names) {
  uint64_t bits = 0;
  for (const char* name : names) bits |= uint64_t{1} << *oci::find_capability(name);
  return bits;
}

TEST_F(Specs, give_and_take_capabilities) {
  const auto bounding = [&](std::vector<std::string> add, std::vector<std::string> drop,
                            bool privileged = false) {
    return build_with([&](CreateRequest& r) {
             r.host.cap_add = add;
             r.host.cap_drop = drop;
             r.host.privileged = privileged;
           })
        .process->capabilities->bounding;
  };
  const uint64_t usual = docker_spec().process->capabilities->bounding;
  EXPECT_EQ(bounding({}, {}), usual);
  EXPECT_EQ(bounding({"NET_ADMIN"}, {}), usual | caps({"CAP_NET_ADMIN"}));
  EXPECT_EQ(bounding({"cap_net_admin"}, {}), usual | caps({"CAP_NET_ADMIN"}));
  EXPECT_EQ(bounding({}, {"chown"}), usual & ~caps({"CAP_CHOWN"}));
  EXPECT_EQ(bounding({}, {"ALL"}), 0u);
  EXPECT_EQ(bounding({"CHOWN"}, {"all"}), caps({"CAP_CHOWN"}));
  EXPECT_EQ(bounding({"CHOWN"}, {"CHOWN"}), usual);
  const uint64_t every = bounding({"ALL"}, {});
  EXPECT_NE(every & caps({"CAP_SYS_ADMIN"}), 0u);
  EXPECT_EQ(bounding({"ALL"}, {"SYS_ADMIN"}), every & ~caps({"CAP_SYS_ADMIN"}));
  EXPECT_EQ(bounding({}, {"ALL"}, true), every);
}

TEST_F(Specs, of_privileged_containers_hide_nothing) {
  const oci::Spec spec = build_with([](CreateRequest& r) { r.host.privileged = true; });
  EXPECT_TRUE(spec.linux_->masked_paths.empty());
  EXPECT_TRUE(spec.linux_->readonly_paths.empty());
  EXPECT_EQ(spec.linux_->seccomp_json, "");
  EXPECT_EQ(mount_at(spec, "/sys"), "/sys sysfs sysfs nosuid noexec nodev");
  EXPECT_EQ(mount_at(spec, "/sys/fs/cgroup"), "/sys/fs/cgroup cgroup cgroup nosuid noexec nodev");
  EXPECT_EQ(rules_of(spec), (std::vector<std::string>{"+a *:* rwm"}));
  const auto& devices = spec.linux_->devices;
  const auto there = [&](std::string_view path) {
    return std::ranges::count(devices, path, &oci::Device::path);
  };
  EXPECT_EQ(there("/dev/null"), 1);
  EXPECT_EQ(there("/dev/ptmx"), 0);
  EXPECT_EQ(there("/dev/console"), 0);
  EXPECT_TRUE(std::ranges::none_of(
      devices, [](const oci::Device& each) { return each.path.starts_with("/dev/pts/"); }));
  const oci::Spec filtered = build_with([](CreateRequest& r) {
    r.host.privileged = true;
    r.host.security_opt = {"seccomp=builtin"};
  });
  EXPECT_NE(filtered.linux_->seccomp_json, "");
}

TEST_F(Specs, mount_what_was_asked_for) {
  CreateRequest request = plain_request();
  request.host.tmpfs["/run"] = "size=64k,exec";
  SpecInput input = input_for(request);
  input.directory = "/data/c";
  MountPlan bind;
  bind.point.type = "bind";
  bind.point.source = "/srv";
  bind.point.destination = "/mnt/a/b";
  bind.options = {"rbind", "rro", "rprivate"};
  MountPlan hosts = bind;
  hosts.point.destination = "/etc/hosts";
  MountPlan tmpfs;
  tmpfs.point.type = "tmpfs";
  tmpfs.point.destination = "/dev/shm";
  tmpfs.options = {"noexec"};
  input.mounts = {bind, hosts, tmpfs};
  const auto spec = builder_->build(input, image_.root());
  ASSERT_TRUE(spec) << spec.error().message();
  EXPECT_EQ(mount_at(*spec, "/run"), "/run tmpfs tmpfs nosuid nodev rprivate size=64k exec");
  EXPECT_EQ(mount_at(*spec, "/mnt/a/b"), "/mnt/a/b bind /srv rbind rro rprivate");
  EXPECT_EQ(mount_at(*spec, "/etc/hosts"), "/etc/hosts bind /srv rbind rro rprivate");
  EXPECT_EQ(mount_at(*spec, "/etc/hostname"), "/etc/hostname bind /data/c/hostname rbind rprivate");
  EXPECT_EQ(mount_at(*spec, "/etc/resolv.conf"),
            "/etc/resolv.conf bind /data/c/resolv.conf rbind rprivate");
  EXPECT_EQ(mount_at(*spec, "/dev/shm"), "/dev/shm tmpfs tmpfs noexec");
  EXPECT_EQ(spec->mounts.back().destination, "/mnt/a/b");  // the deepest comes last
}

TEST_F(Specs, leave_a_whole_dev_alone) {
  CreateRequest request = plain_request();
  SpecInput input = input_for(request);
  MountPlan dev;
  dev.point.type = "bind";
  dev.point.source = dev.point.destination = "/dev";
  dev.options = {"rbind"};
  input.mounts = {dev};
  const auto spec = builder_->build(input, image_.root());
  ASSERT_TRUE(spec);
  for (const oci::Mount& mount : spec->mounts) {
    EXPECT_FALSE(mount.destination.starts_with("/dev/")) << mount.destination;
  }
}

TEST_F(Specs, propagate_mounts_as_asked) {
  const auto propagation = [&](std::string_view word) {
    CreateRequest request = plain_request();
    SpecInput input = input_for(request);
    MountPlan bind;
    bind.point.type = "bind";
    bind.point.source = bind.point.destination = "/srv";
    bind.point.propagation = word;
    input.mounts = {bind};
    return builder_->build(input, image_.root())->linux_->rootfs_propagation;
  };
  EXPECT_EQ(propagation("rprivate"), oci::Propagation::Unset);
  EXPECT_EQ(propagation("rshared"), oci::Propagation::Shared);
  EXPECT_EQ(propagation("slave"), oci::Propagation::Slave);
}

TEST_F(Specs, can_be_read_only) {
  const oci::Spec spec = build_with([](CreateRequest& r) { r.host.readonly_rootfs = true; });
  EXPECT_TRUE(spec.root->readonly);
  for (const char* path : {"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"}) {
    EXPECT_EQ(mount_at(spec, path).find(" ro"), std::string::npos) << path;
  }
}

TEST_F(Specs, filter_system_calls_as_asked) {
  const auto filter = [&](const std::vector<std::string>& options) {
    return build_with([&](CreateRequest& r) { r.host.security_opt = options; })
        .linux_->seccomp_json;
  };
  EXPECT_NE(filter({}), "");
  EXPECT_EQ(filter({"seccomp=unconfined"}), "");
  EXPECT_EQ(filter({"seccomp:unconfined"}), "");
  EXPECT_EQ(filter({"seccomp=builtin"}), filter({}));
  EXPECT_EQ(filter({R"(seccomp={"defaultAction":"SCMP_ACT_ALLOW"})"}),
            R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]})");
  EXPECT_TRUE(complaint_with([](CreateRequest& r) {
                r.host.security_opt = {"seccomp={"};
              }).starts_with("Decoding seccomp profile failed: "));
  EXPECT_FALSE(build_with([](CreateRequest&) {}).process->no_new_privileges);
  for (const char* option :
       {"no-new-privileges", "no-new-privileges=true", "no-new-privileges:1"}) {
    EXPECT_TRUE(build_with([&](CreateRequest& r) {
                  r.host.security_opt = {option};
                }).process->no_new_privileges);
  }
  EXPECT_NE(
      mount_at(build_with([](CreateRequest& r) { r.host.security_opt = {"writable-cgroups"}; }),
               "/sys/fs/cgroup"),
      "");
  for (const char* ignored : {"apparmor=unconfined", "apparmor=docker-default", "label=disable",
                              "label=type:x", "disable"}) {
    EXPECT_EQ(complaint_with([&](CreateRequest& r) { r.host.security_opt = {ignored}; }), "ok");
  }
}

TEST_F(Specs, bring_devices) {
  const oci::Spec spec = build_with([](CreateRequest& r) {
    r.host.devices = {{"/dev/null", "/dev/nothing", "r"}, {"/dev/zero", "", ""}};
    r.host.device_cgroup_rules = {"c 42:* rmw", "b *:7 m", "a *:* r"};
  });
  ASSERT_EQ(spec.linux_->devices.size(), 2u);
  const oci::Device& nothing = spec.linux_->devices[0];
  EXPECT_EQ(nothing.path, "/dev/nothing");
  EXPECT_EQ(nothing.type, 'c');
  EXPECT_EQ(nothing.major, 1);
  EXPECT_EQ(nothing.minor, 3);
  EXPECT_EQ(spec.linux_->devices[1].path, "/dev/zero");
  const auto rules = rules_of(spec);
  const std::vector<std::string> own(rules.end() - 5, rules.end());
  EXPECT_EQ(own, (std::vector<std::string>{"+c 1:3 r", "+c 1:5 rwm", "+c 42:* rmw", "+b *:7 m",
                                           "+a *:* r"}));
}

TEST_F(Specs, bring_directories_of_devices) {
  Tree tree;
  tree.write("/d/file", "x");
  tree.link("/d/link", "/dev/null");
  ASSERT_EQ(::mkdir((tree.path() + "/d/sub").c_str(), 0755), 0);
  if (::mknod((tree.path() + "/d/sub/n").c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0) {
    GTEST_SKIP() << "needs to make device nodes";
  }
  const oci::Spec spec = build_with(
      [&](CreateRequest& r) { r.host.devices = {{tree.path() + "/d/", "/dev/dir", "rw"}}; });
  ASSERT_EQ(spec.linux_->devices.size(), 1u);
  EXPECT_EQ(spec.linux_->devices[0].path, "/dev/dir/sub/n");
  EXPECT_EQ(spec.linux_->devices[0].file_mode, 0600u);
}

TEST_F(Specs, refuse_devices_that_are_none) {
  const auto complaint = [&](const DeviceMapping& device) {
    return complaint_with([&](CreateRequest& r) { r.host.devices = {device}; });
  };
  const std::string head = "error gathering device information while adding custom device ";
  EXPECT_EQ(complaint({"/dev/no-such", "/dev/x", "rwm"}),
            head + "\"/dev/no-such\": no such file or directory");
  EXPECT_EQ(complaint({"/etc/passwd", "/dev/x", "rwm"}),
            head + "\"/etc/passwd\": not a device node");
  EXPECT_EQ(complaint({"dev/null", "/dev/x", "rwm"}), head + "\"dev/null\": not an absolute path");
  EXPECT_EQ(complaint({"/dev/null", "dev/x", "rwm"}), head + "\"/dev/null\": not an absolute path");
  EXPECT_EQ(complaint({"/dev/null", "/dev/x", "rwx"}), "invalid device mode: rwx");
  EXPECT_EQ(complaint_with([](CreateRequest& r) {
              r.host.device_requests = {{"", -1, {}, {{"gpu", "compute"}, {"x"}}, {}}};
            }),
            "could not select device driver \"\" with capabilities: [[gpu compute] [x]]");
}

TEST_F(Specs, limit_resources) {
  const oci::Resources r = build_with([](CreateRequest& request) {
                             HostConfig& host = request.host;
                             host.memory = 64 << 20;
                             host.memory_reservation = 32 << 20;
                             host.cpu_shares = 512;
                             host.nano_cpus = 1'500'000'000;
                             host.cpuset_cpus = "0";
                             host.pids_limit = 100;
                             host.blkio_weight = 300;
                           }).linux_->resources;
  EXPECT_EQ(r.memory->limit, 64 << 20);
  EXPECT_EQ(r.memory->swap, 128 << 20);
  EXPECT_EQ(r.memory->reservation, 32 << 20);
  EXPECT_EQ(r.cpu->shares, 512u);
  EXPECT_EQ(r.cpu->period_us, 100000u);
  EXPECT_EQ(r.cpu->quota_us, 150000);
  EXPECT_EQ(r.cpu->cpus, "0");
  EXPECT_EQ(r.pids_limit, 100);
  EXPECT_EQ(r.block_io->weight, 300);
  const oci::Resources none = build_with([](CreateRequest&) {}).linux_->resources;
  EXPECT_FALSE(none.memory || none.cpu || none.pids_limit || none.block_io);
  EXPECT_EQ(
      build_with([](CreateRequest& q) { q.host.pids_limit = 0; }).linux_->resources.pids_limit, -1);
  const auto swap = [&](int64_t value) {
    return build_with([&](CreateRequest& q) {
             q.host.memory = 64 << 20;
             q.host.memory_swap = value;
           })
        .linux_->resources.memory->swap;
  };
  EXPECT_EQ(swap(-1), -1);
  EXPECT_EQ(swap(64 << 20), 64 << 20);
  const oci::Resources periods = build_with([](CreateRequest& q) {
                                   q.host.cpu_period = 50000;
                                   q.host.cpu_quota = 25000;
                                 }).linux_->resources;
  EXPECT_EQ(periods.cpu->period_us, 50000u);
  EXPECT_EQ(periods.cpu->quota_us, 25000);
  EXPECT_TRUE(complaint_with([](CreateRequest& q) {
                q.host.blkio_device_read_bps = {{"/dev/no-such", 1}};
              }).starts_with("stat /dev/no-such: No such file or directory"));
}

TEST_F(Specs, say_what_a_start_is_told) {
  EXPECT_EQ(complaint_with([](CreateRequest& r) { r.config.user = "nobody"; }),
            "unable to find user nobody: no matching entries in passwd file");
  CreateRequest request = plain_request();
  request.config.user = "nobody";
  EXPECT_EQ(try_build(request).error().kind(), Kind::Internal);  // as dockerd: 500
  const oci::Spec spec = build_with([](CreateRequest& r) { r.config.user = "web:www"; });
  EXPECT_EQ(spec.process->user.uid, 33u);
  EXPECT_EQ(spec.process->user.gid, 44u);
}

TEST_F(Specs, compile_to_plans) {
  const oci::Spec spec = build(plain_request());
  const auto compiled = builder_->compile(spec);
  ASSERT_TRUE(compiled) << compiled.error().message();
  const auto view = container::PlanView::check(compiled->plan);
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_GT(view->items(view->header().process.seccomp).size(), 50u);
  EXPECT_EQ(view->view(view->header().root), "/run/nacelle/root");
  const auto cgroup = container::decode_cgroup_plan(compiled->cgroup_plan);
  ASSERT_TRUE(cgroup) << cgroup.error().message();
  EXPECT_FALSE(cgroup->device_program.empty());
  EXPECT_TRUE(compiled->warnings.empty());
}

TEST_F(Specs, compile_once_per_profile) {
  const oci::Spec spec = build(plain_request());
  const auto first = builder_->compile(spec);
  const auto again = builder_->compile(spec);
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->plan, again->plan);
  // Far above what it takes, far below what compiling a profile takes unoptimised.
  const auto begin = std::chrono::steady_clock::now();
  constexpr int rounds = 20;
  for (int i = 0; i < rounds; ++i) ASSERT_TRUE(builder_->compile(spec));
  const auto took = (std::chrono::steady_clock::now() - begin) / rounds;
  RecordProperty(
      "compile_us",
      static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  EXPECT_LT(took, std::chrono::milliseconds(20));
}

TEST_F(Specs, compile_updates) {
  HostConfig host;
  host.memory = 64 << 20;
  host.memory_swap = 128 << 20;
  host.pids_limit = -1;
  const auto bytes = builder_->compile_update(host);
  ASSERT_TRUE(bytes) << bytes.error().message();
  const auto plan = container::decode_cgroup_plan(*bytes);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->device_program.empty());
  const auto writes = [&](std::string_view file, std::string_view value) {
    return std::ranges::any_of(plan->writes, [&](const container::ControlWrite& write) {
      return write.file == file && write.value == value;
    });
  };
  EXPECT_TRUE(writes("memory.max", "67108864"));
  EXPECT_TRUE(writes("memory.swap.max", "67108864"));
  EXPECT_TRUE(writes("pids.max", "max"));
  host.memory = 1;
  EXPECT_EQ(message_of(builder_->compile_update(host)), "Minimum memory limit allowed is 6MB");
}

}  // namespace
}  // namespace nacelle::engine
