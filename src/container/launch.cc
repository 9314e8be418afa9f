#include "container/launch.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/check.h"
#include "base/text.h"
#include "codec/cbpf.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"
#include "sys/process.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

extern "C" {
extern const char nacelle_stub_begin[];
extern const char nacelle_stub_end[];
}

namespace nacelle::container {
namespace {

constexpr size_t child_stack_bytes = 512u << 10;
// The other namespaces are made by the child (child.cc): a network namespace alone takes the kernel
// some 0.3 ms, in which a loop that starts containers would stand still.
constexpr uint64_t namespaces_by_clone = CLONE_NEWPID | CLONE_NEWUSER;

// clone3 whose child runs `run(argument)` and never returns here. With a stack in `arguments` the
// child must not touch the caller's frame, hence the call in assembly.
long clone3_running(clone_args* arguments, int (*run)(void*), void* argument) {
  long result;
  register void* r8 asm("r8") = argument;
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"  // the outermost frame, for unwinders
      "movq %%r8, %%rdi\n\t"
      "andq $-16, %%rsp\n\t"
      "call *%%rdx\n\t"
      "hlt\n\t"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone3), "D"(arguments), "S"(sizeof *arguments), "d"(run), "r"(r8)
      : "rcx", "r11", "memory");
  return result;
}

// No handler of the caller may run in a child that shares its memory.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    const uint64_t every = ~uint64_t{0};
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &every, &before_, sizeof before_);
  }
  ~AllSignalsBlocked() {
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_);
  }

 private:
  uint64_t before_ = 0;
};

// Entering a pid namespace takes effect for children only: the caller enters it for the clone and
// returns.
class PidNamespaceForChildren {
 public:
  Result<> enter(int fd) {
    own_ = TRY(sys::open_at(sys::working_directory, "/proc/self/ns/pid", O_RDONLY));
    if (::setns(fd, CLONE_NEWPID) < 0) {
      own_ = Fd();
      return fail_errno(errno, "joining namespace: setns 'pid'");
    }
    return {};
  }
  ~PidNamespaceForChildren() {
    if (own_) CHECK(::setns(own_.get(), CLONE_NEWPID) == 0);
  }

 private:
  Fd own_;
};

// Go, and with it Docker, matches the kernel's words in lower case.
std::string errno_words(int error_number) {
  std::string words = ::strerror(error_number);
  if (words.size() > 1 && words[0] >= 'A' && words[0] <= 'Z' && words[1] >= 'a') {
    words[0] = static_cast<char>(words[0] - 'A' + 'a');
  }
  return words;
}

Error program_error(int error_number, std::string_view program) {
  // The texts are runc's: its callers choose exit status 126 or 127 by them.
  if (error_number == ENODATA) {
    return Error(Kind::NotFound,
                 cat("exec: \"", program, "\": executable file not found in $PATH"));
  }
  if (error_number == ENOENT) {
    return Error(Kind::NotFound,
                 cat("exec: \"", program, "\": stat ", program, ": no such file or directory"));
  }
  return Error(kind_of_errno(error_number),
               cat("exec: \"", program, "\": ", errno_words(error_number)));
}

uint64_t namespace_type(const Fd& fd) {
  const int type = ::ioctl(fd.get(), NACELLE_NS_GET_NSTYPE);
  return type < 0 ? 0 : static_cast<uint64_t>(type);
}

// A user namespace with these maps, for MOUNT_ATTR_IDMAP. It lives as long as the descriptor.
Result<Fd> make_user_namespace(std::string_view uid_map, std::string_view gid_map) {
  clone_args arguments{};
  int raw_pidfd = -1;
  arguments.flags = CLONE_NEWUSER | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&raw_pidfd);
  arguments.exit_signal = SIGCHLD;
  const long pid = sys::call(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0)
    return fail_errno(static_cast<int>(-pid), "making a user namespace for idmap: clone3");
  if (pid == 0) {
    while (true) sys::call(SYS_pause);
  }
  const Fd pidfd(raw_pidfd);
  const std::string directory = cat("/proc/", pid);
  Result<Fd> opened =
      sys::open_at(sys::working_directory, cat(directory, "/ns/user").c_str(), O_RDONLY);
  Result<> mapped =
      sys::write_file_at(sys::working_directory, cat(directory, "/uid_map").c_str(), uid_map);
  if (mapped) {
    mapped =
        sys::write_file_at(sys::working_directory, cat(directory, "/gid_map").c_str(), gid_map);
  }
  sys::call(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  TRY(sys::reap(pidfd));
  TRY(std::move(mapped));
  return opened;
}

}  // namespace

Result<Fd> make_stub() {
  const std::string_view stub(nacelle_stub_begin,
                              static_cast<size_t>(nacelle_stub_end - nacelle_stub_begin));
  return sys::make_sealed_memory_file("nacelle-stub", stub, true);
}

// Whether the filter of the plan lets a system call through to the kernel or to its listener.
bool Launch::filter_allows(uint32_t number, uint64_t first_argument) const {
  const auto filter = plan_.items(plan_.header().process.seccomp);
  if (filter.empty()) return true;
  const std::span program(reinterpret_cast<const codec::CbpfInstruction*>(filter.data()),
                          filter.size());
  if (!codec::check_seccomp_program(program)) return false;
  codec::SeccompData call{
      .number = number, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0, .args = {}};
  call.args[0] = first_argument;
  const uint32_t verdict = codec::run_seccomp(program, call).action & SECCOMP_RET_ACTION_FULL;
  return verdict == SECCOMP_RET_ALLOW || verdict == SECCOMP_RET_LOG ||
         verdict == SECCOMP_RET_USER_NOTIF || verdict == SECCOMP_RET_TRACE;
}

// Whether only the program itself enters a running container's pid namespace (stub.S, "f"). Not
// under a filter that forbids the clone, nor with a listener, which is told our child's number
// before the stub has made the program.
bool Launch::forks_last() const {
  if (options_.init < 0 || (options_.init_namespaces & CLONE_NEWPID) == 0) return false;
  if ((plan_.header().process.flags & process_seccomp_notify) != 0) return false;
  return filter_allows(SYS_clone, CLONE_PARENT | SIGCHLD);
}

bool Launch::child_needs_own_memory() const {
  // Where others are in the pid namespace, they may have the capability to look into the child: a
  // copy of our memory is bad enough.
  bool watched =
      options_.init >= 0 && (options_.init_namespaces & CLONE_NEWPID) != 0 && !forks_last();
  for (const Join& join : joins_) watched |= join.type == CLONE_NEWPID;
  if (watched || writes_oom_score_) return true;
  uint64_t namespaces = new_namespaces_ | options_.init_namespaces;
  for (const Join& join : joins_) namespaces |= join.type;
  return (namespaces & CLONE_NEWTIME) != 0;
}

// New namespaces belong to the user namespace of their maker, and a task that has entered a new
// user namespace may no longer join the host's others. So a joined user namespace is entered, and
// with a new one all others are joined, before the clone that makes the container's first process.
bool Launch::needs_trampoline() const {
  if (joins_.empty()) return false;
  if ((new_namespaces_ & CLONE_NEWUSER) != 0) return true;
  return contains(joins_, uint64_t{CLONE_NEWUSER}, &Join::type);
}

// The kernel keeps one oom_score_adj for all that share memory, so the child may change it only in
// a copy. Most often it has the right one already: it is inherited.
Result<> Launch::look_at_oom_score() {
  if ((plan_.header().process.flags & process_oom_score) == 0) return {};
  const std::string text =
      TRY(sys::read_file_at(sys::working_directory, "/proc/self/oom_score_adj", 64));
  writes_oom_score_ = text != cat(plan_.header().process.oom_score_adj, "\n");
  return {};
}

// What a caller may not combine; a plan is checked as a whole by itself.
Result<> Launch::check_options() const {
  constexpr uint64_t joinable =
      CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  for (const JoinedNamespace& join : options_.joined) {
    if (!std::has_single_bit(join.type) || (join.type & joinable) == 0 || join.fd < 0) {
      return fail(Kind::Invalid, "joining namespace: not a kind that can be joined by descriptor");
    }
  }
  if (options_.root_mount >= 0 && (plan_.header().flags & plan_own_mounts) == 0) {
    return fail(Kind::Invalid, "a root that is a mount needs a mount namespace");
  }
  return {};
}

// Whether nothing needs the host's mounts once the sources of binds are open: no hook that is to
// find the host's files around the root, no file system that names one, nothing that comes later.
// In a user namespace a new procfs may be mounted only where another one is in view.
bool Launch::leaves_mounts_at_once() const {
  const PlanHeader& header = plan_.header();
  if (options_.bare_mounts < 0 || options_.root_mount < 0) return false;
  if ((new_namespaces_ & CLONE_NEWNS) == 0 || (header.flags & plan_user_namespace) != 0)
    return false;
  if (header.hooks.count > 0 || header.net_devices.count > 0) return false;
  constexpr std::string_view without_source[] = {"proc",   "sysfs",  "tmpfs",
                                                 "devpts", "mqueue", "cgroup2"};
  return std::ranges::all_of(plan_.items(header.mounts), [&](const MountStep& step) {
    return step.kind != MountKind::New || contains(without_source, plan_.view(step.type));
  });
}

Result<> Launch::open_joins() {
  new_namespaces_ = plan_.header().new_namespaces;
  for (const JoinStep& join : plan_.items(plan_.header().joins)) {
    const char* path = plan_.text(join.path);
    // Not to wait for a writer, should the path be a FIFO.
    Fd fd = TRY(sys::open_at(sys::working_directory, path, O_RDONLY | O_NONBLOCK)
                    .context("joining namespace"));
    if (namespace_type(fd) != join.type) {
      return fail(Kind::Invalid,
                  cat("linux.namespaces: '", path, "' is not a namespace of that type"));
    }
    joins_.push_back({fd.get(), join.type, path});
    joins_opened_.push_back(std::move(fd));
  }
  for (const JoinedNamespace& join : options_.joined) {
    joins_.push_back({join.fd, join.type, nullptr});
    new_namespaces_ &= ~join.type;
  }
  return {};
}

Result<> Launch::make_trees() {
  const auto idmaps = plan_.items(plan_.header().idmaps);
  for (const MountStep& step : plan_.items(plan_.header().mounts)) {
    if (!binds(step.kind)) continue;
    int& number = trees_.emplace_back(-1);
    if (step.idmap == no_idmap) continue;  // the child's to open
    const IdmapStep& map = idmaps[step.idmap];
    const Fd users = TRY(make_user_namespace(plan_.view(map.uid_map), plan_.view(map.gid_map)));
    const char* source = plan_.text(step.source);
    const int recursive = step.kind == MountKind::BindTree ? AT_RECURSIVE : 0;
    const long raw =
        sys::call(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
    if (raw < 0) {
      return fail_errno(static_cast<int>(-raw), cat("mounting '", plan_.text(step.destination),
                                                    "': open_tree '", source, "'"));
    }
    Fd tree(static_cast<int>(raw));
    // Cloned from our own mounts, it would be a peer of the host's.
    mount_attr attributes{};
    attributes.propagation =
        (plan_.header().start_propagation & MS_PRIVATE) != 0 ? MS_PRIVATE : MS_SLAVE;
    const long apart = sys::call(SYS_mount_setattr, tree.get(), static_cast<const char*>(""),
                                 AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes);
    if (apart < 0)
      return fail_errno(static_cast<int>(-apart), cat("mounting '", plan_.text(step.destination),
                                                      "': propagation of '", source, "'"));
    attributes = {};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<uint64_t>(users.get());
    const int all = step.idmap_recursive != 0 ? AT_RECURSIVE : 0;
    const long set = sys::call(SYS_mount_setattr, tree.get(), static_cast<const char*>(""),
                               AT_EMPTY_PATH | all, &attributes, sizeof attributes);
    if (set < 0) {
      return fail_errno(static_cast<int>(-set), cat("mounting '", plan_.text(step.destination),
                                                    "': idmap of '", source, "'"));
    }
    number = tree.get();
    idmap_trees_.push_back(std::move(tree));
  }
  return {};
}

// One region: the Brief at its start, the child's stack growing down from its end.
Result<> Launch::make_brief() {
  const int sharing = child_needs_own_memory() ? MAP_SHARED : MAP_PRIVATE | MAP_STACK;
  void* region = ::mmap(nullptr, child_stack_bytes, PROT_READ | PROT_WRITE,
                        sharing | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED) return fail_errno(errno, "mmap of the child's stack");
  brief_ = new (region) Brief;
  brief_->plan = plan_;

  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(errno, "socketpair");
  handshake_ = Fd(ends[0]);
  child_end_ = Fd(ends[1]);
  if (options_.stub < 0) stub_ = TRY(make_stub());

  brief_->handshake = child_end_.get();
  brief_->stub = options_.stub < 0 ? stub_.get() : options_.stub;
  brief_->console_socket = options_.console_socket;
  for (int i = 0; i < 3; ++i) brief_->stdio[i] = options_.stdio[i];
  brief_->wait = options_.wait;
  brief_->report = options_.report >= 0 ? options_.report : child_end_.get();
  brief_->preserved = options_.preserved;
  brief_->cgroup_directory = options_.cgroup_directory;
  brief_->joins = joins_.data();
  brief_->join_count = static_cast<uint32_t>(joins_.size());
  brief_->new_namespaces = new_namespaces_;
  brief_->root_mount = options_.root_mount;
  brief_->resets_files_limit = options_.files_limit != nullptr;
  if (options_.files_limit != nullptr) {
    std::copy_n(options_.files_limit, 2, brief_->files_limit);
  }
  brief_->joined = needs_trampoline();
  brief_->trees = trees_.data();
  if (leaves_mounts_at_once()) brief_->bare_mounts = options_.bare_mounts;
  brief_->init = options_.init;
  brief_->fork_last = forks_last();
  brief_->own_memory = child_needs_own_memory();
  brief_->writes_oom_score = writes_oom_score_;
  // For the child itself, or for its children only: a task cannot change its own pid namespace.
  brief_->init_namespaces =
      options_.init_namespaces & ~(brief_->fork_last ? uint64_t{0} : uint64_t{CLONE_NEWPID});
  brief_->init_root = options_.init_root;
  brief_->traced = options_.traced;
  brief_->always_ask = options_.ask_before_pivot;

  const ProcessPlan& process = plan_.header().process;
  argv_.assign(2, nullptr);
  for (const Text one : plan_.items(process.args)) argv_.push_back(plan_.text(one));
  argv_.push_back(nullptr);
  for (const Text one : plan_.items(process.env)) envp_.push_back(plan_.text(one));
  brief_->env_count = static_cast<uint32_t>(envp_.size());
  envp_.resize(envp_.size() + 2, nullptr);
  brief_->argv = argv_.data();
  brief_->envp = envp_.data();
  return {};
}

namespace {

struct Trampoline {
  clone_args* arguments;
  Brief* brief;
  const Join* joins;
  size_t count;
  long result;      // of the inner clone3, or a negative errno
  uint64_t failed;  // the type of the namespace that could not be joined
};

// Joins what the host's credentials may join first, the user namespace then, and with the
// credentials of that one what was left.
long join_all(Trampoline& trampoline) {
  bool joined[16] = {};
  if (trampoline.count > 16) return -E2BIG;
  const auto try_all = [&](bool with_user) -> long {
    long last = 0;
    for (size_t i = 0; i < trampoline.count; ++i) {
      const uint64_t type = trampoline.joins[i].type;
      if (joined[i] || (type == CLONE_NEWUSER) != with_user) continue;
      const long result = sys::call(SYS_setns, trampoline.joins[i].fd, type);
      joined[i] = result == 0;
      if (result < 0) {
        trampoline.failed = type;
        last = result;
      }
    }
    return last;
  };
  const long first = try_all(false);
  bool has_user = false;
  for (size_t i = 0; i < trampoline.count; ++i)
    has_user |= trampoline.joins[i].type == CLONE_NEWUSER;
  if (!has_user) return first;
  const long user = try_all(true);
  return user < 0 ? user : try_all(false);
}

int run_trampoline(void* argument) {
  auto& trampoline = *static_cast<Trampoline*>(argument);
  trampoline.result = join_all(trampoline);
  if (trampoline.result == 0) {
    trampoline.failed = 0;
    trampoline.result = clone3_running(trampoline.arguments, run_child, trampoline.brief);
  }
  while (true) sys::call(SYS_exit, 0);
}

}  // namespace

// A short-lived task that joins, clones the container's first process as *our* child (CLONE_PARENT)
// and ends; the descriptor table is shared so that the pidfd arrives here.
long Launch::clone_through_trampoline(void* clone_arguments) {
  auto& inner = *static_cast<clone_args*>(clone_arguments);
  const uint64_t exit_signal = inner.exit_signal;
  inner.flags |= CLONE_PARENT;
  inner.exit_signal = 0;  // with CLONE_PARENT the trampoline's own is taken
  Trampoline trampoline{&inner, brief_, joins_.data(), joins_.size(), 0, 0};
  std::vector<char> stack(64u << 10);
  clone_args outer{};
  outer.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES;
  outer.exit_signal = exit_signal;
  outer.stack = reinterpret_cast<uintptr_t>(stack.data());
  outer.stack_size = stack.size();
  const long pid = clone3_running(&outer, run_trampoline, &trampoline);
  if (pid < 0) return pid;
  while (::waitpid(static_cast<pid_t>(pid), nullptr, __WALL) < 0 && errno == EINTR) {
  }
  return trampoline.result;
}

Result<> Launch::clone_child() {
  PidNamespaceForChildren pid_namespace;
  const bool enters_pids = options_.init >= 0 && (options_.init_namespaces & CLONE_NEWPID) != 0;
  if (enters_pids && !brief_->fork_last) {
    TRY(pid_namespace.enter(options_.init));
  }
  if (!needs_trampoline()) {
    for (const Join& join : joins_) {
      if (join.type == CLONE_NEWPID) TRY(pid_namespace.enter(join.fd));
    }
  }
  clone_args arguments{};
  int raw_pidfd = -1;
  arguments.flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | (new_namespaces_ & namespaces_by_clone);
  arguments.pidfd = reinterpret_cast<uintptr_t>(&raw_pidfd);
  arguments.exit_signal = SIGCHLD;
  const bool own_memory = child_needs_own_memory();
  if (!own_memory) arguments.flags |= CLONE_VM;
  arguments.stack = reinterpret_cast<uintptr_t>(brief_) + sizeof(Brief);
  arguments.stack_size = child_stack_bytes - sizeof(Brief);
  if (options_.cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(options_.cgroup);
  }
  long pid = 0;
  {
    const AllSignalsBlocked blocked;
    pid = needs_trampoline() ? clone_through_trampoline(&arguments)
                             : clone3_running(&arguments, run_child, brief_);
  }
  if (pid < 0) {
    return fail_errno(static_cast<int>(-pid), "making the container's process: clone3");
  }
  pid_ = static_cast<pid_t>(pid);
  pidfd_ = Fd(raw_pidfd);
  child_end_ = Fd();  // or its end would never be seen
  return {};
}

Result<std::unique_ptr<Launch>> Launch::begin(const PlanView& plan, const LaunchOptions& options) {
  CHECK(plan.header().has_process != 0);
  std::unique_ptr<Launch> launch(new Launch(plan, options));
  if (!launch->filter_allows(SYS_execveat, 0)) {
    return fail(Kind::Unsupported,
                "linux.seccomp: the profile must allow execveat, which starts the last stage");
  }
  TRY(launch->check_options());
  TRY(launch->look_at_oom_score());
  TRY(launch->open_joins());
  TRY(launch->make_trees());
  TRY(launch->make_brief());
  TRY(launch->clone_child());
  return launch;
}

void Launch::end_child() {
  if (pid_ < 0) return;
  sys::call(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  (void)sys::reap(pidfd_);
  pid_ = -1;
}

Launch::~Launch() {
  if (pidfd_) end_child();
  if (brief_ != nullptr) {
    brief_->~Brief();
    ::munmap(brief_, child_stack_bytes);
  }
}

uint64_t Launch::phase_ns(Phase phase) const {
  return brief_->phase_ns[static_cast<uint32_t>(phase)];
}

Result<> Launch::write_id_maps() {
  const PlanHeader& header = plan_.header();
  const std::string directory = cat("/proc/", pid_);
  TRY(sys::write_file_at(sys::working_directory, cat(directory, "/uid_map").c_str(),
                         plan_.view(header.uid_map))
          .context("linux.uidMappings"));
  return sys::write_file_at(sys::working_directory, cat(directory, "/gid_map").c_str(),
                            plan_.view(header.gid_map))
      .context("linux.gidMappings");
}

Result<> Launch::go_on() {
  if (listener_passed_ == false && brief_->listener >= 0) {
    listener_passed_ = true;
    brief_->listener_taken = 1;
    return {};
  }
  const char byte = static_cast<char>(Signal::GoOn);
  if (::send(handshake_.get(), &byte, 1, MSG_NOSIGNAL) != 1)
    return fail_errno(errno, "answering the container's process");
  return {};
}

// With a notifying filter the child cannot make system calls to tell that it is loaded; its memory
// is looked at in between.
Result<> Launch::wait_readable() {
  const bool notifies = (plan_.header().process.flags & process_seccomp_notify) != 0;
  pollfd waiting{handshake_.get(), POLLIN, 0};
  while (true) {
    if (notifies && !listener_passed_ && brief_->listener >= 0) return {};
    const int ready = ::poll(&waiting, 1, notifies && !listener_passed_ ? 1 : -1);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "poll");
  }
}

bool Launch::ready() const {
  if (!listener_passed_ && brief_->listener >= 0) return true;
  pollfd now{handshake_.get(), POLLIN, 0};
  return ::poll(&now, 1, 0) > 0;
}

Result<Launch::Event> Launch::next_event() {
  while (true) {
    TRY(wait_readable());
    if (!listener_passed_ && brief_->listener >= 0) {
      const long fd =
          sys::call(SYS_pidfd_getfd, pidfd_.get(), static_cast<int>(brief_->listener), 0);
      if (fd < 0)
        return fail_errno(static_cast<int>(-fd), "linux.seccomp.listenerPath: pidfd_getfd");
      listener_ = Fd(static_cast<int>(fd));
      return Event::Listener;
    }
    char byte = 0;
    const ssize_t got = ::recv(handshake_.get(), &byte, 1, MSG_PEEK);
    if (got < 0 && errno == EINTR) continue;
    // What is left after the hand-over is the stub's: an errno, or the end of the file.
    if (got != 1 || brief_->handed_over) return handle_end();
    (void)!::recv(handshake_.get(), &byte, 1, 0);
    if (byte == static_cast<char>(Signal::RunHooks)) return Event::RunHooks;
    TRY(write_id_maps());
    TRY(go_on());
    return Event::Mapped;
  }
}

// Up to the end of the file: what the stub says, four bytes each, in either order.
Result<> Launch::read_report(int& error_number, pid_t& program) {
  uint32_t word = 0;
  while (true) {
    const ssize_t got = ::recv(handshake_.get(), &word, sizeof word, MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "reading the report of the last stage");
    if (got != sizeof word) return {};
    if ((word & stub_error_bit) != 0) {
      error_number = static_cast<int>(word & ~stub_error_bit);
    } else if (brief_->fork_last && program == 0) {
      program = static_cast<pid_t>(word);
    }
  }
}

// The number came over a descriptor that a process of the container may have got hold of: it counts
// only if it is our own child, which the stub made it.
Result<Fd> open_own_child(pid_t pid) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return fail_errno(errno, "pidfd_open of the program");
  siginfo_t info{};
  const int peek = WEXITED | WNOHANG | WNOWAIT;
  if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info, peek) < 0) {
    return fail_errno(errno, "the program's number is not that of our child");
  }
  return pidfd;
}

Result<Launch::Event> Launch::handle_end() {
  const ChildFailure& failure = brief_->failure;
  if (failure.error_number != 0) {
    Error error = explain(failure);
    end_child();
    return std::unexpected(std::move(error));
  }
  int stub_errno = 0;
  pid_t program = 0;
  TRY(read_report(stub_errno, program));
  if (program > 0) {
    // The task that joined has ended; its sibling, our child, is the program.
    TRY(sys::reap(pidfd_));
    pid_ = -1;
    pidfd_ = TRY(open_own_child(program));
    pid_ = program;
  }
  if (stub_errno != 0) {
    const auto args = plan_.items(plan_.header().process.args);
    const std::string name = argv_[0] != nullptr ? argv_[0] : plan_.text(args[0]);
    end_child();
    return std::unexpected(
        Error(kind_of_errno(stub_errno), cat("exec ", name, ": ", errno_words(stub_errno))));
  }
  const bool complete = brief_->handed_over && (!brief_->fork_last || program > 0);
  if (!complete) {
    const int status = TRY(sys::reap(pidfd_));
    pid_ = -1;
    return fail(Kind::Internal, cat("the container's process ended during its start: ",
                                    WIFSIGNALED(status) ? "signal " : "exit status ",
                                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
  }
  return Event::Started;
}

Error Launch::explain(const ChildFailure& failure) const {
  if (std::string_view(failure.doing) == "exec")
    return program_error(failure.error_number, failure.noun);
  std::string attempt = failure.doing;
  if (failure.noun != nullptr) attempt += cat(" '", failure.noun, "'");
  if (failure.call != nullptr) attempt += cat(": ", failure.call);
  if (failure.argument != nullptr) attempt += cat(" '", failure.argument, "'");
  Error error = Error::from_errno(failure.error_number, attempt);
  if (brief_->kernel_says[0] == '\0') return error;
  // "e tmpfs: Unknown parameter 'x'\n"
  std::string_view words = brief_->kernel_says;
  words.remove_prefix(words.starts_with("e ") ? 2 : 0);
  words = words.substr(0, words.find('\n'));
  return Error(error.kind(), cat(error.message(), " (", words, ")"));
}

}  // namespace nacelle::container
