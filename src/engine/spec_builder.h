// From what was asked for and what the image says to what core executes: ContainerConfig and
// HostConfig become an oci::Spec as dockerd 28 makes it (capabilities, masks, default mounts,
// seccomp profile, devices, limits), and that becomes a LaunchPlan and a CgroupPlan. Reads the
// image's /etc/passwd and /etc/group from descriptors, bounded, never through a link out of the
// image (CVE-2024-9676). Errors are what Docker's API says, with its Kind.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "container/cgroup_plan.h"
#include "dns/messages.h"
#include "engine/model.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "oci/image.h"
#include "oci/spec.h"

namespace nacelle::engine {

// A request with what the image and the engine's defaults add (entrypoint, command, environment,
// user, working directory, labels, volumes, stop signal, health check): what inspect shows.
Result<> merge_image_config(CreateRequest& request, const oci::RunConfig& image);
// Everything a create can refuse without looking at the host: names, limits, modes, capabilities,
// ulimits, ports, mounts, restart policy with auto-remove, ... (400 in Docker's words).
Result<> check_request(const CreateRequest& request);
Result<> check_exec(const ExecConfig& config);
// Host config as inspect shows it: defaults filled in (ShmSize 67108864, IpcMode "private",
// CgroupnsMode "private", LogConfig, PidsLimit, MaskedPaths, ...). `shm_bytes` is the engine's.
inline constexpr int64_t default_shm_bytes_of_docker = 64 << 20;
void fill_defaults(CreateRequest& request, int64_t shm_bytes = default_shm_bytes_of_docker);

// Mounts that were asked for, in all of Docker's ways (Binds, Mounts, Volumes, VolumesFrom), one
// per destination. Sources of volumes are names. HostConfig.Tmpfs is not among them, as it is not
// among inspect's: SpecBuilder reads it by itself.
struct MountPlan {
  MountPoint point;  // as inspect shows it
  bool anonymous = false, no_copy = false, create_source = false;
  std::string subpath;
  std::vector<std::string> options;  // for the oci::Mount
  std::string file_system;           // "tmpfs", "nfs": mounted inside from `source`; empty: a bind
  std::vector<std::string> layers;   // chains of an image that is mounted, lowest first
};
Result<std::vector<MountPlan>> plan_mounts(
    const CreateRequest& request, const std::vector<std::vector<MountPoint>>& volumes_from);

struct SpecInput {
  const CreateRequest* request = nullptr;
  std::string id;
  std::string directory;          // the container's: hostname, hosts, resolv.conf lie there
  std::vector<MountPlan> mounts;  // with sources resolved to paths
  std::string init_program;       // bound at /sbin/docker-init where HostConfig.Init
  std::string cgroup_path;        // below core's root cgroup
  bool own_network = true;
  std::string cgroup_parent;
};
struct Compiled {
  std::string plan;         // LaunchPlan
  std::string cgroup_plan;  // container/cgroup_wire.h
  std::vector<std::string> warnings;
  // The user as inspect's exec shows, and of exec's default.
  uint32_t uid = 0, gid = 0;
};

// Compiled seccomp filters are kept (by profile), as are other things that every start shares.
class SpecBuilder {
 public:
  // `cache_directory`: for compiled filters, below the run directory.
  static Result<std::unique_ptr<SpecBuilder>> open(std::string cache_directory);
  ~SpecBuilder();
  // `root`: the image's file system (a mount or a tree), for users and groups.
  Result<oci::Spec> build(const SpecInput& input, const Fd& root);
  Result<Compiled> compile(const oci::Spec& spec);
  // New limits for a running container.
  Result<std::string> compile_update(const HostConfig& host);

  struct State;

 private:
  explicit SpecBuilder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// "user[:group]" by the image's files: numbers first, as Docker; -1 kinds refused. An empty `root`
// has no files: then only numbers are found.
struct ResolvedUser {
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> additional_gids;
  std::string home;
};
Result<ResolvedUser> resolve_user(std::string_view user, const std::vector<std::string>& group_add,
                                  const Fd& root);

// The texts of the files every container has of its own. `host_gateway` is what an extra host's
// "host-gateway" means; without it such entries are left out.
std::string hosts_file(const CreateRequest& request, const std::string& hostname,
                       const std::vector<std::pair<std::string, std::string>>& address_and_names,
                       std::string_view host_gateway = {});
// `embedded`: names are answered at 127.0.0.11. `hosts_own`: the host's file. Where that names
// systemd's server on the loopback device alone, which a container on the default network cannot
// reach, the servers are those of `behind`: the file of those that systemd asks.
std::string resolv_conf(const HostConfig& host, std::string_view hosts_own, bool embedded,
                        std::string_view behind = {});
inline constexpr const char* resolv_conf_behind = "/run/systemd/resolve/resolv.conf";
// Whom the one that answers there asks for what it does not know.
std::vector<dns::Upstream> upstreams_of(const HostConfig& host, std::string_view hosts_own);
// Somebody has said how many dots a name has that is looked up outside, and not none.
bool has_ndots_set(const HostConfig& host, std::string_view hosts_own);

}  // namespace nacelle::engine
