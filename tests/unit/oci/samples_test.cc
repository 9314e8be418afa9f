#include "tests/unit/oci/samples.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "oci/spec_parse.h"

namespace nacelle::oci {

std::string_view full_config() {
  return R"json({
"ociVersion": "1.3.0-rc.1+build",
"process": {
  "terminal": true, "consoleSize": {"height": 25, "width": 80},
  "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5, 6], "username": ""},
  "args": ["sh", "-c"], "env": ["PATH=/bin", "EMPTY="], "cwd": "/root",
  "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
    "inheritable": ["CAP_CHECKPOINT_RESTORE"], "ambient": ["CAP_CHOWN"]},
  "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
  "noNewPrivileges": true, "apparmorProfile": "p", "selinuxLabel": "l", "oomScoreAdj": -5,
  "scheduler": {"policy": "SCHED_DEADLINE", "nice": 1, "priority": 0, "runtime": 1000000,
    "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"], "deadline": 2000000, "period": 3000000},
  "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
  "execCPUAffinity": {"initial": "7", "final": "0-3,7"}
},
"root": {"path": "rootfs", "readonly": true},
"hostname": "h", "domainname": "d",
"mounts": [
  {"destination": "/a", "type": "none", "source": "/b", "options": ["rbind", "idmap"],
   "uidMappings": [{"containerID": 0, "hostID": 9, "size": 1}],
   "gidMappings": [{"containerID": 0, "hostID": 9, "size": 1}]},
  {"destination": "relative", "type": "tmpfs"}
],
"hooks": {
  "prestart": [{"path": "/p", "args": ["a"], "env": ["K=V"], "timeout": 5}],
  "createRuntime": [{"path": "/p"}], "createContainer": [{"path": "/p"}],
  "startContainer": [{"path": "/p"}], "poststart": [{"path": "/p"}], "poststop": [{"path": "/p"}]
},
"annotations": {"com.example/key": "value"},
"linux": {
  "namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}, {"type": "network"}, {"type": "mount"},
    {"type": "ipc"}, {"type": "uts"}, {"type": "user"}, {"type": "cgroup"}, {"type": "time"}],
  "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
  "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
  "timeOffsets": {"monotonic": {"secs": -3, "nanosecs": 4}, "boottime": {"secs": 3}},
  "devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438,
    "uid": 0, "gid": 0}, {"type": "p", "path": "/dev/pipe"}],
  "netDevices": {"eth0": {"name": "c0"}},
  "cgroupsPath": "/a/b",
  "resources": {
    "devices": [{"allow": false, "type": "c", "major": 1, "minor": 3, "access": "rw"}],
    "memory": {"limit": 100, "reservation": 50, "swap": 200, "kernel": -1, "kernelTCP": -1,
      "swappiness": 0, "disableOOMKiller": false, "useHierarchy": true, "checkBeforeUpdate": true},
    "cpu": {"shares": 1024, "quota": 10000, "burst": 1000, "period": 50000, "realtimeRuntime": 95,
      "realtimePeriod": 100, "cpus": "2-3", "mems": "0", "idle": 0},
    "pids": {"limit": 7},
    "blockIO": {"weight": 10, "leafWeight": 10,
      "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
      "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
      "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
      "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 600}],
      "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 600}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 5}]},
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}},
    "unified": {"io.max": "259:0 rbps=1\n253:0 wiops=2"}
  },
  "intelRdt": {"closID": "c", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20",
    "schemata": ["L2:0=f"], "enableMonitoring": true},
  "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]},
  "sysctl": {"net.core.somaxconn": "256"},
  "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
  "rootfsPropagation": "slave",
  "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
  "mountLabel": "m",
  "personality": {"domain": "LINUX32", "flags": []}
}
})json";
}

std::string_view full_seccomp() {
  return R"json({
"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
"flags": ["SECCOMP_FILTER_FLAG_LOG"],
"listenerPath": "/run/listener", "listenerMetadata": "m",
"syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_TRACE", "errnoRet": 2,
  "args": [{"index": 5, "value": 18446744073709551615, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]}]
})json";
}

std::string config_with(const Overrides& overrides) {
  const auto more = [](std::string_view text) { return cat(text.empty() ? "" : ",", text); };
  return cat(
      R"({"ociVersion":"1.2.1","process":{"cwd":"/","args":["sh"])", more(overrides.process),
      R"(},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"pid"},{"type":"network"},)",
      R"({"type":"mount"},{"type":"ipc"},{"type":"uts"},{"type":"cgroup"}])",
      more(overrides.linux_), "}", more(overrides.top), "}");
}

namespace {

TEST(OciSamples, are_right) {
  const auto full = parse_spec(full_config());
  EXPECT_TRUE(full) << full.error().message();
  const auto seccomp = parse_seccomp(full_seccomp());
  EXPECT_TRUE(seccomp) << seccomp.error().message();
  const auto small = parse_spec(config_with({}));
  EXPECT_TRUE(small) << small.error().message();
}

}  // namespace
}  // namespace nacelle::oci
