// check: which of the kernel's features are there, asked of the kernel itself and not of its
// version. Nothing is left behind: what is made is a descriptor and closed again.
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/terminal.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "ring/probe.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

enum class State : uint8_t { There, FallsBack, Missing };

struct Finding {
  State state;
  std::string name;
  std::string detail;
};

class Report {
 public:
  void there(std::string name, std::string detail = {}) {
    all_.push_back({State::There, std::move(name), std::move(detail)});
  }
  // `instead`: what is done without it.
  void falls_back(std::string name, std::string instead) {
    all_.push_back({State::FallsBack, std::move(name), std::move(instead)});
  }
  void missing(std::string name, std::string why) {
    all_.push_back({State::Missing, std::move(name), std::move(why)});
  }
  void either(bool yes, std::string name, std::string instead) {
    yes ? there(std::move(name)) : falls_back(std::move(name), std::move(instead));
  }
  const std::vector<Finding>& all() const { return all_; }

 private:
  std::vector<Finding> all_;
};

std::string small_file(const char* path) {
  constexpr size_t bytes_max = 64u << 10;
  const auto text = sys::read_file_at(sys::working_directory, path, bytes_max);
  std::string content = text ? *text : std::string();
  while (content.ends_with('\n')) content.pop_back();
  return content;
}

bool exists(const char* path) { return ::access(path, F_OK) == 0; }

bool has_filesystem(std::string_view name) {
  const std::string all = small_file("/proc/filesystems");
  std::string_view rest = all;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    const size_t tab = line.rfind('\t');
    if (line.substr(tab + 1) == name) return true;
  }
  return false;
}

void check_ring(Report& report) {
  const auto loop = ring::Loop::open();
  if (!loop) {
    report.missing("io_uring", loop.error().message());
    return;
  }
  report.there("io_uring", cat(ring::required_operations().size(), " operations"));
}

void check_processes(Report& report) {
  // A descriptor that is no cgroup: a kernel that knows the flag says so and makes no child.
  const Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = 0;
  arguments.cgroup = static_cast<uint64_t>(nothing.get());
  const long child = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child == 0) ::_exit(0);
  if (errno == EBADF) {
    report.there("clone3 into a cgroup");
  } else {
    report.missing("clone3 into a cgroup", cat("clone3: ", ::strerror(errno), " (Linux 5.7)"));
  }
  const long pidfd_number = ::syscall(SYS_pidfd_open, ::getpid(), 0);
  if (pidfd_number < 0) {
    report.missing("pidfd", cat("pidfd_open: ", ::strerror(errno), " (Linux 5.3)"));
    return;
  }
  const Fd pidfd(static_cast<int>(pidfd_number));
  struct statfs status{};
  constexpr long pidfs_magic = 0x50494446;
  const bool is_pidfs = ::fstatfs(pidfd.get(), &status) == 0 && status.f_type == pidfs_magic;
  report.either(is_pidfs, "pidfs", "processes are told apart by their start time (Linux 6.9)");
  // PIDFD_GET_INFO with its first form of 64 bytes.
  struct {
    uint64_t mask;
    uint8_t rest[56];
  } info{};
  const unsigned long get_info = _IOWR(0xff, 11, info);
  report.either(::ioctl(pidfd.get(), get_info, &info) == 0, "PIDFD_GET_INFO",
                "/proc is read instead (Linux 6.13)");
  if (exists("/proc/self/ns/time")) {
    report.there("time namespaces");
  } else {
    report.falls_back("time namespaces", "containers see this machine's clocks");
  }
  const std::string namespaces = small_file("/proc/sys/user/max_user_namespaces");
  if (!exists("/proc/self/ns/user")) {
    report.falls_back("user namespaces", "not in this kernel: containers cannot be rootless");
  } else if (namespaces == "0") {
    report.falls_back("user namespaces", "user.max_user_namespaces is 0");
  } else {
    report.there("user namespaces");
  }
  for (const char* name : {"pid", "net", "mnt", "ipc", "uts", "cgroup"}) {
    if (!exists(cat("/proc/self/ns/", name).c_str())) {
      report.missing(cat(name, " namespaces"), "not in this kernel");
    }
  }
}

void check_cgroups(Report& report) {
  struct statfs status{};
  std::string root = "/sys/fs/cgroup";
  if (::statfs(root.c_str(), &status) != 0 || status.f_type != CGROUP2_SUPER_MAGIC) {
    root = "/sys/fs/cgroup/unified";
    if (::statfs(root.c_str(), &status) != 0 || status.f_type != CGROUP2_SUPER_MAGIC) {
      report.missing("cgroup v2", "not mounted at /sys/fs/cgroup");
      return;
    }
    report.falls_back("cgroup v2", cat("hybrid: the tree at ", root,
                                       " is used; boot with cgroup_no_v1=all for all controllers"));
  } else {
    report.there("cgroup v2");
  }
  const std::string controllers =
      cat(' ', small_file(cat(root, "/cgroup.controllers").c_str()), ' ');
  const struct {
    const char *name, *without;
  } wanted[] = {{"memory", "no limits of memory, no report of what ran out of it"},
                {"cpu", "no limits of processor time"},
                {"pids", "no limits of processes"},
                {"io", "no limits of disk throughput"},
                {"cpuset", "containers cannot be bound to processors"},
                {"hugetlb", "no limits of huge pages"}};
  for (const auto& [name, without] : wanted) {
    report.either(controllers.contains(cat(' ', name, ' ')), cat("cgroup controller ", name),
                  cat(without, "; asking for one is an error"));
  }
}

void check_files(Report& report) {
  if (!has_filesystem("overlay")) {
    report.missing("overlayfs", "not in /proc/filesystems: load the module `overlay`");
  } else {
    report.there("overlayfs");
    const long opened = ::syscall(SYS_fsopen, "overlay", 1u /* FSOPEN_CLOEXEC */);
    if (opened < 0) {
      report.falls_back("overlayfs lowerdir+", cat("fsopen: ", ::strerror(errno), " (root asks)"));
    } else {
      const Fd context(static_cast<int>(opened));
      const long set =
          ::syscall(SYS_fsconfig, context.get(), 1u /* FSCONFIG_SET_STRING */, "lowerdir+", "/", 0);
      report.either(set == 0, "overlayfs lowerdir+",
                    "layers are listed in one page of options (Linux 6.8)");
    }
  }
  report.either(has_filesystem("erofs"), "EROFS", "layers are kept as directories");
  const long attributes = ::syscall(SYS_mount_setattr, -1, nullptr, 0u, nullptr, size_t{0});
  if (attributes < 0 && errno == ENOSYS) {
    report.falls_back("idmapped mounts", "not in this kernel (Linux 5.12)");
  } else {
    report.there("mount_setattr, idmapped mounts");
  }
  const long opened = ::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, size_t{0});
  if (opened < 0 && (errno == ENOSYS || errno == EPERM)) {
    report.falls_back("openat2", "paths are walked step by step");
  } else {
    report.there("openat2");
  }
}

void check_seccomp(Report& report) {
  const std::string actions = cat(' ', small_file("/proc/sys/kernel/seccomp/actions_avail"), ' ');
  if (actions == "  ") {
    report.missing("seccomp", "not in this kernel (CONFIG_SECCOMP_FILTER)");
    return;
  }
  report.there("seccomp");
  report.either(actions.contains(" user_notif "), "seccomp notifications",
                "profiles that ask for them are refused");
}

// A program that only returns, of a type that is loaded for containers.
int load_error(bpf_prog_type type, bpf_attach_type attach) {
  const bpf_insn instructions[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  bpf_attr attributes{};
  attributes.prog_type = type;
  attributes.expected_attach_type = attach;
  attributes.insns = reinterpret_cast<uint64_t>(instructions);
  attributes.insn_cnt = std::size(instructions);
  attributes.license = reinterpret_cast<uint64_t>("GPL");
  const long loaded = ::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
  if (loaded < 0) return errno;
  ::close(static_cast<int>(loaded));
  return 0;
}

void check_bpf(Report& report) {
  const struct {
    const char* name;
    bpf_prog_type type;
    bpf_attach_type attach;
    const char* without;
  } programs[] = {
      {"BPF cgroup device programs", BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, nullptr},
      {"BPF cgroup_skb programs", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS,
       "no per-container traffic rules"},
      {"BPF sock_addr programs", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT,
       "no rules on connect(2)"},
      {"BPF traffic control programs", BPF_PROG_TYPE_SCHED_CLS, bpf_attach_type{},
       "networks are kept apart by nftables alone, which `nft flush ruleset` undoes"},
  };
  for (const auto& [name, type, attach, without] : programs) {
    const int error = load_error(type, attach);
    if (error == 0) {
      report.there(name);
    } else if (without == nullptr) {
      report.missing(name, cat(::strerror(error), ": rules for devices cannot be enforced"));
    } else {
      report.falls_back(name, cat(without, ": ", ::strerror(error)));
    }
  }
  report.either(exists("/sys/kernel/btf/vmlinux"), "BTF",
                "no programs that follow kernel structures");
  const std::string lockdown = small_file("/sys/kernel/security/lockdown");
  const size_t open = lockdown.find('['), close = lockdown.find(']');
  const std::string mode =
      open == std::string::npos ? "" : lockdown.substr(open + 1, close - open - 1);
  if (mode.empty() || mode == "none") {
    report.there("no kernel lockdown");
  } else {
    report.falls_back("kernel lockdown", cat("is `", mode, "`: no fentry and LSM programs"));
  }
}

void check_rest(Report& report) {
  const int netfilter = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 12 /* NETLINK_NETFILTER */);
  report.either(netfilter >= 0, "netfilter", "published ports need it");
  if (netfilter >= 0) ::close(netfilter);
  if (::geteuid() != 0)
    report.falls_back("root", "not ours: some answers above are for lack of it");
}

void print_finding(const Finding& finding, bool colours) {
  const char* word = finding.state == State::There       ? "there"
                     : finding.state == State::FallsBack ? "falls back"
                                                         : "missing";
  const char* colour = !colours                            ? ""
                       : finding.state == State::There     ? "\x1b[32m"
                       : finding.state == State::FallsBack ? "\x1b[33m"
                                                           : "\x1b[31m";
  std::printf("%s%-10s%s  %s%s%s\n", colour, word, colours ? "\x1b[0m" : "", finding.name.c_str(),
              finding.detail.empty() ? "" : ": ", finding.detail.c_str());
}

}  // namespace

Result<int> run_check(Session& session, const Arguments& arguments) {
  Options options("check", "Shows which of the kernel's features are there.");
  options.operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  utsname kernel{};
  ::uname(&kernel);
  std::printf("kernel      %s %s\n", kernel.release, kernel.machine);
  Report report;
  check_ring(report);
  check_processes(report);
  check_cgroups(report);
  check_files(report);
  check_seccomp(report);
  check_bpf(report);
  check_rest(report);
  const bool colours = is_terminal(STDOUT_FILENO);
  bool complete = true;
  for (const Finding& finding : report.all()) {
    print_finding(finding, colours);
    if (finding.state == State::Missing) complete = false;
  }
  return complete ? 0 : 1;
}

}  // namespace nacelle::cli
