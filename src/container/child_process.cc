// The process part of a plan: what makes an ordinary task the container's program.
#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/stat.h>

#include "container/child.h"
#include "sys/call.h"
#include "sys/kernel.h"

namespace nacelle::container {

using sys::call;

namespace {

const ProcessPlan& process_of(Brief& brief) { return brief.plan.header().process; }

bool has(Brief& brief, ProcessFlag flag) { return (process_of(brief).flags & flag) != 0; }

uint32_t put_number(char* out, int64_t number) {
  uint32_t at = 0;
  uint64_t left = static_cast<uint64_t>(number);
  if (number < 0) {
    out[at++] = '-';
    left = 0 - left;
  }
  char digits[20];
  uint32_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + left % 10);
    left /= 10;
  } while (left != 0);
  while (count > 0) out[at++] = digits[--count];
  return at;
}

bool starts_with(const char* text, const char* prefix) {
  while (*prefix != '\0') {
    if (*text++ != *prefix++) return false;
  }
  return true;
}

void write_oom_score(Brief& brief) {
  constexpr const char* path = "/proc/self/oom_score_adj";
  constexpr const char* doing = "setting process.oomScoreAdj";
  char text[24];
  const uint32_t length = put_number(text, process_of(brief).oom_score_adj);
  const long file = need(brief, call(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0), doing,
                         nullptr, "open", path);
  need(brief, call(SYS_write, file, static_cast<char*>(text), length), doing, nullptr, "write",
       path);
  call(SYS_close, file);
}

void set_limits(Brief& brief) {
  struct Limit {
    uint64_t soft, hard;
  };
  if (brief.resets_files_limit) {
    constexpr int files = 7;  // RLIMIT_NOFILE
    need(brief, call(SYS_prlimit64, 0, files, &brief.files_limit[0], nullptr),
         "setting the limit of open files", nullptr, "prlimit");
  }
  for (const RlimitStep& step : brief.plan.items(process_of(brief).rlimits)) {
    const Limit limit{step.soft, step.hard};
    need(brief, call(SYS_prlimit64, 0, step.resource, &limit, nullptr), "setting process.rlimits",
         nullptr, "prlimit");
  }
}

void set_scheduling(Brief& brief) {
  const ProcessPlan& plan = process_of(brief);
  const auto affinity = brief.plan.items(plan.cpu_affinity);
  if (!affinity.empty()) {
    need(brief, call(SYS_sched_setaffinity, 0, affinity.size_bytes(), affinity.data()),
         "setting the CPU affinity", nullptr, "sched_setaffinity");
  } else {
    // The caller's own affinity is no business of the container. All ones for 8192 processors; the
    // kernel keeps those that exist and the cgroup's cpuset allows. Failure leaves what is there.
    uint64_t every[128];
    for (uint64_t& word : every) word = ~uint64_t{0};
    call(SYS_sched_setaffinity, 0, sizeof every, static_cast<uint64_t*>(every));
  }
  if (has(brief, process_scheduler)) {
    need(brief, call(SYS_sched_setattr, 0, &plan.scheduler, 0), "setting process.scheduler",
         nullptr, "sched_setattr");
  }
  if (has(brief, process_io_priority)) {
    constexpr int who_process = 1;  // IOPRIO_WHO_PROCESS
    need(brief, call(SYS_ioprio_set, who_process, 0, plan.io_priority),
         "setting process.ioPriority", nullptr, "ioprio_set");
  }
}

void set_memory_policy(Brief& brief) {
  if (!has(brief, process_memory_policy)) return;
  const ProcessPlan& plan = process_of(brief);
  const auto nodes = brief.plan.items(plan.memory_policy_nodes);
  // set_mempolicy(2) counts one bit more than it reads.
  need(brief,
       call(SYS_set_mempolicy, plan.memory_policy_mode, nodes.empty() ? nullptr : nodes.data(),
            nodes.empty() ? 0 : nodes.size() * 64 + 1),
       "setting linux.memoryPolicy", nullptr, "set_mempolicy");
}

void join_new_keyring(Brief& brief) {
  if (!has(brief, process_new_keyring)) return;
  const long result = call(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr, 0, 0, 0);
  // A kernel without keyrings has none to share either.
  if (result == -ENOSYS) return;
  need(brief, result,
       result == -EDQUOT ? "making a session keyring (kernel.keys.maxkeys or maxbytes is reached; "
                           "raise it or use --no-new-keyring)"
                         : "making a session keyring",
       nullptr, "keyctl");
}

// attr/exec must be written through a real procfs that no image can have replaced: this runs while
// the host's /proc is still the one in view.
void write_security_attribute(Brief& brief, const char* path, Text label, const char* doing) {
  const long file = need(brief, call(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0), doing,
                         brief.plan.text(label), "open", path);
  need(brief, call(SYS_write, file, brief.plan.text(label), label.length), doing,
       brief.plan.text(label), "write", path);
  call(SYS_close, file);
}

void set_security_labels(Brief& brief) {
  const ProcessPlan& plan = process_of(brief);
  if (plan.apparmor_profile) {
    write_security_attribute(brief, "/proc/self/attr/apparmor/exec", plan.apparmor_profile,
                             "setting process.apparmorProfile");
  }
  if (plan.selinux_label) {
    write_security_attribute(brief, "/proc/self/attr/exec", plan.selinux_label,
                             "setting process.selinuxLabel");
  }
}

// --- capabilities and ids -----------------------------------------------------------------------

constexpr uint64_t bit(int capability) { return uint64_t{1} << capability; }

void set_capabilities(Brief& brief, const CapabilityMasks& masks) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {
      {static_cast<uint32_t>(masks.effective), static_cast<uint32_t>(masks.permitted),
       static_cast<uint32_t>(masks.inheritable)},
      {static_cast<uint32_t>(masks.effective >> 32), static_cast<uint32_t>(masks.permitted >> 32),
       static_cast<uint32_t>(masks.inheritable >> 32)},
  };
  need(brief, call(SYS_capset, &header, static_cast<__user_cap_data_struct*>(data)),
       "setting process.capabilities", nullptr, "capset");
}

// What this process may give: a capability that it lacks cannot be granted, and the spec asks for a
// warning (given by the parent), not for a failure.
uint64_t permitted_now(Brief& brief) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  need(brief, call(SYS_capget, &header, static_cast<__user_cap_data_struct*>(data)),
       "reading capabilities", nullptr, "capget");
  return data[0].permitted | static_cast<uint64_t>(data[1].permitted) << 32;
}

void drop_bounding_set(Brief& brief, uint64_t keep) {
  for (int capability = 0; capability < 64; ++capability) {
    if ((keep & bit(capability)) != 0) continue;
    const long result = call(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
    if (result == -EINVAL) return;  // past the last capability of this kernel
    need(brief, result, "dropping capabilities", nullptr, "prctl");
  }
}

void change_ids(Brief& brief) {
  const ProcessPlan& plan = process_of(brief);
  constexpr const char* doing = "setting process.user";
  call(SYS_umask, plan.umask);
  const auto groups = brief.plan.items(plan.groups);
  const long result = call(SYS_setgroups, groups.size(), groups.empty() ? nullptr : groups.data());
  // A user namespace may forbid setgroups; with no groups asked for there is nothing to lose.
  if (result != -EPERM || !groups.empty()) need(brief, result, doing, nullptr, "setgroups");
  need(brief, call(SYS_setresgid, plan.gid, plan.gid, plan.gid), doing, nullptr, "setresgid");
  need(brief, call(SYS_setresuid, plan.uid, plan.uid, plan.uid), doing, nullptr, "setresuid");
}

// Loading a filter without no_new_privs takes CAP_SYS_ADMIN until the load, which is after all
// else. It is left in the permitted set only: the execve of the stub recomputes that set from the
// bounding and inheritable ones, so the program never sees it.
void change_credentials(Brief& brief) {
  const ProcessPlan& plan = process_of(brief);
  const uint64_t have = permitted_now(brief);
  CapabilityMasks masks = plan.capabilities;
  masks.permitted &= have;
  masks.effective &= masks.permitted;
  masks.inheritable &= have;
  masks.ambient &= masks.permitted & masks.inheritable;

  drop_bounding_set(brief, plan.capabilities.bounding);
  need(brief, call(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0), "keeping capabilities", nullptr,
       "prctl");
  change_ids(brief);

  const bool filter_needs_admin =
      has(brief, process_seccomp) && !has(brief, process_no_new_privileges);
  const uint64_t for_the_filter = filter_needs_admin ? have & bit(CAP_SYS_ADMIN) : 0;
  CapabilityMasks now = masks;
  now.permitted |= for_the_filter;
  now.effective |= for_the_filter;
  set_capabilities(brief, now);
  need(brief, call(SYS_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0), "keeping capabilities", nullptr,
       "prctl");

  call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int capability = 0; capability < 64 && masks.ambient >> capability != 0; ++capability) {
    if ((masks.ambient & bit(capability)) == 0) continue;
    need(brief, call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0),
         "raising ambient capabilities", nullptr, "prctl");
  }
}

// --- HOME, working directory, program -----------------------------------------------------------

// Reads /etc/passwd of the container line by line, without trusting its type, size or form.
class PasswordFile {
 public:
  explicit PasswordFile(long file) : file_(file) {}

  // The next line without its newline, cut at the buffer's size; null at the end.
  const char* next() {
    uint32_t length = 0;
    while (true) {
      if (at_ == filled_) {
        const long got = total_ < bytes_max
                             ? call(SYS_read, file_, static_cast<char*>(buffer_), sizeof buffer_)
                             : 0;
        if (got <= 0) {
          line_[length] = '\0';
          return length == 0 ? nullptr : line_;
        }
        filled_ = static_cast<uint32_t>(got);
        total_ += filled_;
        at_ = 0;
      }
      const char byte = buffer_[at_++];
      if (byte == '\n') {
        line_[length] = '\0';
        return line_;
      }
      if (length < sizeof line_ - 1) line_[length++] = byte;
    }
  }

 private:
  static constexpr uint32_t bytes_max = 1u << 20;
  long file_;
  uint32_t at_ = 0;
  uint32_t filled_ = 0;
  uint32_t total_ = 0;
  char buffer_[1024];
  char line_[1024];
};

const char* field(const char* line, int index) {
  while (index > 0 && *line != '\0') {
    if (*line++ == ':') --index;
  }
  return index == 0 ? line : nullptr;
}

void find_home(Brief& brief) {
  char* out = brief.home;
  for (const char* c = "HOME="; *c != '\0'; ++c) *out++ = *c;
  *out = '/';
  out[1] = '\0';
  const long file = call(SYS_openat, AT_FDCWD, static_cast<const char*>("/etc/passwd"),
                         O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
  if (file < 0) return;
  struct stat status{};
  if (call(SYS_fstat, file, &status) == 0 && S_ISREG(status.st_mode)) {
    char uid[24];
    const uint32_t digits = put_number(uid, process_of(brief).uid);
    uid[digits] = ':';
    uid[digits + 1] = '\0';
    PasswordFile passwords(file);
    while (const char* line = passwords.next()) {
      const char* id = field(line, 2);
      const char* home = field(line, 5);
      if (id == nullptr || home == nullptr || !starts_with(id, uid) || *home != '/') continue;
      while (*home != '\0' && *home != ':') *out++ = *home++;
      *out = '\0';
      break;
    }
  }
  call(SYS_close, file);
}

void add_home(Brief& brief) {
  if (!has(brief, process_home_missing)) return;
  find_home(brief);
  brief.envp[brief.env_count++] = brief.home;
  brief.envp[brief.env_count] = nullptr;
}

// CVE-2024-21626: the working directory must be inside. getcwd(2) says "(unreachable)" when not.
void verify_working_directory(Brief& brief) {
  char path[path_bytes_max];
  need(brief, call(SYS_getcwd, static_cast<char*>(path), sizeof path), "changing to process.cwd",
       brief.plan.text(process_of(brief).cwd), "getcwd");
  if (path[0] != '/') {
    give_up(brief, -ENOENT, "process.cwd is outside of the container",
            brief.plan.text(process_of(brief).cwd));
  }
}

long change_directory(Brief& brief) {
  return call(SYS_chdir, brief.plan.text(process_of(brief).cwd));
}

// So that the program can open /dev/stdout and its like again by name. The null device stays
// root's, and what may not be given away is the caller's business.
void give_streams_to_user(Brief& brief) {
  constexpr uint64_t null_device = 1 << 8 | 3;
  for (int fd = 0; fd < 3; ++fd) {
    struct stat status{};
    if (call(SYS_fstat, fd, &status) < 0) continue;
    if (S_ISCHR(status.st_mode) && status.st_rdev == null_device) continue;
    call(SYS_fchown, fd, process_of(brief).uid, ~0u);
  }
}

constexpr const char* finding = "exec";

// Whether `path` is a regular file that this process, as it is now, may execute.
long check_executable(const char* path) {
  struct stat status{};
  const long result = call(SYS_newfstatat, AT_FDCWD, path, &status, 0);
  if (result < 0) return result;
  if (S_ISDIR(status.st_mode)) return -EISDIR;
  constexpr int executable = 1;  // X_OK
  // Effective ids and capabilities decide here: all ids are equal by now, so access(2) says it.
  return call(SYS_faccessat, AT_FDCWD, path, executable);
}

bool has_slash(const char* text) {
  while (*text != '\0') {
    if (*text++ == '/') return true;
  }
  return false;
}

// "directory/name" into brief.program, whose size bounds both.
bool join_path(Brief& brief, const char* directory, uint32_t length, const char* name) {
  uint32_t at = 0;
  if (length == 0) brief.program[at++] = '.';
  for (uint32_t i = 0; i < length && at < path_bytes_max; ++i) brief.program[at++] = directory[i];
  if (at < path_bytes_max) brief.program[at++] = '/';
  while (*name != '\0' && at < path_bytes_max) brief.program[at++] = *name++;
  if (at >= path_bytes_max) return false;
  brief.program[at] = '\0';
  return true;
}

// As execvp would, but here, where the answer can still be reported in words. The texts are the
// ones callers of runc look for to tell exit status 126 from 127.
const char* find_program(Brief& brief) {
  const ProcessPlan& plan = process_of(brief);
  const char* name = plan.program ? brief.plan.text(plan.program)
                                  : brief.plan.text(brief.plan.items(plan.args)[0]);
  if (has_slash(name)) {
    need(brief, check_executable(name), finding, name, nullptr);
    return name;
  }
  bool denied = false;
  const char* path = brief.plan.text(plan.search_path);
  while (true) {
    uint32_t length = 0;
    while (path[length] != '\0' && path[length] != ':') ++length;
    if (name[0] != '\0' && join_path(brief, path, length, name)) {
      const long result = check_executable(brief.program);
      if (result == 0) return brief.program;
      denied |= result == -EACCES;
    }
    if (path[length] == '\0') break;
    path += length + 1;
  }
  // ENODATA stands for "executable file not found in $PATH"; launch.cc has the words.
  give_up(brief, denied ? -EACCES : -ENODATA, finding, name);
}

void put_descriptor(char* out, int fd) {
  const uint32_t number = fd < 0 ? 0xffffu : static_cast<uint32_t>(fd);
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>('a' + (number >> (12 - 4 * i) & 15));
}

// The stub's two descriptors are the only ones of ours that survive its start (see stub.S).
void hand_over_to_stub(Brief& brief, const char* program) {
  const char prefix[] = "nacelle:";
  for (uint32_t i = 0; i < 8; ++i) brief.stub_control[i] = prefix[i];
  put_descriptor(brief.stub_control + 8, brief.wait);
  put_descriptor(brief.stub_control + 12, brief.report);
  brief.stub_control[16] = !brief.fork_last ? 'd' : has(brief, process_terminal) ? 't' : 'f';
  brief.stub_control[17] = '\0';
  brief.argv[0] = program;
  brief.argv[1] = brief.stub_control;

  constexpr int close_on_exec = 4;  // CLOSE_RANGE_CLOEXEC
  need(brief, call(SYS_close_range, 3 + brief.preserved, ~0u, close_on_exec), "closing descriptors",
       nullptr, "close_range");
  for (const int fd : {brief.wait, brief.report}) {
    if (fd >= 0) call(SYS_fcntl, fd, F_SETFD, 0);
  }
}

constexpr uint64_t listener_turns_max = uint64_t{1} << 28;

void load_filter(Brief& brief) {
  const ProcessPlan& plan = process_of(brief);
  const auto instructions = brief.plan.items(plan.seccomp);
  struct {
    uint16_t length;
    const FilterInstruction* filter;
  } program{static_cast<uint16_t>(instructions.size()), instructions.data()};
  uint32_t flags = plan.seccomp_flags;
  if (has(brief, process_seccomp_notify)) flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
  const long result = need(brief, call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program),
                           "loading linux.seccomp", nullptr, "seccomp");
  // Only when somebody traces: the profile may forbid asking for the time.
  mark(brief, Phase::Seccomp);
  if (!has(brief, process_seccomp_notify)) return;
  // Every system call from here on may be one that the listener has to answer. The parent takes the
  // descriptor through pidfd_getfd; memory is the only way left to tell it the number.
  brief.listener = static_cast<int>(result);
  // Some seconds of turns, should the parent be gone: no call could tell.
  for (uint64_t turn = 0; brief.listener_taken == 0; ++turn) {
    if (turn == listener_turns_max) __builtin_trap();
    __builtin_ia32_pause();
  }
}

}  // namespace

void set_up_process_before_root(Brief& brief) {
  if (brief.plan.header().has_process == 0) return;
  if (brief.writes_oom_score) write_oom_score(brief);
  set_security_labels(brief);
}

void set_up_process(Brief& brief) {
  const ProcessPlan& plan = process_of(brief);
  join_new_keyring(brief);
  set_limits(brief);
  set_scheduling(brief);
  set_memory_policy(brief);
  if (has(brief, process_personality)) {
    need(brief, call(SYS_personality, plan.personality), "setting linux.personality", nullptr,
         "personality");
  }
  add_home(brief);
  // As root first: the directory may be one that only root can enter; then as the user, who may be
  // the only one that can (a root without CAP_DAC_OVERRIDE on NFS).
  const long as_root = change_directory(brief);
  if (has(brief, process_no_new_privileges)) {
    need(brief, call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "setting process.noNewPrivileges",
         nullptr, "prctl");
  }
  if (plan.uid != 0) give_streams_to_user(brief);
  change_credentials(brief);
  tie_to_parent(brief);
  if (as_root < 0) {
    need(brief, change_directory(brief), "changing to process.cwd", brief.plan.text(plan.cwd),
         "chdir");
  }
  verify_working_directory(brief);
  hand_over_to_stub(brief, find_program(brief));

  // From here on the container lives without us.
  call(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
  const uint64_t no_signals = 0;
  call(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, nullptr, sizeof no_signals);
  mark(brief, Phase::Process);
  brief.handed_over = true;
  if (has(brief, process_seccomp)) load_filter(brief);
}

}  // namespace nacelle::container
