#include "container/seccomp_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/text.h"
#include "oci/spec_parse.h"

namespace nacelle::container {
namespace {

// Counts the meanings of a file: raised whenever the format, the tables or the compiler change what
// a profile becomes.
constexpr uint32_t format_version = 1;
constexpr char magic[8] = {'N', 'A', 'C', 'S', 'E', 'C', 'C', '\n'};
constexpr std::string_view temporary_prefix = "new-";
constexpr size_t file_bytes_max = seccomp_cache_profile_bytes_max + (64u << 10);

// What follows: the instructions, the kernel release, the profile, the warnings (each ended by a
// newline). Read only by the build that wrote it, so in the machine's own byte order.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t native;  // oci::SeccompArch
  uint32_t filter_flags;
  uint32_t has_notify;
  uint32_t instructions;
  uint32_t release_bytes;
  uint32_t profile_bytes;
  uint32_t warning_bytes;
};
static_assert(sizeof(Header) % alignof(codec::CbpfInstruction) == 0);

struct Wanted {
  std::string_view profile;
  std::string_view release;
  uint32_t native;
};

// Names a file, decides nothing: eight bytes at a time, so that a profile of 8 KiB costs a
// microsecond.
class Hash {
 public:
  void add(std::string_view bytes) {
    add(bytes.size());
    while (bytes.size() >= 8) {
      uint64_t word;
      memcpy(&word, bytes.data(), 8);
      add(word);
      bytes.remove_prefix(8);
    }
    uint64_t rest = 0;
    if (!bytes.empty()) memcpy(&rest, bytes.data(), bytes.size());
    add(rest);
  }
  void add(uint64_t word) {
    const auto product = static_cast<unsigned __int128>(state_ ^ word) * 0x9e3779b97f4a7c15u;
    state_ = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0x2545f4914f6cdd1d;
};

std::string file_name(const Wanted& wanted) {
  Hash hash;
  hash.add(format_version);
  hash.add(wanted.native);
  hash.add(wanted.release);
  hash.add(wanted.profile);
  static constexpr char digits[] = "0123456789abcdef";
  std::string name(16, '0');
  uint64_t value = hash.value();
  for (char& digit : name) {
    digit = digits[value >> 60];
    value <<= 4;
  }
  return name;
}

bool is_private_file(const struct stat& status) {
  return S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
         (status.st_mode & 07777) == 0600 && status.st_nlink == 1;
}

// The whole file in one read, or nothing when it is not one that we could have written.
std::optional<std::vector<char>> read_private_file(const Fd& directory, const std::string& name) {
  // A FIFO in its place must not hold us up.
  const int opened =
      openat(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0) return std::nullopt;
  const Fd file(opened);
  struct stat status;
  if (fstat(file.get(), &status) != 0 || !is_private_file(status)) return std::nullopt;
  const auto size = static_cast<size_t>(status.st_size);
  if (size < sizeof(Header) || size > file_bytes_max) return std::nullopt;
  std::vector<char> bytes(size);
  if (read(file.get(), bytes.data(), size) != static_cast<ssize_t>(size)) return std::nullopt;
  return bytes;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) lines.emplace_back(take_until(text, '\n'));
  return lines;
}

// The program in `bytes` if it is the one for `wanted`; otherwise nothing.
std::optional<SeccompProgram> decode(const std::vector<char>& bytes, const Wanted& wanted) {
  Header header;
  memcpy(&header, bytes.data(), sizeof header);
  if (memcmp(header.magic, magic, sizeof magic) != 0 || header.version != format_version ||
      header.native != wanted.native || header.release_bytes != wanted.release.size() ||
      header.profile_bytes != wanted.profile.size() || header.has_notify > 1) {
    return std::nullopt;
  }
  // In 64 bits, so that no sum of these 32-bit sizes can wrap.
  const uint64_t total =
      sizeof header + uint64_t{header.instructions} * sizeof(codec::CbpfInstruction) +
      header.release_bytes + uint64_t{header.profile_bytes} + header.warning_bytes;
  if (total != bytes.size()) return std::nullopt;

  const char* at = bytes.data() + sizeof header;
  SeccompProgram program{.instructions = std::vector<codec::CbpfInstruction>(header.instructions),
                         .filter_flags = header.filter_flags,
                         .has_notify = header.has_notify == 1,
                         .warnings = {}};
  const size_t program_bytes = header.instructions * sizeof(codec::CbpfInstruction);
  if (program_bytes > 0) memcpy(program.instructions.data(), at, program_bytes);
  at += program_bytes;
  if (std::string_view(at, header.release_bytes) != wanted.release) return std::nullopt;
  at += header.release_bytes;
  if (std::string_view(at, header.profile_bytes) != wanted.profile) return std::nullopt;
  at += header.profile_bytes;
  const bool listens = (program.filter_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
  if (listens != program.has_notify) return std::nullopt;
  if (!codec::check_seccomp_program(program.instructions)) return std::nullopt;
  program.warnings = split_lines({at, header.warning_bytes});
  return program;
}

std::string encode(const SeccompProgram& program, const Wanted& wanted) {
  std::string warnings;
  for (const std::string& warning : program.warnings) warnings += cat(warning, '\n');
  Header header{.magic = {},
                .version = format_version,
                .native = wanted.native,
                .filter_flags = program.filter_flags,
                .has_notify = program.has_notify,
                .instructions = static_cast<uint32_t>(program.instructions.size()),
                .release_bytes = static_cast<uint32_t>(wanted.release.size()),
                .profile_bytes = static_cast<uint32_t>(wanted.profile.size()),
                .warning_bytes = static_cast<uint32_t>(warnings.size())};
  memcpy(header.magic, magic, sizeof magic);
  return cat(std::string_view(reinterpret_cast<const char*>(&header), sizeof header),
             std::string_view(reinterpret_cast<const char*>(program.instructions.data()),
                              program.instructions.size() * sizeof(codec::CbpfInstruction)),
             wanted.release, wanted.profile, warnings);
}

// A name may hold a newline that would split its warning; such a program is not stored.
bool is_storable(const SeccompProgram& program) {
  for (const std::string& warning : program.warnings) {
    if (warning.empty() || warning.find('\n') != std::string::npos) return false;
  }
  return true;
}

// Removes files, any of them, until there is room for one more. Two processes may do this at once:
// then a few files more go, or stay until the next insertion.
void make_room(const Fd& directory) {
  const int opened = openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return;
  const std::unique_ptr<DIR, decltype([](DIR* stream) { closedir(stream); })> stream(
      fdopendir(opened));
  if (!stream) {
    close(opened);
    return;
  }
  size_t kept = 0;
  while (const dirent* entry = readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (++kept >= seccomp_cache_files_max) unlinkat(directory.get(), entry->d_name, 0);
  }
}

bool write_whole(const Fd& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file.get(), bytes.data(), bytes.size());
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// Never seen half-written: it gets its name when it is whole. Not synced, the directory is meant
// for a tmpfs and a torn file is a miss.
void store(const Fd& directory, const std::string& name, std::string_view bytes) {
  if (bytes.size() > file_bytes_max) return;
  make_room(directory);
  const std::string temporary = cat(temporary_prefix, name, '-', getpid());
  const auto create = [&] {
    return openat(directory.get(), temporary.c_str(),
                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  };
  int opened = create();
  if (opened < 0 && errno == EEXIST) {
    // Left by a process of the same number that was killed here.
    unlinkat(directory.get(), temporary.c_str(), 0);
    opened = create();
  }
  if (opened < 0) return;
  const Fd file(opened);
  // The umask may have taken bits that the reader asks for.
  const bool written = fchmod(file.get(), 0600) == 0 && write_whole(file, bytes);
  if (!written ||
      renameat(directory.get(), temporary.c_str(), directory.get(), name.c_str()) != 0) {
    unlinkat(directory.get(), temporary.c_str(), 0);
  }
}

// Outlives the key that borrows the release.
class Release {
 public:
  explicit Release(std::string_view given) : given_(given) {
    if (given_.empty() && uname(&names_) == 0) given_ = names_.release;
  }
  Release(const Release&) = delete;
  Release& operator=(const Release&) = delete;
  std::string_view text() const { return given_; }

 private:
  utsname names_;
  std::string_view given_;
};

}  // namespace

Result<Fd> open_seccomp_cache(const char* path) {
  const auto doing = [&] { return cat("filter cache '", path, "'"); };
  const bool made = mkdir(path, 0700) == 0;
  if (!made && errno != EEXIST) return fail_errno(errno, doing());
  const int opened = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (opened < 0) return fail_errno(errno, doing());
  Fd directory(opened);
  struct stat status;
  if (fstat(directory.get(), &status) != 0) return fail_errno(errno, doing());
  if (status.st_uid != geteuid() || (status.st_mode & 07777) != 0700) {
    return fail(Kind::Denied, cat(doing(), ": must belong to user ", geteuid(), " with mode 0700"));
  }
  return directory;
}

std::string seccomp_cache_file(const SeccompCacheKey& key, const SeccompTarget& target) {
  const Release release(key.kernel_release);
  return file_name({key.profile_json, release.text(), static_cast<uint32_t>(target.native)});
}

Result<SeccompProgram> load_or_compile(const Fd& directory, const SeccompCacheKey& key,
                                       const SeccompTarget& target) {
  const Release release(key.kernel_release);
  const Wanted wanted{key.profile_json, release.text(), static_cast<uint32_t>(target.native)};
  const bool cacheable = wanted.profile.size() <= seccomp_cache_profile_bytes_max;
  const std::string name = file_name(wanted);
  if (cacheable) {
    if (const auto bytes = read_private_file(directory, name)) {
      if (auto program = decode(*bytes, wanted)) return *std::move(program);
    }
  }
  const oci::Seccomp profile = TRY(oci::parse_seccomp(key.profile_json));
  SeccompProgram program = TRY(compile_seccomp(profile, target));
  if (cacheable && is_storable(program)) store(directory, name, encode(program, wanted));
  return program;
}

}  // namespace nacelle::container
