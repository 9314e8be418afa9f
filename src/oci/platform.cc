#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "codec/json.h"
#include "oci/image.h"

// Platforms: what people write, what images say, and which of several a host should take. The rules
// are those of containerd's platforms package, so that both choose the same.
namespace nacelle::oci {
namespace {

using codec::json::in_quotes;

constexpr std::string_view known_os[] = {
    "aix",   "android", "darwin", "dragonfly", "freebsd", "hurd",    "illumos", "ios", "js",
    "linux", "nacl",    "netbsd", "openbsd",   "plan9",   "solaris", "windows", "zos",
};
constexpr std::string_view known_architectures[] = {
    "386",     "amd64",   "amd64p32", "arm",    "armbe",  "arm64",    "arm64be",   "ppc64",
    "ppc64le", "loong64", "mips",     "mipsle", "mips64", "mips64le", "mips64p32", "mips64p32le",
    "ppc",     "riscv",   "riscv64",  "s390",   "s390x",  "sparc",    "sparc64",   "wasm",
};

// How much worse each step away from the exact platform is; see platform_match().
constexpr int other_architecture = 50;
constexpr int earlier_generation = 10;

template <class Table>
bool is_one_of(const Table& table, std::string_view name) {
  return std::ranges::find(table, name) != std::end(table);
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

void normalize_arm(std::string& variant) {
  if (variant.empty()) variant = "v7";
  if (variant.size() == 1 && variant[0] >= '5' && variant[0] <= '8') variant.insert(0, 1, 'v');
}

void normalize_architecture(std::string& architecture, std::string& variant) {
  architecture = lower_case(architecture);
  variant = lower_case(variant);
  if (architecture == "i386") {
    architecture = "386";
    variant.clear();
  } else if (architecture == "x86_64" || architecture == "x86-64" || architecture == "amd64") {
    architecture = "amd64";
    if (variant == "v1") variant.clear();
  } else if (architecture == "aarch64" || architecture == "arm64") {
    architecture = "arm64";
    if (variant == "8" || variant == "v8") variant.clear();
  } else if (architecture == "armhf") {
    architecture = "arm";
    variant = "v7";
  } else if (architecture == "armel") {
    architecture = "arm";
    variant = "v6";
  } else if (architecture == "arm") {
    normalize_arm(variant);
  }
}

// "v8.2" as 802: comparable, and one number per minor version.
std::optional<int> version_of(std::string_view variant) {
  if (variant.starts_with('v')) variant.remove_prefix(1);
  const std::string_view major = take_until(variant, '.');
  const auto high = parse_number<uint8_t>(major);
  const auto low = variant.empty() ? 0 : parse_number<uint8_t>(variant);
  if (!high || !low || *low > 99) return std::nullopt;
  return *high * 100 + *low;
}

int by_version(std::optional<int> wanted, std::optional<int> offered, int lowest) {
  if (!wanted || !offered || *offered > *wanted || *offered < lowest) return 0;
  // Later is better; minor versions of an architecture are few.
  const int distance = (*wanted - *offered) / 100 * 10 + std::min((*wanted - *offered) % 100, 9);
  return std::max(platform_match_exact - distance, other_architecture + 1);
}

// What is left out goes without saying: the first of its kind.
std::optional<int> version_or(std::string_view variant, int otherwise) {
  return variant.empty() ? otherwise : version_of(variant);
}

int match_arm64(const Platform& wanted, const Platform& offered) {
  const auto have = version_or(wanted.variant, 800);
  const auto need = version_or(offered.variant, 800);
  if (!have || !need) return 0;
  // Armv9.x contains Armv8.(x+5).
  if (*have >= 900 && *have < 1000 && *need < 900) {
    const int match = by_version(*have - 100 + 5, need, 800);
    return match == 0 ? 0 : match - earlier_generation;
  }
  return by_version(have, need, *have >= 900 ? 900 : 800);
}

// Of the same operating system; both normalized.
int match_architecture(const Platform& wanted, const Platform& offered) {
  if (wanted.architecture == offered.architecture) {
    if (wanted.variant == offered.variant) return platform_match_exact;
    if (wanted.architecture == "amd64") {
      return by_version(version_or(wanted.variant, 100), version_or(offered.variant, 100), 100);
    }
    if (wanted.architecture == "arm") {
      return by_version(version_of(wanted.variant), version_of(offered.variant), 500);
    }
    if (wanted.architecture == "arm64") return match_arm64(wanted, offered);
    return 0;
  }
  if (wanted.architecture == "amd64" && offered.architecture == "386") {
    return offered.variant.empty() ? other_architecture : 0;
  }
  if (wanted.architecture == "arm64" && offered.architecture == "arm") {
    const int match = by_version(800, version_of(offered.variant), 500);
    return match == 0 ? 0 : match - other_architecture;
  }
  return 0;
}

bool is_component(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

// "windows(10.0.17763)" or "linux"; false when it is neither.
bool parse_os(std::string_view text, Platform& platform) {
  const size_t bracket = text.find('(');
  if (bracket != std::string_view::npos) {
    if (!text.ends_with(')')) return false;
    const std::string_view version = text.substr(bracket + 1, text.size() - bracket - 2);
    if (!version.empty() && !is_component(version)) return false;
    platform.os_version = version;
    text = text.substr(0, bracket);
  }
  if (!is_component(text) || text.contains('.')) return false;
  platform.os = lower_case(text);
  if (platform.os == "macos") platform.os = "darwin";
  return true;
}

// "linux" or "arm64": the rest is this host's.
Result<Platform> complete_platform(Platform platform, std::string_view text) {
  const Platform host = host_platform();
  if (is_one_of(known_os, platform.os)) {
    platform.architecture = host.architecture;
    platform.variant = host.variant;
    return platform;
  }
  platform.architecture = text;
  normalize_architecture(platform.architecture, platform.variant);
  if (!is_one_of(known_architectures, platform.architecture)) {
    return fail(Kind::Invalid, cat("platform ", in_quotes(text),
                                   ": neither an operating system nor an architecture"));
  }
  platform.os = host.os;
  return platform;
}

bool is_attestation(const Descriptor& entry) {
  if (entry.annotations.contains("vnd.docker.reference.type")) return true;
  return entry.platform && entry.platform->os == "unknown" &&
         entry.platform->architecture == "unknown";
}

// What there is, for the message: each platform once, and not without end.
std::string list_platforms(const Index& index) {
  constexpr size_t shown_max = 24;
  std::vector<std::string> names;
  for (const Descriptor& entry : index.manifests) {
    if (is_attestation(entry) || !entry.artifact_type.empty()) continue;
    std::string name =
        entry.platform ? in_quotes(entry.platform->text()) : "one without a platform";
    if (!is_manifest_type(entry.media_type) && !is_index_type(entry.media_type)) {
      name = cat("a ", in_quotes(entry.media_type));
    }
    if (!is_one_of(names, name)) names.push_back(std::move(name));
  }
  if (names.empty()) return "it has no images";
  std::string out = "there is ";
  for (size_t i = 0; i < std::min(names.size(), shown_max); ++i) {
    if (i != 0) out += ", ";
    out += names[i];
  }
  if (names.size() > shown_max) out += cat(" and ", names.size() - shown_max, " more");
  return out;
}

// The best of those whose type is right, the first of equals. Entries without a platform match
// nothing here.
const Descriptor* find_best(const Index& index, const Platform& wanted,
                            bool (*is_type)(std::string_view)) {
  const Descriptor* best = nullptr;
  int best_match = 0;
  for (const Descriptor& entry : index.manifests) {
    if (!is_type(entry.media_type) || !entry.platform) continue;
    if (is_attestation(entry) || !entry.artifact_type.empty()) continue;
    const int match = platform_match(wanted, *entry.platform);
    if (match <= best_match) continue;
    best = &entry;
    best_match = match;
  }
  return best;
}

// The only entry of this type that does not say for whom it is.
const Descriptor* find_only_unnamed(const Index& index, bool (*is_type)(std::string_view)) {
  const Descriptor* found = nullptr;
  for (const Descriptor& entry : index.manifests) {
    if (!is_type(entry.media_type) || entry.platform) continue;
    if (is_attestation(entry) || !entry.artifact_type.empty()) continue;
    if (found != nullptr) return nullptr;
    found = &entry;
  }
  return found;
}

}  // namespace

std::string Platform::text() const {
  std::string out = os.empty() ? "unknown" : os;
  if (!architecture.empty()) out += cat('/', architecture);
  if (!variant.empty()) out += cat('/', variant);
  return out;
}

Platform host_platform() {
  Platform host;
  host.os = "linux";
#if defined(__x86_64__)
  host.architecture = "amd64";
#elif defined(__aarch64__)
  host.architecture = "arm64";
#elif defined(__i386__)
  host.architecture = "386";
#elif defined(__arm__)
  host.architecture = "arm";
  host.variant = __ARM_ARCH >= 7 ? "v7" : __ARM_ARCH == 6 ? "v6" : "v5";
#elif defined(__riscv) && __riscv_xlen == 64
  host.architecture = "riscv64";
#elif defined(__s390x__)
  host.architecture = "s390x";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
  host.architecture = "ppc64le";
#elif defined(__loongarch64)
  host.architecture = "loong64";
#else
#error "name this processor as Go does"
#endif
  return host;
}

Platform normalized(const Platform& platform) {
  Platform out = platform;
  out.os = lower_case(out.os);
  if (out.os == "macos") out.os = "darwin";
  normalize_architecture(out.architecture, out.variant);
  return out;
}

Result<Platform> parse_platform(std::string_view text) {
  const auto malformed = [&] {
    return fail(Kind::Invalid,
                cat("platform ", in_quotes(text), ": expected OS, ARCH or OS/ARCH[/VARIANT]"));
  };
  std::string_view rest = text;
  const auto slashes = std::ranges::count(text, '/');
  Platform platform;
  if (slashes > 2 || !parse_os(take_until(rest, '/'), platform)) return malformed();
  if (slashes == 0) return complete_platform(std::move(platform), text);
  platform.architecture = take_until(rest, '/');
  if (!is_component(platform.architecture)) return malformed();
  if (slashes == 2) {
    if (!is_component(rest)) return malformed();
    platform.variant = rest;
  }
  normalize_architecture(platform.architecture, platform.variant);
  // Whoever writes the variant sees it again.
  if (slashes == 2 && platform.architecture == "arm64" && platform.variant.empty()) {
    platform.variant = "v8";
  }
  return platform;
}

int platform_match(const Platform& wanted, const Platform& offered) {
  const Platform host = normalized(wanted);
  const Platform image = normalized(offered);
  if (host.os != image.os) return 0;
  return match_architecture(host, image);
}

Result<Descriptor> choose_platform(const Index& index, const Platform& wanted) {
  const Descriptor* chosen = find_best(index, wanted, is_manifest_type);
  if (chosen == nullptr) chosen = find_best(index, wanted, is_index_type);
  if (chosen == nullptr) chosen = find_only_unnamed(index, is_index_type);
  if (chosen == nullptr) chosen = find_only_unnamed(index, is_manifest_type);
  if (chosen != nullptr) return *chosen;
  return fail(Kind::NotFound,
              cat("no image for ", in_quotes(wanted.text()), ": ", list_platforms(index)));
}

}  // namespace nacelle::oci
