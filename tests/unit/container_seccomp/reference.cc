#include "tests/unit/container_seccomp/reference.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>

namespace nacelle::container::test {
namespace {

using oci::SeccompAction;
using oci::SeccompArch;
using oci::SeccompOperator;

uint32_t action_of(SeccompAction action, std::optional<uint32_t> data) {
  const uint32_t low = data.value_or(EPERM) & 0xffff;
  switch (action) {
    case SeccompAction::KillThread: return SCMP_ACT_KILL_THREAD;
    case SeccompAction::KillProcess: return SCMP_ACT_KILL_PROCESS;
    case SeccompAction::Trap: return SCMP_ACT_TRAP;
    case SeccompAction::Errno: return SCMP_ACT_ERRNO(low);
    case SeccompAction::Trace: return SCMP_ACT_TRACE(low);
    case SeccompAction::Allow: return SCMP_ACT_ALLOW;
    case SeccompAction::Log: return SCMP_ACT_LOG;
    case SeccompAction::Notify: return SCMP_ACT_NOTIFY;
  }
  abort();
}

scmp_compare operator_of(SeccompOperator op) {
  switch (op) {
    case SeccompOperator::NotEqual: return SCMP_CMP_NE;
    case SeccompOperator::Less: return SCMP_CMP_LT;
    case SeccompOperator::LessOrEqual: return SCMP_CMP_LE;
    case SeccompOperator::Equal: return SCMP_CMP_EQ;
    case SeccompOperator::GreaterOrEqual: return SCMP_CMP_GE;
    case SeccompOperator::Greater: return SCMP_CMP_GT;
    case SeccompOperator::MaskedEqual: return SCMP_CMP_MASKED_EQ;
  }
  abort();
}

using Filter = std::unique_ptr<void, decltype([](void* filter) { seccomp_release(filter); })>;

int add_rule(const Filter& filter, const oci::SeccompRule& rule, int number, uint32_t action) {
  std::vector<scmp_arg_cmp> conditions;
  std::map<uint32_t, int> times;
  bool twice = false;
  for (const auto& arg : rule.args) {
    conditions.push_back({arg.index, operator_of(arg.op), arg.value, arg.value_two});
    twice |= ++times[arg.index] > 1;
  }
  if (!twice) {
    return seccomp_rule_add_array(filter.get(), action, number,
                                  static_cast<unsigned>(conditions.size()), conditions.data());
  }
  for (const scmp_arg_cmp& condition : conditions) {
    if (const int error = seccomp_rule_add_array(filter.get(), action, number, 1, &condition)) {
      return error;
    }
  }
  return 0;
}

std::string export_bytes(const Filter& filter, int (*write)(const scmp_filter_ctx, int)) {
  const int file = memfd_create("filter", MFD_CLOEXEC);
  EXPECT_EQ(write(filter.get(), file), 0);
  std::string bytes(static_cast<size_t>(lseek(file, 0, SEEK_END)), '\0');
  EXPECT_EQ(pread(file, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  close(file);
  return bytes;
}

std::vector<codec::CbpfInstruction> export_program(const Filter& filter) {
  const std::string bytes = export_bytes(filter, seccomp_export_bpf);
  std::vector<codec::CbpfInstruction> program(bytes.size() / sizeof(codec::CbpfInstruction));
  memcpy(program.data(), bytes.data(), bytes.size());
  return program;
}

std::string export_text(const Filter& filter) { return export_bytes(filter, seccomp_export_pfc); }

// The readable form: `if (condition)`, `else` and `action NAME;`, nested by indentation; a block
// that reaches no action falls through to what follows it.
class TextFilter {
 public:
  TextFilter(const std::string& text, const codec::SeccompData& data) : data_(data) {
    const bool in_x32 =
        text.find("# filter for arch x32 ") != std::string::npos && (data.number & 0x40000000) != 0;
    const bool has_both = text.find("# filter for arch x32 ") != std::string::npos;
    bool skip = false;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      const size_t indent = line.find_first_not_of(' ');
      if (indent == std::string::npos) continue;
      if (line.starts_with("# filter for arch ")) {
        // x86_64 and x32 have the same mark and each its own section.
        skip = has_both && ((line.starts_with("# filter for arch x86_64 ") && in_x32) ||
                            (line.starts_with("# filter for arch x32 ") && !in_x32));
      }
      if (line.starts_with("# invalid")) skip = false;
      if (!skip && line[indent] != '#') lines_.push_back({indent, line.substr(indent)});
    }
  }

  std::optional<uint32_t> run() const { return run(0, lines_.size()); }

 private:
  struct Line {
    size_t indent;
    std::string text;
  };

  std::optional<uint32_t> run(size_t at, size_t end) const {
    while (at < end) {
      const Line& line = lines_[at];
      if (line.text.starts_with("action ")) return action(line.text);
      const size_t then_end = block_end(at + 1, end, line.indent);
      size_t else_end = then_end;
      const bool has_else = then_end < end && lines_[then_end].indent == line.indent &&
                            lines_[then_end].text == "else";
      if (has_else) else_end = block_end(then_end + 1, end, line.indent);
      std::optional<uint32_t> result;
      if (holds(line.text)) {
        result = run(at + 1, then_end);
      } else if (has_else) {
        result = run(then_end + 1, else_end);
      }
      if (result) return result;
      at = else_end;
    }
    return std::nullopt;
  }

  size_t block_end(size_t at, size_t end, size_t indent) const {
    while (at < end && lines_[at].indent > indent) ++at;
    return at;
  }

  static uint32_t action(const std::string& text) {
    unsigned data = 0;
    if (sscanf(text.c_str(), "action ERRNO(%u)", &data) == 1) return SCMP_ACT_ERRNO(data);
    if (sscanf(text.c_str(), "action TRACE(%u)", &data) == 1) return SCMP_ACT_TRACE(data);
    static const std::map<std::string, uint32_t> names = {
        {"action KILL;", SCMP_ACT_KILL_THREAD},
        {"action KILL_PROCESS;", SCMP_ACT_KILL_PROCESS},
        {"action TRAP;", SCMP_ACT_TRAP},
        {"action LOG;", SCMP_ACT_LOG},
        {"action ALLOW;", SCMP_ACT_ALLOW}};
    return names.at(text);
  }

  bool holds(const std::string& text) const {
    char what[16], op[4];
    unsigned mask = UINT32_MAX, value = 0;
    if (sscanf(text.c_str(), "if ($%15s & 0x%x == %u)", what, &mask, &value) == 3) {
      return (word(what) & mask) == value;
    }
    EXPECT_EQ(sscanf(text.c_str(), "if ($%15s %3s %u)", what, op, &value), 3) << text;
    const std::string_view operation = op;
    if (operation == "==") return word(what) == value;
    if (operation == ">=") return word(what) >= value;
    EXPECT_EQ(operation, ">");
    return word(what) > value;
  }

  uint32_t word(std::string_view what) const {
    if (what == "arch") return data_.arch;
    if (what == "syscall") return data_.number;
    const uint64_t arg = data_.args[static_cast<size_t>(what[1] - '0')];
    return static_cast<uint32_t>(what.ends_with(".hi32") ? arg >> 32 : arg);
  }

  const codec::SeccompData& data_;
  std::vector<Line> lines_;
};

uint32_t token_of(SeccompArch arch) {
  for (const KnownArch& known : known_archs()) {
    if (known.id == arch) return known.token;
  }
  abort();
}

// Numbers by name; libseccomp's own look-up by name hides the numbers of calls that are
// multiplexed too.
std::map<std::string, uint32_t, std::less<>> numbers_of(SeccompArch arch) {
  std::map<std::string, uint32_t, std::less<>> numbers;
  const uint32_t token = token_of(arch);
  for (uint32_t number = 0; number < 0xf0010; ++number) {
    if (number == 8000) number = 0xf0000;
    // libseccomp subtracts the base of these only where it can.
    if (token == SCMP_ARCH_MIPSEL64 && number < 5000) continue;
    if (token == SCMP_ARCH_MIPSEL64N32 && number < 6000) continue;
    char* name = seccomp_syscall_resolve_num_arch(token, static_cast<int>(number));
    if (name == nullptr) continue;
    numbers[name] = token == SCMP_ARCH_X32 ? number | 0x40000000 : number;
    free(name);
  }
  return numbers;
}

const std::map<std::string, uint32_t, std::less<>>& numbers(SeccompArch arch) {
  static std::map<SeccompArch, std::map<std::string, uint32_t, std::less<>>> by_arch;
  auto& known = by_arch[arch];
  if (known.empty()) known = numbers_of(arch);
  return known;
}

}  // namespace

const std::vector<KnownArch>& known_archs() {
  static const std::vector<KnownArch> archs = {
      {SeccompArch::X86_64, SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64},
      {SeccompArch::X86, SCMP_ARCH_X86, AUDIT_ARCH_I386},
      {SeccompArch::X32, SCMP_ARCH_X32, AUDIT_ARCH_X86_64},
      {SeccompArch::Arm, SCMP_ARCH_ARM, AUDIT_ARCH_ARM},
      {SeccompArch::Aarch64, SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64},
      {SeccompArch::Mipsel, SCMP_ARCH_MIPSEL, AUDIT_ARCH_MIPSEL},
      {SeccompArch::Mipsel64, SCMP_ARCH_MIPSEL64, AUDIT_ARCH_MIPSEL64},
      {SeccompArch::Mipsel64N32, SCMP_ARCH_MIPSEL64N32, AUDIT_ARCH_MIPSEL64N32},
      {SeccompArch::Ppc64le, SCMP_ARCH_PPC64LE, AUDIT_ARCH_PPC64LE},
      {SeccompArch::Riscv64, SCMP_ARCH_RISCV64, AUDIT_ARCH_RISCV64},
  };
  return archs;
}

std::optional<uint32_t> libseccomp_number(SeccompArch arch, std::string_view name) {
  const auto found = numbers(arch).find(name);
  if (found == numbers(arch).end()) return std::nullopt;
  return found->second;
}

bool libseccomp_knows(const std::string& name) {
  return seccomp_syscall_resolve_name(name.c_str()) != __NR_SCMP_ERROR;
}

std::vector<std::string> libseccomp_names(SeccompArch arch) {
  std::vector<std::string> names;
  for (const auto& [name, number] : numbers(arch)) names.push_back(name);
  return names;
}

uint32_t run_text(const std::string& text, const codec::SeccompData& data) {
  const auto result = TextFilter(text, data).run();
  EXPECT_TRUE(result);
  return result.value_or(0);
}

Reference compile_with_libseccomp(const oci::Seccomp& profile, uint32_t optimize) {
  Reference reference;
  const uint32_t fallback = action_of(profile.default_action, profile.default_errno_ret);
  const Filter filter(seccomp_init(fallback));
  EXPECT_TRUE(filter);
  for (const SeccompArch arch : profile.architectures) {
    const int added = seccomp_arch_add(filter.get(), token_of(arch));
    EXPECT_TRUE(added == 0 || added == -EEXIST) << added;
  }
  EXPECT_EQ(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, optimize), 0);
  for (const oci::SeccompRule& rule : profile.rules) {
    const uint32_t action = action_of(rule.action, rule.errno_ret);
    if (action == fallback) continue;
    for (const std::string& name : rule.names) {
      const int number = seccomp_syscall_resolve_name(name.c_str());
      if (number == __NR_SCMP_ERROR) continue;
      if (const int error = add_rule(filter, rule, number, action)) {
        reference.error = -error;
        return reference;
      }
    }
  }
  reference.program = export_program(filter);
  reference.text = export_text(filter);
  return reference;
}

}  // namespace nacelle::container::test
