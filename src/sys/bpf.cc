#include "sys/bpf.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/text.h"
#include "sys/file.h"

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

Result<Fd> load_program(std::span<const bpf_insn> instructions, bpf_prog_type type,
                        bpf_attach_type hook, const char* name, std::string_view called) {
  bpf_attr attr = empty_attr();
  attr.prog_type = type;
  attr.expected_attach_type = hook;
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
    return fail_bpf(error_number, cat("loading the ", called, " program"));
  }
  // Asked for only now: a log makes every load dearer.
  std::string log(verifier_log_bytes, '\0');
  attr.log_level = 1;
  attr.log_buf = address(log.data());
  attr.log_size = static_cast<uint32_t>(log.size());
  const Fd second(static_cast<int>(bpf(BPF_PROG_LOAD, attr)));
  return fail(Kind::Internal, cat("loading the ", called,
                                  " program: the verifier refuses it: ", tail_of(log.c_str())));
}

}  // namespace

Result<Fd> load_device_program(std::span<const bpf_insn> instructions, const char* name) {
  return load_program(instructions, BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, name, "device");
}

Result<Fd> load_address_program(std::span<const bpf_insn> instructions, bpf_attach_type hook,
                                const char* name) {
  return load_program(instructions, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook, name, "address");
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

// Pins, maps --------------------------------------------------------------------------------------

Result<Fd> open_bpf_pin(const std::string& path) {
  bpf_attr attr = empty_attr();
  attr.pathname = address(path.c_str());
  const long fd = bpf(BPF_OBJ_GET, attr);
  if (fd < 0) return fail_bpf(errno, cat("opening ", path));
  return Fd(static_cast<int>(fd));
}

Result<> pin_bpf(const Fd& object, const std::string& path) {
  bpf_attr attr = empty_attr();
  attr.pathname = address(path.c_str());
  attr.bpf_fd = static_cast<uint32_t>(object.get());
  if (bpf(BPF_OBJ_PIN, attr) == 0) return {};
  return fail_bpf(errno, cat("pinning ", path));
}

Result<BpfMapShape> read_map_shape(const Fd& map) {
  bpf_map_info info;
  std::memset(&info, 0, sizeof info);
  bpf_attr attr = empty_attr();
  attr.info.bpf_fd = static_cast<uint32_t>(map.get());
  attr.info.info = address(&info);
  attr.info.info_len = sizeof info;
  if (bpf(BPF_OBJ_GET_INFO_BY_FD, attr) != 0) return fail_bpf(errno, "asking about a BPF map");
  return BpfMapShape{info.type, info.key_size, info.value_size, info.max_entries, info.map_flags};
}

namespace {

bpf_attr map_row(const Fd& map, const void* key, const void* value) {
  bpf_attr attr = empty_attr();
  attr.map_fd = static_cast<uint32_t>(map.get());
  attr.key = address(key);
  attr.value = address(value);
  return attr;
}

}  // namespace

Result<> put_map_row(const Fd& map, const void* key, const void* value) {
  bpf_attr attr = map_row(map, key, value);
  if (bpf(BPF_MAP_UPDATE_ELEM, attr) == 0) return {};
  return fail_bpf(errno, "writing a row of a BPF map");
}

Result<bool> find_map_row(const Fd& map, const void* key, void* value) {
  bpf_attr attr = map_row(map, key, value);
  if (bpf(BPF_MAP_LOOKUP_ELEM, attr) == 0) return true;
  if (errno == ENOENT) return false;
  return fail_bpf(errno, "reading a row of a BPF map");
}

Result<> erase_map_row(const Fd& map, const void* key) {
  bpf_attr attr = map_row(map, key, nullptr);
  if (bpf(BPF_MAP_DELETE_ELEM, attr) == 0 || errno == ENOENT) return {};
  return fail_bpf(errno, "deleting a row of a BPF map");
}

Result<bool> next_map_key(const Fd& map, const void* key, void* next) {
  bpf_attr attr = map_row(map, key, next);
  if (bpf(BPF_MAP_GET_NEXT_KEY, attr) == 0) return true;
  if (errno == ENOENT) return false;
  return fail_bpf(errno, "asking for the next row of a BPF map");
}

Result<bool> read_map_batch(const Fd& map, BpfBatch& batch) {
  bpf_attr attr = empty_attr();
  attr.batch.map_fd = static_cast<uint32_t>(map.get());
  attr.batch.in_batch = address(batch.from);
  attr.batch.out_batch = address(batch.to);
  attr.batch.keys = address(batch.keys);
  attr.batch.values = address(batch.values);
  attr.batch.count = batch.count;
  const long status = bpf(BPF_MAP_LOOKUP_BATCH, attr);
  // ENOENT: the end, with what there was until then.
  if (status != 0 && errno != ENOENT) return fail_bpf(errno, "reading rows of a BPF map");
  batch.count = attr.batch.count;
  return status == 0;
}

Result<uint32_t> count_possible_cpus() {
  // "0-3": what is possible begins with 0 and has no gaps.
  const std::string text =
      TRY(read_file_at(working_directory, "/sys/devices/system/cpu/possible", 4096));
  const size_t digits = text.find_last_of("0123456789");
  if (digits == std::string::npos) return fail(Kind::Internal, "no CPU is possible");
  const size_t begin = text.find_last_not_of("0123456789", digits) + 1;
  const auto last =
      parse_number<uint32_t>(std::string_view(text).substr(begin, digits + 1 - begin));
  if (!last || *last > 65535) return fail(Kind::Internal, cat("possible CPUs: '", text, "'"));
  return *last + 1;
}

// Programs on network interfaces
// -------------------------------------------------------------------

namespace {

// Linux 6.6; the headers of Debian 12 are 6.1's. REMOVE when 6.6 is what one builds with.
constexpr uint32_t tcx_ingress = 46, tcx_egress = 47, flag_before = 1u << 3;

uint32_t attach_type(NetworkSide side) {
  return side == NetworkSide::Ingress ? tcx_ingress : tcx_egress;
}

}  // namespace

Result<> attach_to_interface(uint32_t index, const Fd& program, NetworkSide side, const Fd* old) {
  bpf_attr attr = empty_attr();
  attr.target_fd = index;  // target_ifindex, by its later name
  attr.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attr.attach_type = attach_type(side);
  attr.attach_flags = flag_before;
  if (old != nullptr) {
    attr.attach_flags = BPF_F_REPLACE;
    attr.replace_bpf_fd = static_cast<uint32_t>(old->get());
  }
  if (bpf(BPF_PROG_ATTACH, attr) == 0) return {};
  if (errno == EINVAL) return fail(Kind::Unsupported, "this kernel has no tcx (Linux 6.6)");
  return fail_bpf(errno, "attaching a BPF program to a network interface");
}

Result<std::vector<uint32_t>> query_interface_programs(uint32_t index, NetworkSide side) {
  std::vector<uint32_t> ids(attached_programs_max);
  bpf_attr attr = empty_attr();
  attr.query.target_fd = index;
  attr.query.attach_type = attach_type(side);
  attr.query.prog_ids = address(ids.data());
  attr.query.prog_cnt = attached_programs_max;
  if (bpf(BPF_PROG_QUERY, attr) != 0) {
    return fail_bpf(errno, "asking for the BPF programs of a network interface");
  }
  ids.resize(attr.query.prog_cnt);
  return ids;
}

}  // namespace nacelle::sys
