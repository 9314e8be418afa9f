#include "sys/bpf.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/text.h"

namespace nacelle::sys {
namespace {

constexpr size_t verifier_log_bytes = 64u << 10;
constexpr size_t verifier_log_shown_bytes = 512;
constexpr int load_attempts_max = 5;
constexpr uint32_t attached_programs_max = 64;  // BPF_CGROUP_MAX_PROGS

// Every field a command does not use must be zero, padding included: start from zeroed memory.
bpf_attr empty_attr() {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  return attr;
}

long bpf(bpf_cmd command, bpf_attr& attr) {
  return ::syscall(SYS_bpf, command, &attr, sizeof attr);
}

uint64_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

std::unexpected<Error> fail_bpf(int error_number, std::string_view attempt) {
  switch (error_number) {
    case EPERM:
      return fail(Kind::Denied, cat(attempt,
                                    ": Operation not permitted: this needs CAP_BPF and "
                                    "CAP_NET_ADMIN, or CAP_SYS_ADMIN, outside any user namespace"));
    case ENOSYS: return fail(Kind::Unsupported, cat(attempt, ": this kernel has no bpf(2)"));
    case E2BIG: return fail(Kind::Exhausted, cat(attempt, ": too many programs or instructions"));
    default: return fail_errno(error_number, attempt);
  }
}

std::string tail_of(std::string_view log) {
  while (log.ends_with('\n')) log.remove_suffix(1);
  if (log.size() > verifier_log_shown_bytes) {
    log.remove_prefix(log.size() - verifier_log_shown_bytes);
  }
  return std::string(log);
}

bpf_attr attachment(const Fd& cgroup, const Fd& program, bpf_attach_type type) {
  bpf_attr attr = empty_attr();
  attr.target_fd = static_cast<uint32_t>(cgroup.get());
  attr.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attr.attach_type = type;
  return attr;
}

}  // namespace

Result<Fd> load_device_program(std::span<const bpf_insn> instructions, const char* name) {
  bpf_attr attr = empty_attr();
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.expected_attach_type = BPF_CGROUP_DEVICE;
  attr.insns = address(instructions.data());
  attr.insn_cnt = static_cast<uint32_t>(instructions.size());
  attr.license = address("");  // no GPL-only helper is called
  std::strncpy(attr.prog_name, name, sizeof attr.prog_name - 1);
  long fd = -1;
  // The verifier gives up with EAGAIN when a signal is pending.
  for (int attempt = 0; attempt < load_attempts_max && fd < 0; ++attempt) {
    fd = bpf(BPF_PROG_LOAD, attr);
    if (fd < 0 && errno != EAGAIN) break;
  }
  if (fd >= 0) return Fd(static_cast<int>(fd));
  const int error_number = errno;
  if (error_number != EINVAL && error_number != EACCES) {
    return fail_bpf(error_number, "loading the device program");
  }
  // Asked for only now: a log makes every load dearer.
  std::string log(verifier_log_bytes, '\0');
  attr.log_level = 1;
  attr.log_buf = address(log.data());
  attr.log_size = static_cast<uint32_t>(log.size());
  const Fd second(static_cast<int>(bpf(BPF_PROG_LOAD, attr)));
  return fail(Kind::Internal,
              cat("loading the device program: the verifier refuses it: ", tail_of(log.c_str())));
}

Result<> attach_to_cgroup(const Fd& cgroup, const Fd& program, bpf_attach_type type) {
  bpf_attr attr = attachment(cgroup, program, type);
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, attr) == 0) return {};
  return fail_bpf(errno, "attaching a BPF program to the cgroup");
}

Result<> replace_on_cgroup(const Fd& cgroup, const Fd& program, const Fd& old,
                           bpf_attach_type type) {
  bpf_attr attr = attachment(cgroup, program, type);
  attr.attach_flags = BPF_F_ALLOW_MULTI | BPF_F_REPLACE;
  attr.replace_bpf_fd = static_cast<uint32_t>(old.get());
  if (bpf(BPF_PROG_ATTACH, attr) == 0) return {};
  return fail_bpf(errno, "replacing a BPF program of the cgroup");
}

Result<> detach_from_cgroup(const Fd& cgroup, const Fd& program, bpf_attach_type type) {
  bpf_attr attr = attachment(cgroup, program, type);
  if (bpf(BPF_PROG_DETACH, attr) == 0) return {};
  return fail_bpf(errno, "detaching a BPF program from the cgroup");
}

Result<std::vector<uint32_t>> query_cgroup_programs(const Fd& cgroup, bpf_attach_type type) {
  std::vector<uint32_t> ids(attached_programs_max);
  bpf_attr attr = empty_attr();
  attr.query.target_fd = static_cast<uint32_t>(cgroup.get());
  attr.query.attach_type = type;
  attr.query.prog_ids = address(ids.data());
  attr.query.prog_cnt = attached_programs_max;
  if (bpf(BPF_PROG_QUERY, attr) != 0) {
    return fail_bpf(errno, "asking for the BPF programs of the cgroup");
  }
  ids.resize(attr.query.prog_cnt);
  return ids;
}

Result<Fd> open_program(uint32_t id) {
  bpf_attr attr = empty_attr();
  attr.prog_id = id;
  const long fd = bpf(BPF_PROG_GET_FD_BY_ID, attr);
  if (fd < 0) return fail_bpf(errno, cat("opening BPF program ", id));
  return Fd(static_cast<int>(fd));
}

Result<std::string> read_program_name(const Fd& program) {
  bpf_prog_info info;
  std::memset(&info, 0, sizeof info);
  bpf_attr attr = empty_attr();
  attr.info.bpf_fd = static_cast<uint32_t>(program.get());
  attr.info.info = address(&info);
  attr.info.info_len = sizeof info;
  if (bpf(BPF_OBJ_GET_INFO_BY_FD, attr) != 0) {
    return fail_bpf(errno, "asking for the name of a BPF program");
  }
  return std::string(info.name, ::strnlen(info.name, sizeof info.name));
}

}  // namespace nacelle::sys
