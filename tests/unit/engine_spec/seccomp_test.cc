// Goal: the default profile lets a container do what dockerd's does, and custom profiles are
// decided by the same conditions. Method: compare with dockerd's own result; one condition per
// case.
#include "engine/spec_seccomp.h"

#include <algorithm>
#include <set>

#include "fixture.h"
#include "oci/names.h"

namespace nacelle::engine {
namespace {

uint64_t bits_of(std::initializer_list<const char*> names) {
  uint64_t bits = 0;
  for (const char* name : names) bits |= uint64_t{1} << *oci::find_capability(name);
  return bits;
}

SeccompHost host_with(uint64_t bounding) {
  return {.bounding = bounding, .arch = "amd64", .kernel_major = 6, .kernel_minor = 1};
}

// "clone3 errno=38", "personality arg0 == 8": one line a name.
std::set<std::string> lines_of(const oci::Seccomp& profile) {
  std::set<std::string> lines;
  for (const oci::SeccompRule& rule : profile.rules) {
    std::string suffix = cat(" ", static_cast<int>(rule.action), " ",
                             rule.errno_ret ? static_cast<int>(*rule.errno_ret) : -1);
    for (const oci::SeccompArgument& arg : rule.args) {
      suffix +=
          cat(" ", arg.index, " ", static_cast<int>(arg.op), " ", arg.value, " ", arg.value_two);
    }
    for (const std::string& name : rule.names) lines.insert(name + suffix);
  }
  return lines;
}

TEST(Seccomp, by_default_is_what_dockerd_makes_but_for_sockets) {
  const oci::Spec docker = docker_spec();
  const oci::Seccomp theirs = parse_profile(docker.linux_->seccomp_json);
  const oci::Seccomp ours =
      parse_profile(default_seccomp(host_with(docker.process->capabilities->bounding)));
  EXPECT_EQ(ours.default_action, theirs.default_action);
  EXPECT_EQ(ours.default_errno_ret, theirs.default_errno_ret);
  EXPECT_EQ(ours.architectures, theirs.architectures);
  const auto our_lines = lines_of(ours), their_lines = lines_of(theirs);
  std::vector<std::string> more, less;
  std::ranges::set_difference(our_lines, their_lines, std::back_inserter(more));
  std::ranges::set_difference(their_lines, our_lines, std::back_inserter(less));
  // 28.5 closes AF_VSOCK alone (not equal 40); AF_ALG (38) is closed here as well.
  const auto is_socket = [](const std::string& line) { return line.starts_with("socket "); };
  std::string unexpected;
  for (const auto* list : {&more, &less}) {
    for (const std::string& line : *list) {
      if (!is_socket(line)) unexpected += (list == &more ? "+" : "-") + line + "\n";
    }
  }
  EXPECT_EQ(unexpected, "");
  EXPECT_EQ(std::ranges::count_if(more, is_socket), 3);
  EXPECT_EQ(std::ranges::count_if(less, is_socket), 1);
}

bool allows_by_name(uint64_t capabilities, const std::string& name) {
  const oci::Seccomp profile = parse_profile(default_seccomp(host_with(capabilities)));
  return std::ranges::any_of(profile.rules, [&](const oci::SeccompRule& rule) {
    return rule.action == oci::SeccompAction::Allow && rule.args.empty() &&
           std::ranges::find(rule.names, name) != rule.names.end();
  });
}

TEST(Seccomp, by_default_opens_with_capabilities) {
  struct Case {
    const char* capability;
    const char* call;
  };
  const Case cases[] = {
      {"CAP_SYS_ADMIN", "mount"},
      {"CAP_SYS_ADMIN", "clone3"},
      {"CAP_SYS_ADMIN", "bpf"},
      {"CAP_SYS_ADMIN", "unshare"},
      {"CAP_SYS_ADMIN", "setns"},
      {"CAP_SYS_ADMIN", "fsopen"},
      {"CAP_SYS_BOOT", "reboot"},
      {"CAP_SYS_CHROOT", "chroot"},
      {"CAP_SYS_MODULE", "init_module"},
      {"CAP_SYS_PACCT", "acct"},
      {"CAP_SYS_PTRACE", "kcmp"},
      {"CAP_SYS_RAWIO", "iopl"},
      {"CAP_SYS_TIME", "settimeofday"},
      {"CAP_SYS_TTY_CONFIG", "vhangup"},
      {"CAP_SYS_NICE", "mbind"},
      {"CAP_SYSLOG", "syslog"},
      {"CAP_BPF", "bpf"},
      {"CAP_PERFMON", "perf_event_open"},
      {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
  };
  for (const Case& c : cases) {
    EXPECT_FALSE(allows_by_name(0, c.call)) << c.call;
    EXPECT_TRUE(allows_by_name(bits_of({c.capability}), c.call)) << c.call;
    EXPECT_NE(seccomp_default_capabilities() & bits_of({c.capability}), 0u) << c.capability;
  }
}

TEST(Seccomp, by_default_never_opens_these) {
  for (const char* call : {"io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl",
                           "add_key", "request_key", "userfaultfd", "kexec_load", "swapon",
                           "nfsservctl", "move_pages", "pivot_root", "socket"}) {
    EXPECT_FALSE(allows_by_name(~uint64_t{0}, call)) << call;
  }
}

TEST(Seccomp, closes_address_families_that_reach_the_kernels_memory) {
  const oci::Seccomp profile = parse_profile(default_seccomp(host_with(~uint64_t{0})));
  const auto lets = [&](uint64_t family) {
    return std::ranges::any_of(profile.rules, [&](const oci::SeccompRule& rule) {
      if (rule.names != std::vector<std::string>{"socket"}) return false;
      const oci::SeccompArgument& arg = rule.args[0];
      switch (arg.op) {
        case oci::SeccompOperator::Less: return family < arg.value;
        case oci::SeccompOperator::Equal: return family == arg.value;
        case oci::SeccompOperator::Greater: return family > arg.value;
        default: return true;
      }
    });
  };
  for (const uint64_t family : {1, 2, 10, 16, 17, 39, 41}) EXPECT_TRUE(lets(family)) << family;
  for (const uint64_t family : {38, 40}) EXPECT_FALSE(lets(family)) << family;
}

TEST(Seccomp, knows_its_architectures_and_kernels) {
  SeccompHost host = host_with(0);
  EXPECT_NE(default_seccomp(host).find("arch_prctl"), std::string::npos);
  EXPECT_NE(default_seccomp(host).find("process_vm_readv"), std::string::npos);
  host.kernel_major = 4;
  host.kernel_minor = 7;
  EXPECT_EQ(default_seccomp(host).find("process_vm_readv"), std::string::npos);
  host.arch = "arm64";
  EXPECT_EQ(default_seccomp(host).find("arch_prctl"), std::string::npos);
  EXPECT_NE(default_seccomp(host).find("set_tls"), std::string::npos);
  EXPECT_NE(default_seccomp(host).find("SCMP_ARCH_AARCH64"), std::string::npos);
}

std::string read(std::string_view json, uint64_t bits = 0) {
  const auto read = read_seccomp_profile(json, host_with(bits));
  return read ? *read : read.error().message();
}

TEST(Seccomp, custom_profiles_are_decided_by_their_conditions) {
  const std::string_view head = R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[)";
  const auto profile = [&](std::string_view rule) { return cat(head, rule, "]}"); };
  const std::string none = R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]})";
  const std::string one =
      R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["x"],"action":"SCMP_ACT_ALLOW"}]})";
  const auto rule = [](std::string_view more) {
    return cat(R"({"names":["x"],"action":"SCMP_ACT_ALLOW")", more, "}");
  };
  const uint64_t admin = bits_of({"CAP_SYS_ADMIN"});
  EXPECT_EQ(read(profile(rule(""))), one);
  EXPECT_EQ(read(profile(R"({"name":"x","action":"SCMP_ACT_ALLOW"})")), one);
  EXPECT_EQ(read(profile(rule(R"(,"includes":{"caps":["CAP_SYS_ADMIN"]})"))), none);
  EXPECT_EQ(read(profile(rule(R"(,"includes":{"caps":["CAP_SYS_ADMIN"]})")), admin), one);
  EXPECT_EQ(read(profile(rule(R"(,"excludes":{"caps":["CAP_SYS_ADMIN"]})"))), one);
  EXPECT_EQ(read(profile(rule(R"(,"excludes":{"caps":["CAP_SYS_ADMIN"]})")), admin), none);
  EXPECT_EQ(read(profile(rule(R"(,"includes":{"arches":["amd64"]})"))), one);
  EXPECT_EQ(read(profile(rule(R"(,"includes":{"arches":["arm64"]})"))), none);
  EXPECT_EQ(read(profile(rule(R"(,"excludes":{"arches":["amd64"]})"))), none);
  EXPECT_EQ(read(profile(rule(R"(,"includes":{"minKernel":"6.1"})"))), one);
  EXPECT_EQ(read(profile(rule(R"(,"includes":{"minKernel":"6.2"})"))), none);
  EXPECT_EQ(read(profile(rule(R"(,"excludes":{"minKernel":"5.9"})"))), none);
  EXPECT_EQ(read(profile(rule(R"(,"includes":{"minKernel":"x"})"))),
            "invalid kernel version: \"x\"");
  EXPECT_EQ(read("{}"), "");
}

TEST(Seccomp, custom_profiles_choose_their_architectures) {
  EXPECT_EQ(read(R"({"defaultAction":"SCMP_ACT_ALLOW","archMap":[
      {"architecture":"SCMP_ARCH_AARCH64"},
      {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]})"),
            R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64",)"
            R"("SCMP_ARCH_X86"],"syscalls":[]})");
  EXPECT_EQ(read(R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[
      {"architecture":"SCMP_ARCH_X86_64"}]})"),
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either "
            "'architectures' or 'archMap'");
}

TEST(Seccomp, custom_profiles_that_are_none_are_refused) {
  for (const char* bad :
       {"", "{", "[]", "7", R"({"defaultAction":7})",
        R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}})",
        R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":"x"}]})",
        R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"args":[{"index":-1}]}]})"}) {
    EXPECT_TRUE(read(bad).starts_with("Decoding seccomp profile failed: ")) << bad << read(bad);
  }
  EXPECT_NE(read(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"x","names":["y"]}]})")
                .find("both 'name' and 'names' are specified in the seccomp profile"),
            std::string::npos);
}

}  // namespace
}  // namespace nacelle::engine
