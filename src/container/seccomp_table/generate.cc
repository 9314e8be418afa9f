// Writes the table name -> system call number of every architecture that the build machine's
// libseccomp knows, as a C++ fragment on standard output. Running it at build time keeps libseccomp
// (114 KB) out of the static binary and answers for all architectures with one look-up.
#include <seccomp.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "container/seccomp_columns.h"

namespace {

using nacelle::container::arm_private;
using nacelle::container::arm_private_folded;
using nacelle::container::syscall_absent;
using nacelle::container::syscall_columns;

using Row = std::array<uint16_t, syscall_columns>;
using Table = std::map<std::string, Row>;

struct Column {
  uint32_t token;
  int first;  // the architecture's lowest number
};

// In the order of SyscallColumn.
constexpr Column columns[] = {
    {SCMP_ARCH_X86, 0},       {SCMP_ARCH_X86_64, 0},       {SCMP_ARCH_X32, 0},
    {SCMP_ARCH_ARM, 0},       {SCMP_ARCH_AARCH64, 0},      {SCMP_ARCH_MIPS, 4000},
    {SCMP_ARCH_MIPS64, 5000}, {SCMP_ARCH_MIPS64N32, 6000}, {SCMP_ARCH_PARISC, 0},
    {SCMP_ARCH_PARISC64, 0},  {SCMP_ARCH_PPC, 0},          {SCMP_ARCH_PPC64, 0},
    {SCMP_ARCH_RISCV64, 0},   {SCMP_ARCH_S390, 0},         {SCMP_ARCH_S390X, 0},
};
static_assert(std::size(columns) == syscall_columns);

constexpr int numbers_per_architecture = 1000;

void note(Table& table, int column, int number, uint16_t stored) {
  char* name = seccomp_syscall_resolve_num_arch(columns[column].token, number);
  if (name == nullptr) return;
  auto [entry, is_new] = table.try_emplace(name);
  if (is_new) entry->second.fill(syscall_absent);
  entry->second[static_cast<size_t>(column)] = stored;
  free(name);
}

Table read_libseccomp() {
  Table table;
  for (int column = 0; column < syscall_columns; ++column) {
    const int first = columns[column].first;
    for (int number = first; number < first + numbers_per_architecture; ++number) {
      note(table, column, number, static_cast<uint16_t>(number));
    }
    if (columns[column].token != SCMP_ARCH_ARM) continue;
    for (int number = 0; number < 16; ++number) {
      note(table, column, static_cast<int>(arm_private) + number,
           static_cast<uint16_t>(arm_private_folded + number));
    }
  }
  return table;
}

}  // namespace

int main() {
  const Table table = read_libseccomp();
  printf("constexpr char syscall_names[] =\n");
  for (const auto& [name, row] : table) printf("    \"%s\"\n", name.c_str());
  printf("    ;\nconstexpr SyscallRow syscall_rows[] = {\n");
  size_t at = 0;
  for (const auto& [name, row] : table) {
    printf("    {%zu, %zu, {", at, name.size());
    for (const uint16_t number : row) printf("%u, ", static_cast<unsigned>(number));
    printf("}},\n");
    at += name.size();
  }
  printf("};\n");
  return table.empty() ? 1 : 0;
}
