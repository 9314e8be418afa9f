#include "core/names_port.h"

#include <arpa/inet.h>
#include <linux/bpf.h>

#include <cstddef>
#include <utility>
#include <vector>

#include "base/text.h"
#include "dns/messages.h"
#include "sys/bpf.h"

namespace nacelle::core {
namespace {

struct Hook {
  bpf_attach_type type;
  const char* name;  // a program of this name does what this one does: another deed, another name
  bool outwards;     // from 53 to our port; else back
};
constexpr Hook hooks[] = {
    {BPF_CGROUP_INET4_CONNECT, "nv_names_conn1", true},
    {BPF_CGROUP_UDP4_SENDMSG, "nv_names_send1", true},
    {BPF_CGROUP_UDP4_RECVMSG, "nv_names_recv1", false},
    {BPF_CGROUP_INET4_GETPEERNAME, "nv_names_peer1", false},
};

// The few instructions there are, by what they do. 32-bit numbers, as everything here is.
class Program {
 public:
  void load(uint8_t into, size_t offset) {
    add(BPF_LDX | BPF_MEM | BPF_W, into, BPF_REG_6, static_cast<int16_t>(offset), 0);
  }
  void store(size_t offset, uint8_t from) {
    add(BPF_STX | BPF_MEM | BPF_W, BPF_REG_6, from, static_cast<int16_t>(offset), 0);
  }
  void store_on_stack(int16_t offset, uint32_t value) {
    add(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, offset, value);
  }
  void copy(uint8_t into, uint8_t from) { add(BPF_ALU64 | BPF_MOV | BPF_X, into, from, 0, 0); }
  void set(uint8_t what, uint32_t value) { add(BPF_ALU64 | BPF_MOV | BPF_K, what, 0, 0, value); }
  void plus(uint8_t what, int32_t value) {
    add(BPF_ALU64 | BPF_ADD | BPF_K, what, 0, 0, static_cast<uint32_t>(value));
  }
  void call(bpf_func_id function) { add(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
  void pass_unless_equal(uint8_t what, uint32_t value) {
    passing_.push_back(code_.size());
    add(BPF_JMP | BPF_JNE | BPF_K, what, 0, 0, value);
  }
  void pass_if_zero(uint8_t what) {
    passing_.push_back(code_.size());
    add(BPF_JMP | BPF_JEQ | BPF_K, what, 0, 0, 0);
  }
  // Everything passes, changed or not.
  std::vector<bpf_insn> finish() && {
    for (const size_t at : passing_) code_[at].off = static_cast<int16_t>(code_.size() - at - 1);
    set(BPF_REG_0, 1);
    add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    return std::move(code_);
  }

 private:
  void add(unsigned code, uint8_t to, uint8_t from, int16_t offset, uint32_t value) {
    code_.push_back({.code = static_cast<uint8_t>(code),
                     .dst_reg = static_cast<uint8_t>(to & 15),
                     .src_reg = static_cast<uint8_t>(from & 15),
                     .off = offset,
                     .imm = static_cast<int32_t>(value)});
  }
  std::vector<bpf_insn> code_;
  std::vector<size_t> passing_;
};

// Goes on only where our socket is in the network namespace of the one that asks: one that a
// container has made itself, for containers of its own, has another server at this address.
void look_for_our_socket(Program& program) {
  constexpr int16_t tuple = -16;  // bpf_sock_tuple on the stack: addresses, then ports
  constexpr size_t tuple_bytes = 12;
  constexpr uint32_t current_namespace = ~uint32_t{0};
  program.store_on_stack(tuple, 0);
  program.store_on_stack(tuple + 4, htonl(dns::server_address));
  program.store_on_stack(tuple + 8, uint32_t{htons(dns::socket_port)} << 16);
  program.copy(BPF_REG_1, BPF_REG_6);
  program.copy(BPF_REG_2, BPF_REG_10);
  program.plus(BPF_REG_2, tuple);
  program.set(BPF_REG_3, tuple_bytes);
  program.set(BPF_REG_4, current_namespace);
  program.set(BPF_REG_5, 0);
  program.call(BPF_FUNC_sk_lookup_udp);
  program.pass_if_zero(BPF_REG_0);
  program.copy(BPF_REG_1, BPF_REG_0);
  program.call(BPF_FUNC_sk_release);
}

// An address of ours with the one port gets the other.
std::vector<bpf_insn> program_for(const Hook& hook) {
  const uint16_t from = hook.outwards ? dns::server_port : dns::socket_port;
  const uint16_t to = hook.outwards ? dns::socket_port : dns::server_port;
  Program program;
  program.copy(BPF_REG_6, BPF_REG_1);
  program.load(BPF_REG_2, offsetof(bpf_sock_addr, user_ip4));
  program.pass_unless_equal(BPF_REG_2, htonl(dns::server_address));
  program.load(BPF_REG_2, offsetof(bpf_sock_addr, user_port));
  program.pass_unless_equal(BPF_REG_2, htons(from));
  if (hook.outwards) look_for_our_socket(program);
  program.set(BPF_REG_2, htons(to));
  program.store(offsetof(bpf_sock_addr, user_port), BPF_REG_2);
  return std::move(program).finish();
}

// The program's id; 0: it is not there.
Result<uint32_t> find_attached(const Fd& group, const Hook& hook) {
  for (const uint32_t id : TRY(sys::query_cgroup_programs(group, hook.type))) {
    const auto program = sys::open_program(id);
    if (!program) continue;  // it has just gone
    const auto name = sys::read_program_name(*program);
    if (name && *name == hook.name) return id;
  }
  return 0;
}

Result<> attach_missing(const Fd& group) {
  for (const Hook& hook : hooks) {
    if (TRY(find_attached(group, hook)) != 0) continue;
    const Fd program = TRY(sys::load_address_program(program_for(hook), hook.type, hook.name));
    TRY(sys::attach_to_cgroup(group, program, hook.type));
  }
  return {};
}

}  // namespace

Result<> NamesPort::ensure(const sys::CgroupTree& tree, const std::string& cgroup_root) {
  if (group_) {
    const auto attached = sys::query_cgroup_programs(group_, hooks[0].type);
    if (attached && contains(*attached, first_program_)) return {};
  }
  const auto doing = [] { return std::string("answering names at 127.0.0.11"); };
  group_ = TRY(sys::ensure_cgroup(tree, cgroup_root).context(doing)).dir;
  TRY(attach_missing(group_).context(doing));
  first_program_ = TRY(find_attached(group_, hooks[0]).context(doing));
  return {};
}

}  // namespace nacelle::core
