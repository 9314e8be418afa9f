// Goal: a configuration that is wrong gets one line with the path at fault, since that line is all
// the user of `docker run` sees. Method: one broken field per case, in a configuration that is
// otherwise right.
#include <gtest/gtest.h>

#include <string>

#include "base/text.h"
#include "oci/spec_parse.h"
#include "tests/unit/oci/samples.h"

namespace nacelle::oci {
namespace {

struct Case {
  std::string_view broken;
  std::string_view complaint;
};

void expect_complaint(const std::string& config, const Case& c) {
  const auto spec = parse_spec(config);
  ASSERT_FALSE(spec) << c.broken;
  EXPECT_EQ(spec.error().message(), c.complaint) << c.broken;
  EXPECT_EQ(spec.error().kind(), Kind::Invalid);
}

TEST(OciBroken, top_level) {
  const Case cases[] = {
      {R"("ociVersion":null)", "ociVersion: missing"},
      {R"("ociVersion":"2.0.0")", "ociVersion: '2.0.0': unsupported"},
      {R"("ociVersion":"0.9.0")", "ociVersion: '0.9.0': unsupported"},
      {R"("ociVersion":"")", "ociVersion: '': not a version"},
      {R"("ociVersion":"1.0")", "ociVersion: '1.0': not a version"},
      {R"("ociVersion":"1.0.0.0")", "ociVersion: '1.0.0.0': not a version"},
      {R"("ociVersion":"v1.0.0")", "ociVersion: 'v1.0.0': not a version"},
      {R"("ociVersion":"1.01.0")", "ociVersion: '1.01.0': not a version"},
      {R"("ociVersion":"1.0.0-")", "ociVersion: '1.0.0-': not a version"},
      {R"("ociVersion":"1.0.0-a..b")", "ociVersion: '1.0.0-a..b': not a version"},
      {R"("ociVersion":"1.0.0+")", "ociVersion: '1.0.0+': not a version"},
      {R"("ociVersion":"1.0.0\n")", "ociVersion: '1.0.0\\n': not a version"},
      {R"("process":null)", "process: missing"},
      {R"("process":{"args":["sh"]})", "process.cwd: missing"},
      {R"("process":{"cwd":"/","args":["sh",7]})", "process.args[1]: expected a string"},
      {R"("root":null)", "root: missing"},
      {R"("root":{})", "root.path: missing"},
      {R"("root":{"path":""})", "root.path: must not be empty"},
      {R"("root":{"path":"a\u0000b"})", "root.path: must not contain a NUL character"},
      {R"("hostname":"x","linux":{})", "hostname: needs a uts namespace"},
      {R"("domainname":"x","linux":null)", "domainname: needs a uts namespace"},
      {R"("hostname":"12345678901234567890123456789012345678901234567890123456789012345")",
       "hostname: longer than 64 bytes"},
      {R"("annotations":{"":"x"})", "annotations: has an empty key"},
      {R"("annotations":{"a.b":1})", "annotations['a.b']: expected a string"},
      {R"("root":{"path":"r","readonly":true},"linux":{})",
       "root.readonly: needs a mount namespace"},
  };
  for (const Case& c : cases) expect_complaint(config_with({.top = c.broken}), c);
}

TEST(OciBroken, mounts) {
  const Case cases[] = {
      {R"({})", "mounts[0].destination: missing"},
      {R"({"destination":""})", "mounts[0].destination: must not be empty"},
      {R"({"destination":"/a"},{"destination":"/a"})", "mounts[1]: the same as mounts[0]"},
      {R"({"destination":"a","type":"t","source":"s","options":["o"]},{"destination":"/b"},)"
       R"({"destination":"/a","type":"t","source":"s","options":["o"]})",
       "mounts[2]: the same as mounts[0]"},
      {R"({"destination":"/a","options":["bind","idmap"]})",
       "mounts[0].options: 'idmap' needs mappings, here or of a user namespace"},
      {R"({"destination":"/a","options":["rbind","ridmap"]})",
       "mounts[0].options: 'idmap' needs mappings, here or of a user namespace"},
      {R"({"destination":"/a","uidMappings":[{"containerID":0,"hostID":0,"size":1}]})",
       "mounts[0].gidMappings: missing: mappings of users and of groups come together"},
      {R"({"destination":"/a","gidMappings":[{"containerID":0,"hostID":0,"size":1}]})",
       "mounts[0].uidMappings: missing: mappings of users and of groups come together"},
      {R"({"destination":"/a","uidMappings":[{"containerID":0,"hostID":0,"size":0}]})",
       "mounts[0].uidMappings[0].size: must not be zero"},
      {R"({"destination":"/a","uidMappings":[{"hostID":0,"size":1}]})",
       "mounts[0].uidMappings[0].containerID: missing"},
  };
  for (const Case& c : cases) {
    expect_complaint(config_with({.top = cat("\"mounts\":[", c.broken, "]")}), c);
  }
  expect_complaint(config_with({.top = R"("mounts":[{"destination":"/a"}],"linux":{})"}),
                   {"no mount namespace", "mounts: needs a mount namespace"});
}

TEST(OciBroken, hooks_of_every_kind) {
  const Case cases[] = {
      {R"({})", ".path: missing"},
      {R"({"path":"a"})", ".path: must be absolute"},
      {R"({"path":""})", ".path: must be absolute"},
      {R"({"path":"/a","timeout":0})", ".timeout: must be greater than zero"},
      {R"({"path":"/a","timeout":-1})", ".timeout: must be greater than zero"},
      {R"({"path":"/a","timeout":2147483648})", ".timeout: 2147483648: out of range"},
      {R"({"path":"/a","env":["A"]})", ".env[0]: has no '='"},
  };
  for (const std::string_view kind : {"prestart", "createRuntime", "createContainer",
                                      "startContainer", "poststart", "poststop"}) {
    for (const Case& c : cases) {
      expect_complaint(config_with({.top = cat(R"("hooks":{")", kind, R"(":[)", c.broken, "]}")}),
                       {c.broken, cat("hooks.", kind, "[0]", c.complaint)});
    }
  }
}

TEST(OciBroken, process) {
  const Case cases[] = {
      {R"("cwd":null)", "process.cwd: missing"},
      {R"("cwd":"")", "process.cwd: must be absolute"},
      {R"("cwd":"tmp")", "process.cwd: must be absolute"},
      {R"("args":null)", "process.args: missing"},
      {R"("args":[])", "process.args: must not be empty"},
      {R"("args":[""])", "process.args[0]: must not be empty"},
      {R"("args":["a","b\u0000"])", "process.args[1]: must not contain a NUL character"},
      {R"("args":["a",null])", "process.args[1]: expected a string"},
      {R"("env":["A=1","B"])", "process.env[1]: has no '='"},
      {R"("env":["=1"])", "process.env[0]: has an empty name"},
      {R"("env":[""])", "process.env[0]: has no '='"},
      {R"("user":{"gid":0})", "process.user.uid: missing"},
      {R"("user":{"uid":0})", "process.user.gid: missing"},
      {R"("user":{"uid":-1,"gid":0})", "process.user.uid: -1: out of range"},
      {R"("user":{"uid":4294967296,"gid":0})", "process.user.uid: 4294967296: out of range"},
      {R"("user":{"uid":4294967295,"gid":0})", "process.user.uid: 4294967295 is no id"},
      {R"("user":{"uid":0,"gid":4294967295})", "process.user.gid: 4294967295 is no id"},
      {R"("user":{"uid":0,"gid":0,"additionalGids":[1,4294967295]})",
       "process.user.additionalGids[1]: 4294967295 is no id"},
      {R"("user":{"uid":0,"gid":0,"umask":512})", "process.user.umask: 512: out of range 0..511"},
      {R"("user":{"uid":0,"gid":0,"username":"x"})", "process.user.username: is for Windows only"},
      {R"("terminal":true,"consoleSize":{"height":1})", "process.consoleSize.width: missing"},
      {R"("terminal":true,"consoleSize":{"height":65536,"width":1})",
       "process.consoleSize.height: 65536: out of range"},
      {R"("rlimits":[{"type":"RLIMIT_X","hard":1,"soft":1}])",
       "process.rlimits[0].type: unknown resource limit 'RLIMIT_X'"},
      {R"("rlimits":[{"type":"NOFILE","hard":1,"soft":1}])",
       "process.rlimits[0].type: unknown resource limit 'NOFILE'"},
      {R"("rlimits":[{"type":"RLIMIT_CPU","soft":1}])", "process.rlimits[0].hard: missing"},
      {R"("rlimits":[{"type":"RLIMIT_CPU","hard":1}])", "process.rlimits[0].soft: missing"},
      {R"("rlimits":[{"hard":1,"soft":1}])", "process.rlimits[0].type: missing"},
      {R"("rlimits":[{"type":"RLIMIT_CPU","hard":1,"soft":2}])",
       "process.rlimits[0].soft: greater than hard"},
      {R"("rlimits":[{"type":"RLIMIT_CPU","hard":1,"soft":-1}])",
       "process.rlimits[0].soft: -1: out of range"},
      {R"("rlimits":[{"type":"RLIMIT_CPU","hard":1,"soft":1},)"
       R"({"type":"RLIMIT_CPU","hard":1,"soft":1}])",
       "process.rlimits[1].type: given twice"},
      {R"("oomScoreAdj":1001)", "process.oomScoreAdj: 1001: out of range -1000..1000"},
      {R"("oomScoreAdj":-1001)", "process.oomScoreAdj: -1001: out of range -1000..1000"},
      {R"("scheduler":{})", "process.scheduler.policy: missing"},
      {R"("scheduler":{"policy":"SCHED_X"})", "process.scheduler.policy: unknown policy 'SCHED_X'"},
      {R"("scheduler":{"policy":"SCHED_ISO"})",
       "process.scheduler.policy: 'SCHED_ISO': no kernel has it"},
      {R"("scheduler":{"policy":"SCHED_OTHER","nice":20})",
       "process.scheduler.nice: 20: out of range -20..19"},
      {R"("scheduler":{"policy":"SCHED_OTHER","nice":-21})",
       "process.scheduler.nice: -21: out of range -20..19"},
      {R"("scheduler":{"policy":"SCHED_OTHER","priority":1})",
       "process.scheduler.priority: is for SCHED_FIFO and SCHED_RR only"},
      {R"("scheduler":{"policy":"SCHED_FIFO"})",
       "process.scheduler.priority: 0: out of range 1..99"},
      {R"("scheduler":{"policy":"SCHED_RR","priority":100})",
       "process.scheduler.priority: 100: out of range 1..99"},
      {R"("scheduler":{"policy":"SCHED_RR","priority":-1})",
       "process.scheduler.priority: must not be negative"},
      {R"("scheduler":{"policy":"SCHED_OTHER","runtime":1})",
       "process.scheduler.runtime: is for SCHED_DEADLINE only"},
      {R"("scheduler":{"policy":"SCHED_OTHER","deadline":1})",
       "process.scheduler.deadline: is for SCHED_DEADLINE only"},
      {R"("scheduler":{"policy":"SCHED_OTHER","period":1})",
       "process.scheduler.period: is for SCHED_DEADLINE only"},
      {R"("scheduler":{"policy":"SCHED_DEADLINE","runtime":2,"deadline":1})",
       "process.scheduler.runtime: greater than deadline"},
      {R"("scheduler":{"policy":"SCHED_DEADLINE","runtime":1,"deadline":3,"period":2})",
       "process.scheduler.deadline: greater than period"},
      {R"("scheduler":{"policy":"SCHED_OTHER","flags":["X"]})",
       "process.scheduler.flags[0]: unknown flag 'X'"},
      {R"("ioPriority":{"priority":1})", "process.ioPriority.class: missing"},
      {R"("ioPriority":{"class":"IOPRIO_CLASS_BE"})", "process.ioPriority.priority: missing"},
      {R"("ioPriority":{"class":"X","priority":1})", "process.ioPriority.class: unknown class 'X'"},
      {R"("ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8})",
       "process.ioPriority.priority: 8: out of range 0..7"},
      {R"("ioPriority":{"class":"IOPRIO_CLASS_BE","priority":-1})",
       "process.ioPriority.priority: -1: out of range 0..7"},
      {R"("execCPUAffinity":{"initial":"3-1"})",
       "process.execCPUAffinity.initial: not a list of processors such as '0-3,7'"},
      {R"("execCPUAffinity":{"final":"1,"})",
       "process.execCPUAffinity.final: not a list of processors such as '0-3,7'"},
      {R"("execCPUAffinity":{"final":"-1"})",
       "process.execCPUAffinity.final: not a list of processors such as '0-3,7'"},
      {R"("execCPUAffinity":{"final":"1 2"})",
       "process.execCPUAffinity.final: not a list of processors such as '0-3,7'"},
      {R"("capabilities":{"bounding":"CAP_KILL"})",
       "process.capabilities.bounding: expected an array"},
      {R"("capabilities":{"ambient":[5]})", "process.capabilities.ambient[0]: expected a string"},
  };
  for (const Case& c : cases) expect_complaint(config_with({.process = c.broken}), c);
}

TEST(OciBroken, namespaces_and_mappings) {
  const Case cases[] = {
      {R"("namespaces":[{"type":"net"}])", "linux.namespaces[0].type: unknown namespace 'net'"},
      {R"("namespaces":[{"type":""}])", "linux.namespaces[0].type: unknown namespace ''"},
      {R"("namespaces":[{}])", "linux.namespaces[0].type: missing"},
      {R"("namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"pid","path":"/x"}])",
       "linux.namespaces[2].type: given twice"},
      {R"("namespaces":[{"type":"pid","path":"x"}])", "linux.namespaces[0].path: must be absolute"},
      {R"("namespaces":[{"type":"user"}])",
       "linux.uidMappings: missing: a new user namespace needs mappings"},
      {R"("namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":0,"size":1}])",
       "linux.gidMappings: missing: a new user namespace needs mappings"},
      {R"("uidMappings":[{"containerID":0,"hostID":0,"size":1}])",
       "linux.uidMappings: needs a user namespace"},
      {R"("gidMappings":[{"containerID":0,"hostID":0,"size":1}])",
       "linux.gidMappings: needs a user namespace"},
      {R"("uidMappings":[{"containerID":0,"hostID":0,"size":0}])",
       "linux.uidMappings[0].size: must not be zero"},
      {R"("uidMappings":[{"containerID":4294967295,"hostID":0,"size":1}])",
       "linux.uidMappings[0].containerID: the range goes past the last id"},
      {R"("uidMappings":[{"containerID":0,"hostID":10,"size":4294967295}])",
       "linux.uidMappings[0].hostID: the range goes past the last id"},
      {R"("uidMappings":[{"containerID":0,"hostID":0,"size":5},{"containerID":4,"hostID":9,"size":5}])",
       "linux.uidMappings[].containerID: two mappings contain id 4"},
      {R"("gidMappings":[{"containerID":0,"hostID":3,"size":5},{"containerID":9,"hostID":0,"size":5}])",
       "linux.gidMappings[].hostID: two mappings contain id 3"},
      {R"("uidMappings":[{"containerID":-1,"hostID":0,"size":1}])",
       "linux.uidMappings[0].containerID: -1: out of range"},
      {R"("timeOffsets":{"monotonic":{"secs":1}})",
       "linux.timeOffsets: needs a new time namespace"},
      {R"("namespaces":[{"type":"time","path":"/x"}],"timeOffsets":{"monotonic":{}})",
       "linux.timeOffsets: needs a new time namespace"},
      {R"("namespaces":[{"type":"time"}],"timeOffsets":{"realtime":{}})",
       "linux.timeOffsets.realtime: unknown clock: 'monotonic' and 'boottime' can be set off"},
      {R"("namespaces":[{"type":"time"}],"timeOffsets":{"boottime":{"nanosecs":1000000000}})",
       "linux.timeOffsets.boottime.nanosecs: 1000000000: out of range 0..999999999"},
  };
  for (const Case& c : cases) expect_complaint(config_with({.linux_ = c.broken}), c);
}

TEST(OciBroken, devices_paths_and_policies) {
  const Case cases[] = {
      {R"("devices":[{"path":"/d","major":1,"minor":1}])", "linux.devices[0].type: missing"},
      {R"("devices":[{"type":"x","path":"/d"}])", "linux.devices[0].type: unknown device type 'x'"},
      {R"("devices":[{"type":"","path":"/d"}])", "linux.devices[0].type: unknown device type ''"},
      {R"("devices":[{"type":"cb","path":"/d"}])",
       "linux.devices[0].type: unknown device type 'cb'"},
      {R"("devices":[{"type":"c","major":1,"minor":1}])", "linux.devices[0].path: missing"},
      {R"("devices":[{"type":"c","path":"/d","minor":1}])", "linux.devices[0].major: missing"},
      {R"("devices":[{"type":"b","path":"/d","major":1}])", "linux.devices[0].minor: missing"},
      {R"("devices":[{"type":"p","path":"d"}])", "linux.devices[0].path: must be absolute"},
      {R"("devices":[{"type":"p","path":"/d/"}])", "linux.devices[0].path: must not end in '/'"},
      {R"("devices":[{"type":"c","path":"/d","major":4096,"minor":1}])",
       "linux.devices[0].major: 4096: out of range 0..4095"},
      {R"("devices":[{"type":"c","path":"/d","major":-1,"minor":1}])",
       "linux.devices[0].major: -1: out of range 0..4095"},
      {R"("devices":[{"type":"c","path":"/d","major":1,"minor":1048576}])",
       "linux.devices[0].minor: 1048576: out of range 0..1048575"},
      {R"("devices":[{"type":"p","path":"/d","fileMode":65536}])",
       "linux.devices[0].fileMode: 65536: out of range 0..65535"},
      {R"("devices":[{"type":"p","path":"/d","uid":4294967295}])",
       "linux.devices[0].uid: 4294967295 is no id"},
      {R"("devices":[{"type":"p","path":"/d","gid":4294967295}])",
       "linux.devices[0].gid: 4294967295 is no id"},
      {R"("devices":[{"type":"p","path":"/d"},{"type":"p","path":"/d"}])",
       "linux.devices[1].path: '/d': given twice"},
      {R"("namespaces":[],"netDevices":{"eth0":{}})",
       "linux.netDevices: needs a network namespace"},
      {R"("netDevices":{"a/b":{}})",
       "linux.netDevices['a/b']: not a name a network interface can have"},
      {R"("netDevices":{"..":{}})",
       "linux.netDevices['..']: not a name a network interface can have"},
      {R"("netDevices":{"eth0":{"name":"sixteen-letters-"}})",
       "linux.netDevices.eth0.name: not a name a network interface can have"},
      {R"("netDevices":{"eth0":{"name":"a b"}})",
       "linux.netDevices.eth0.name: not a name a network interface can have"},
      {R"("netDevices":{"eth0":{"name":"x"},"eth1":{"name":"x"}})",
       "linux.netDevices.eth1.name: 'x': given twice"},
      {R"("cgroupsPath":"/a/../../b")", "linux.cgroupsPath: must not contain '..'"},
      {R"("cgroupsPath":"..")", "linux.cgroupsPath: must not contain '..'"},
      {R"("cgroupsPath":"/a\nb")", "linux.cgroupsPath: must not contain a line break"},
      {R"("rootfsPropagation":"x")", "linux.rootfsPropagation: unknown propagation 'x'"},
      {R"("maskedPaths":["proc"])", "linux.maskedPaths[0]: must be absolute"},
      {R"("readonlyPaths":["/a",""])", "linux.readonlyPaths[1]: must be absolute"},
      {R"("namespaces":[],"maskedPaths":["/a"])", "linux.maskedPaths: needs a mount namespace"},
      {R"("namespaces":[],"readonlyPaths":["/a"])", "linux.readonlyPaths: needs a mount namespace"},
      {R"("personality":{})", "linux.personality.domain: missing"},
      {R"("personality":{"domain":"BSD"})", "linux.personality.domain: unknown domain 'BSD'"},
      {R"("personality":{"domain":"LINUX","flags":["X"]})",
       "linux.personality.flags[0]: unknown flag 'X'"},
      {R"("memoryPolicy":{})", "linux.memoryPolicy.mode: missing"},
      {R"("memoryPolicy":{"mode":"MPOL_X"})", "linux.memoryPolicy.mode: unknown mode 'MPOL_X'"},
      {R"("memoryPolicy":{"mode":"MPOL_BIND"})",
       "linux.memoryPolicy.nodes: missing: this mode needs them"},
      {R"("memoryPolicy":{"mode":"MPOL_LOCAL","nodes":"0"})",
       "linux.memoryPolicy.nodes: this mode takes none"},
      {R"("memoryPolicy":{"mode":"MPOL_BIND","nodes":"a"})",
       "linux.memoryPolicy.nodes: not a list of nodes such as '0-3,7'"},
      {R"("memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["X"]})",
       "linux.memoryPolicy.flags[0]: unknown flag 'X'"},
      {R"("memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES",)"
       R"("MPOL_F_RELATIVE_NODES"]})",
       "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES contradict each "
       "other"},
      {R"("intelRdt":{"closID":"../x"})", "linux.intelRdt.closID: not a name a directory can have"},
      {R"("intelRdt":{"closID":".."})", "linux.intelRdt.closID: not a name a directory can have"},
      {R"("intelRdt":{"l3CacheSchema":"a\nb"})",
       "linux.intelRdt.l3CacheSchema: must not contain a line break"},
      {R"("intelRdt":{"memBwSchema":"a"})", "linux.intelRdt.memBwSchema: must begin with 'MB:'"},
      {R"("intelRdt":{"memBwSchema":"MB:\n"})",
       "linux.intelRdt.memBwSchema: must not contain a line break"},
      {R"("intelRdt":{"schemata":["\n"]})",
       "linux.intelRdt.schemata[0]: must not contain a line break"},
      {R"("seccomp":[])", "linux.seccomp: expected an object"},
  };
  for (const Case& c : cases) expect_complaint(config_with({.linux_ = c.broken}), c);
}

TEST(OciBroken, sysctl_that_would_reach_the_host) {
  constexpr std::string_view no_name = "not the name of a kernel parameter";
  constexpr std::string_view hosts = "belongs to the host: no namespace has one of its own";
  const Case cases[] = {
      {"kernel.shm_rmid_forced=1+kernel.core_pattern=|/x", no_name},
      {"net.ipv4.ip_forward+kernel.core_pattern", no_name},
      {"net/ipv4/ip_forward", no_name},
      {"net..ipv4", no_name},
      {"net.", no_name},
      {".net.x", no_name},
      {"", no_name},
      {"net.a b", no_name},
      {"net.a\\nb", no_name},
      {"kernel.core_pattern", hosts},
      {"kernel.pid_max", hosts},
      {"vm.overcommit_memory", hosts},
      {"fs.file-max", hosts},
      {"fs.mqueue", hosts},
      {"network.x", hosts},
      {"kernel.msgmax2", hosts},
      {"kernel.hostname", "set 'hostname' instead"},
  };
  for (const Case& c : cases) {
    const auto spec =
        parse_spec(config_with({.linux_ = cat(R"("sysctl":{")", c.broken, R"(":"1"})")}));
    ASSERT_FALSE(spec) << c.broken;
    EXPECT_TRUE(spec.error().message().starts_with("linux.sysctl[")) << spec.error().message();
    EXPECT_TRUE(spec.error().message().ends_with(cat(": ", c.complaint))) << c.broken;
  }
  const Case without_namespace[] = {
      {"net.core.somaxconn", "linux.sysctl['net.core.somaxconn']: needs a network namespace"},
      {"kernel.msgmax", "linux.sysctl['kernel.msgmax']: needs an ipc namespace"},
      {"kernel.shm_rmid_forced", "linux.sysctl['kernel.shm_rmid_forced']: needs an ipc namespace"},
      {"fs.mqueue.msg_max", "linux.sysctl['fs.mqueue.msg_max']: needs an ipc namespace"},
      {"kernel.domainname", "linux.sysctl['kernel.domainname']: needs a uts namespace"},
  };
  for (const Case& c : without_namespace) {
    expect_complaint(
        config_with({.linux_ = cat(R"("namespaces":[],"sysctl":{")", c.broken, R"(":"1"})")}), c);
    EXPECT_TRUE(parse_spec(config_with({.linux_ = cat(R"("sysctl":{")", c.broken, R"(":"1"})")})))
        << c.broken;
  }
  expect_complaint(config_with({.linux_ = R"("sysctl":{"net.x":"1\n2"})"}),
                   {"", "linux.sysctl['net.x']: the value must not contain a line break"});
  expect_complaint(config_with({.top = R"("domainname":"d")",
                                .linux_ = R"("sysctl":{"kernel.domainname":"e"})"}),
                   {"", "linux.sysctl['kernel.domainname']: contradicts 'domainname'"});
}

TEST(OciBroken, resources) {
  const Case cases[] = {
      {R"("pids":{"limit":99999999999999999999})",
       "pids.limit: 99999999999999999999: out of range"},
      {R"("pids":{"limit":-2})", "pids.limit: -2: out of range, -1 is no limit"},
      {R"("pids":[])", "pids: expected an object"},
      {R"("memory":{"limit":-2})", "memory.limit: -2: out of range, -1 is no limit"},
      {R"("memory":{"reservation":-2})", "memory.reservation: -2: out of range, -1 is no limit"},
      {R"("memory":{"swap":-2})", "memory.swap: -2: out of range, -1 is no limit"},
      {R"("memory":{"kernel":-2})", "memory.kernel: -2: out of range, -1 is no limit"},
      {R"("memory":{"kernelTCP":-2})", "memory.kernelTCP: -2: out of range, -1 is no limit"},
      {R"("memory":{"limit":9223372036854775808})",
       "memory.limit: 9223372036854775808: out of range"},
      {R"("memory":{"swap":5})", "memory.swap: needs memory.limit"},
      {R"("memory":{"swap":5,"limit":-1})", "memory.swap: needs memory.limit"},
      {R"("memory":{"swap":5,"limit":6})", "memory.swap: less than memory.limit"},
      {R"("memory":{"swappiness":101})", "memory.swappiness: 101: out of range 0..100"},
      {R"("memory":{"swappiness":-1})", "memory.swappiness: -1: out of range"},
      {R"("cpu":{"quota":-2})", "cpu.quota: -2: out of range, -1 is no limit"},
      {R"("cpu":{"quota":999})", "cpu.quota: 999: less than 1000"},
      {R"("cpu":{"period":999})", "cpu.period: 999: out of range 1000..1000000"},
      {R"("cpu":{"period":1000001})", "cpu.period: 1000001: out of range 1000..1000000"},
      {R"("cpu":{"quota":1000,"burst":1001})", "cpu.burst: greater than cpu.quota"},
      {R"("cpu":{"idle":2})", "cpu.idle: 2: must be 0 or 1"},
      {R"("cpu":{"idle":-1})", "cpu.idle: -1: must be 0 or 1"},
      {R"("cpu":{"shares":-1})", "cpu.shares: -1: out of range"},
      {R"("cpu":{"cpus":"a"})", "cpu.cpus: not a list of processors such as '0-3,7'"},
      {R"("cpu":{"cpus":"0-"})", "cpu.cpus: not a list of processors such as '0-3,7'"},
      {R"("cpu":{"mems":"0\n"})", "cpu.mems: not a list of nodes such as '0-3,7'"},
      {R"("devices":[{}])", "devices[0].allow: missing"},
      {R"("devices":[{"allow":true,"type":"p"}])", "devices[0].type: unknown device type 'p'"},
      {R"("devices":[{"allow":true,"access":"rx"}])", "devices[0].access: unknown access 'rx'"},
      {R"("devices":[{"allow":true,"major":-2}])", "devices[0].major: out of range"},
      {R"("devices":[{"allow":true,"minor":4294967296}])", "devices[0].minor: out of range"},
      {R"("blockIO":{"weight":9})", "blockIO.weight: 9: out of range 10..1000"},
      {R"("blockIO":{"weight":1001})", "blockIO.weight: 1001: out of range 10..1000"},
      {R"("blockIO":{"weight":65536})", "blockIO.weight: 65536: out of range"},
      {R"("blockIO":{"leafWeight":1})", "blockIO.leafWeight: 1: out of range 10..1000"},
      {R"("blockIO":{"weightDevice":[{"minor":0,"weight":10}]})",
       "blockIO.weightDevice[0].major: missing"},
      {R"("blockIO":{"weightDevice":[{"major":8,"minor":0}]})",
       "blockIO.weightDevice[0]: has no weight"},
      {R"("blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":1}]})",
       "blockIO.weightDevice[0].weight: 1: out of range 10..1000"},
      {R"("blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0}]})",
       "blockIO.throttleReadBpsDevice[0].rate: missing"},
      {R"("blockIO":{"throttleWriteBpsDevice":[{"major":-8,"minor":0,"rate":1}]})",
       "blockIO.throttleWriteBpsDevice[0].major: -8: out of range 0..4095"},
      {R"("blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":-1,"rate":1}]})",
       "blockIO.throttleReadIOPSDevice[0].minor: -1: out of range 0..1048575"},
      {R"("blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":-1}]})",
       "blockIO.throttleWriteIOPSDevice[0].rate: -1: out of range"},
      {R"("hugepageLimits":[{"limit":1}])", "hugepageLimits[0].pageSize: missing"},
      {R"("hugepageLimits":[{"pageSize":"2MB"}])", "hugepageLimits[0].limit: missing"},
      {R"("hugepageLimits":[{"pageSize":"2mb","limit":1}])",
       "hugepageLimits[0].pageSize: not a page size such as '2MB'"},
      {R"("hugepageLimits":[{"pageSize":"../MB","limit":1}])",
       "hugepageLimits[0].pageSize: not a page size such as '2MB'"},
      {R"("hugepageLimits":[{"pageSize":"2MB","limit":1},{"pageSize":"2MB","limit":2}])",
       "hugepageLimits[1].pageSize: given twice"},
      {R"("network":{"classID":4294967296})", "network.classID: 4294967296: out of range"},
      {R"("network":{"priorities":[{"name":"a/b","priority":1}]})",
       "network.priorities[0].name: not a name a network interface can have"},
      {R"("network":{"priorities":[{"name":"eth0"}]})", "network.priorities[0].priority: missing"},
      {R"("rdma":{"mlx":{}})", "rdma.mlx: has no limit"},
      {R"("rdma":{"a b":{"hcaHandles":1}})", "rdma['a b']: not the name of a device"},
      {R"("rdma":{"mlx":{"hcaHandles":-1}})", "rdma.mlx.hcaHandles: -1: out of range"},
      {R"("unified":{"../memory.max":"1"})",
       "unified['../memory.max']: not the name of a file of a control group"},
      {R"("unified":{"memory":"1"})", "unified.memory: not the name of a file of a control group"},
      {R"("unified":{".x":"1"})", "unified['.x']: not the name of a file of a control group"},
      {R"("unified":{"cgroup.procs":"1"})", "unified['cgroup.procs']: must not be set"},
      {R"("unified":{"cgroup.subtree_control":"+memory"})",
       "unified['cgroup.subtree_control']: must not be set"},
  };
  for (const Case& c : cases) {
    const std::string complaint = cat("linux.resources.", c.complaint);
    expect_complaint(config_with({.linux_ = cat(R"("resources":{)", c.broken, "}")}),
                     {c.broken, complaint});
    const auto alone = parse_resources(cat("{", c.broken, "}"));
    ASSERT_FALSE(alone) << c.broken;
    EXPECT_EQ(alone.error().message(), complaint);
  }
}

TEST(OciBroken, seccomp) {
  const Case cases[] = {
      {R"("defaultAction":null)", "defaultAction: missing"},
      {R"("defaultAction":"ALLOW")", "defaultAction: unknown action 'ALLOW'"},
      {R"("defaultAction":"SCMP_ACT_NOTIFY")",
       "defaultAction: 'SCMP_ACT_NOTIFY' cannot be the default"},
      {R"("defaultErrnoRet":1)", "defaultErrnoRet: the action takes no errno"},
      {R"("defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096)",
       "defaultErrnoRet: 4096: out of range 0..4095"},
      {R"("defaultAction":"SCMP_ACT_TRACE","defaultErrnoRet":65536)",
       "defaultErrnoRet: 65536: out of range 0..65535"},
      {R"("architectures":["X86"])", "architectures[0]: unknown architecture 'X86'"},
      {R"("flags":["SECCOMP_FILTER_FLAG_NEW_LISTENER"])",
       "flags[0]: unknown flag 'SECCOMP_FILTER_FLAG_NEW_LISTENER'"},
      {R"("listenerMetadata":"m")", "listenerMetadata: needs listenerPath"},
      {R"("listenerPath":"run/x")", "listenerPath: must be absolute"},
      {R"("syscalls":[{"names":["a"],"action":"SCMP_ACT_NOTIFY"}])",
       "listenerPath: missing: SCMP_ACT_NOTIFY needs it"},
      {R"("syscalls":[{"action":"SCMP_ACT_LOG"}])", "syscalls[0].names: missing"},
      {R"("syscalls":[{"names":[],"action":"SCMP_ACT_LOG"}])",
       "syscalls[0].names: must not be empty"},
      {R"("syscalls":[{"names":[""],"action":"SCMP_ACT_LOG"}])",
       "syscalls[0].names[0]: must not be empty"},
      {R"("syscalls":[{"names":["a"]}])", "syscalls[0].action: missing"},
      {R"("syscalls":[{"names":["a"],"action":"X"}])", "syscalls[0].action: unknown action 'X'"},
      {R"("syscalls":[{"names":["a"],"action":"SCMP_ACT_KILL","errnoRet":1}])",
       "syscalls[0].errnoRet: the action takes no errno"},
      {R"("syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"value":1}]}])",
       "syscalls[0].args[0].index: missing"},
      {R"("syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1}]}])",
       "syscalls[0].args[0].op: missing"},
      {R"("syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":6,"value":1,)"
       R"("op":"SCMP_CMP_EQ"}]}])",
       "syscalls[0].args[0].index: 6: out of range 0..5"},
      {R"("syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":-1,)"
       R"("op":"SCMP_CMP_EQ"}]}])",
       "syscalls[0].args[0].value: -1: out of range"},
      {R"("syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,)"
       R"("op":"EQ"}]}])",
       "syscalls[0].args[0].op: unknown operator 'EQ'"},
  };
  for (const Case& c : cases) {
    const std::string text = cat(R"({"defaultAction":"SCMP_ACT_ALLOW",)", c.broken, "}");
    const auto seccomp = parse_seccomp(text);
    ASSERT_FALSE(seccomp) << c.broken;
    EXPECT_EQ(seccomp.error().message(), cat("linux.seccomp.", c.complaint));
  }
}

TEST(OciBroken, documents_too_large_or_too_deep) {
  const std::string large(config_bytes_max + 1, ' ');
  EXPECT_EQ(parse_spec(large).error().message(), "larger than 10485760 bytes");
  const std::string deep = config_with({.top = cat("\"x\":", std::string(100, '['))});
  EXPECT_TRUE(parse_spec(deep).error().message().ends_with("nested deeper than 64 levels"));
  EXPECT_EQ(parse_process("[]").error().message(), "process: expected an object");
}

TEST(OciAccepted, what_the_specification_lets_pass) {
  const Overrides cases[] = {
      {.top = R"("unknown":{"nested":[1,{}]},"vm":{},"hooks":null,"mounts":null)"},
      {.top = R"("ociVersion":"1.0.0")"},
      {.top = R"("ociVersion":"1.3.0-rc.1")"},
      {.top = R"("linux":{},"hostname":"")"},
      {.top = R"("mounts":[{"destination":"/a","type":"t"},{"destination":"/a","type":"u"}])"},
      {.process = R"("consoleSize":{"height":-1},"terminal":false)"},
      {.process = R"("rlimits":[{"type":"RLIMIT_CPU","hard":18446744073709551615,"soft":0}])"},
      {.linux_ = R"("namespaces":[{"type":"user","path":"/x"}])"},
      {.linux_ = R"("resources":{"memory":{"limit":0,"swap":-1},"pids":{"limit":-1}})"},
      {.linux_ = R"("netDevices":{"eth0":{"name":"x%d"},"eth1":{"name":"x%d"}})"},
      {.linux_ = R"("seccomp":{"read":"later"},"rootfsPropagation":"")"},
  };
  for (const Overrides& c : cases) {
    const auto spec = parse_spec(config_with(c));
    EXPECT_TRUE(spec) << c.top << c.process << c.linux_ << ": " << spec.error().message();
  }
}

TEST(OciAccepted, unknown_capabilities_are_kept_for_a_warning) {
  const auto process = parse_process(
      R"({"cwd":"/","args":["x"],"capabilities":{"bounding":["CAP_X","CAP_KILL"],"ambient":["CAP_X"]}})");
  ASSERT_TRUE(process);
  EXPECT_EQ(process->capabilities->unknown, std::vector<std::string>{"CAP_X"});
  EXPECT_EQ(process->capabilities->bounding, 1u << 5);
}

TEST(OciAccepted, a_relative_destination_counts_from_the_root) {
  const auto spec = parse_spec(config_with({.top = R"("mounts":[{"destination":"a/b"}])"}));
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->mounts[0].destination, "/a/b");
}

}  // namespace
}  // namespace nacelle::oci
