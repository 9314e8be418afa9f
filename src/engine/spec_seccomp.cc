#include "engine/spec_seccomp.h"

#include <sys/utsname.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "oci/names.h"

namespace nacelle::engine {
namespace {

constexpr std::string_view default_profile_text =
#include "engine/spec_seccomp_default.inc"
    ;

#if defined(__x86_64__)
constexpr std::string_view native_arch = "amd64";
#elif defined(__aarch64__)
constexpr std::string_view native_arch = "arm64";
#else
#error "which architecture is this to Docker's profiles?"
#endif

struct ArchNames {
  std::string_view go;
  std::string_view seccomp;
  std::vector<std::string_view> with_sub;  // and those whose programs it runs too
};
ArchNames names_of(std::string_view arch) {
  if (arch == "arm64") return {arch, "SCMP_ARCH_AARCH64", {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}};
  return {arch, "SCMP_ARCH_X86_64", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}};
}

struct Argument {
  uint32_t index = 0;
  uint64_t value = 0, value_two = 0;
  std::string op;
};

// `includes` or `excludes` of a rule.
struct Condition {
  std::vector<std::string> caps, arches;
  std::string min_kernel;
};

struct Rule {
  std::vector<std::string> names;
  std::string action;
  std::optional<uint32_t> errno_ret;
  std::vector<Argument> args;
  Condition includes, excludes;
};

bool has_capability(const SeccompHost& host, std::string_view name) {
  const auto number = oci::find_capability(name);
  return number && (host.bounding >> *number & 1) != 0;
}

// Nothing: not a version.
std::optional<bool> kernel_is_at_least(const SeccompHost& host, std::string_view version) {
  std::string_view rest = version;
  const auto major = parse_number<unsigned>(take_until(rest, '.'));
  const auto minor = parse_number<unsigned>(rest);
  if (!major || !minor) return std::nullopt;
  return std::pair(host.kernel_major, host.kernel_minor) >= std::pair(*major, *minor);
}

Result<bool> applies(const Rule& rule, const SeccompHost& host) {
  const auto have = [&](const std::string& name) { return has_capability(host, name); };
  const Condition& no = rule.excludes;
  if (contains(no.arches, host.arch) || std::ranges::any_of(no.caps, have)) return false;
  const Condition& yes = rule.includes;
  if (!yes.arches.empty() && !contains(yes.arches, host.arch)) return false;
  if (!std::ranges::all_of(yes.caps, have)) return false;
  for (const auto& [version, wanted] :
       {std::pair(&no.min_kernel, false), {&yes.min_kernel, true}}) {
    if (version->empty()) continue;
    const auto is = kernel_is_at_least(host, *version);
    if (!is) return fail(Kind::Invalid, cat("invalid kernel version: \"", *version, "\""));
    if (*is != wanted) return false;
  }
  return true;
}

void write_rule(codec::json::Writer& json, const Rule& rule) {
  json.begin_object();
  json.key("names").values(rule.names);
  json.member("action", rule.action);
  if (rule.errno_ret) json.member("errnoRet", *rule.errno_ret);
  if (!rule.args.empty()) {
    json.key("args").begin_array();
    for (const Argument& each : rule.args) {
      json.begin_object().member("index", each.index).member("value", each.value);
      if (each.value_two != 0) json.member("valueTwo", each.value_two);
      json.member("op", each.op).end_object();
    }
    json.end_array();
  }
  json.end_object();
}

// Our own text ----------------------------------------------------------------------------------

void split_into(std::vector<std::string>& list, std::string_view text, std::string_view before) {
  while (!text.empty()) list.push_back(cat(before, take_until(text, ',')));
}

Argument parse_argument(std::string_view text) {
  Argument argument;
  const size_t at = text.find_first_of("<>=&");
  argument.index = *parse_number<uint32_t>(text.substr(0, at));
  std::string_view rest = text.substr(at);
  if (rest.starts_with("==")) {
    argument.op = "SCMP_CMP_EQ";
    argument.value = *parse_number<uint64_t>(rest.substr(2));
  } else if (rest.starts_with('&')) {
    argument.op = "SCMP_CMP_MASKED_EQ";
    argument.value = *parse_number<uint64_t>(rest.substr(1, rest.find("==") - 1));
  } else {
    argument.op = rest.starts_with('<') ? "SCMP_CMP_LT" : "SCMP_CMP_GT";
    argument.value = *parse_number<uint64_t>(rest.substr(1));
  }
  return argument;
}

void parse_condition(Rule& rule, std::string_view word) {
  if (word.starts_with("arg")) {
    rule.args.push_back(parse_argument(word.substr(3)));
    return;
  }
  const bool negated = word.starts_with('!');
  if (negated) word.remove_prefix(1);
  Condition& condition = negated ? rule.excludes : rule.includes;
  const std::string_view key = take_until(word, '=');
  if (key == "cap") split_into(condition.caps, word, "CAP_");
  if (key == "arch") split_into(condition.arches, word, "");
  if (key == "kernel") condition.min_kernel = word;
}

Rule parse_line(std::string_view line) {
  Rule rule;
  const std::string_view action = take_until(line, ' ');
  rule.action = "SCMP_ACT_ALLOW";
  if (action.starts_with("errno=")) {
    rule.action = "SCMP_ACT_ERRNO";
    rule.errno_ret = parse_number<uint32_t>(action.substr(6));
  }
  bool conditions = false;
  while (!line.empty()) {
    const std::string_view word = take_until(line, ' ');
    if (word.empty()) continue;
    if (word == ":") {
      conditions = true;
    } else if (conditions) {
      parse_condition(rule, word);
    } else {
      rule.names.emplace_back(word);
    }
  }
  return rule;
}

std::vector<Rule> parse_default_profile() {
  std::vector<std::string> lines;
  std::string_view rest = default_profile_text;
  while (!rest.empty()) {
    const std::string_view line = take_until(rest, '\n');
    if (line.empty()) continue;
    if (line.starts_with("  ")) {
      lines.back() += line;
    } else {
      lines.emplace_back(line);
    }
  }
  std::vector<Rule> rules;
  for (const std::string& line : lines) rules.push_back(parse_line(line));
  return rules;
}

const std::vector<Rule>& default_rules() {
  static const std::vector<Rule> rules = parse_default_profile();
  return rules;
}

// Docker's JSON ---------------------------------------------------------------------------------

using codec::json::Object;
using codec::json::Value;

Result<> read_json(const Value& value, Argument& argument) {
  const Object json = TRY(value.object());
  TRY(json.maybe("index", argument.index));
  TRY(json.maybe("value", argument.value));
  TRY(json.maybe("valueTwo", argument.value_two));
  TRY(json.maybe("op", argument.op));
  return {};
}

Result<> read_json(const Value& value, Condition& condition) {
  const Object json = TRY(value.object());
  TRY(json.maybe("caps", condition.caps));
  TRY(json.maybe("arches", condition.arches));
  TRY(json.maybe("minKernel", condition.min_kernel));
  return {};
}

Result<> read_json(const Value& value, Rule& rule) {
  const Object json = TRY(value.object());
  std::string name;
  TRY(json.maybe("name", name));
  TRY(json.maybe("names", rule.names));
  if (!name.empty()) {
    if (!rule.names.empty()) {
      return fail(Kind::Invalid,
                  "both 'name' and 'names' are specified in the seccomp profile, use either 'name' "
                  "or 'names'");
    }
    rule.names.push_back(std::move(name));
  }
  TRY(json.maybe("action", rule.action));
  TRY(json.maybe("errnoRet", rule.errno_ret));
  TRY(json.maybe("args", rule.args));
  TRY(json.maybe("includes", rule.includes));
  TRY(json.maybe("excludes", rule.excludes));
  return {};
}

struct ArchMapEntry {
  std::string architecture;
  std::vector<std::string> sub;
};
Result<> read_json(const Value& value, ArchMapEntry& entry) {
  const Object json = TRY(value.object());
  TRY(json.maybe("architecture", entry.architecture));
  TRY(json.maybe("subArchitectures", entry.sub));
  return {};
}

struct Profile {
  std::string default_action;
  std::optional<uint32_t> default_errno_ret;
  std::vector<std::string> architectures, flags;
  std::vector<ArchMapEntry> arch_map;
  std::string listener_path, listener_metadata;
  std::vector<Rule> rules;
};

Result<Profile> parse_profile(std::string_view text) {
  constexpr size_t depth_max = 16;
  const auto document = TRY(codec::json::Document::parse(
      text, {.bytes_max = seccomp_profile_bytes_max, .depth_max = depth_max}));
  const Object json = TRY(document.root().object());
  Profile profile;
  TRY(json.maybe("defaultAction", profile.default_action));
  TRY(json.maybe("defaultErrnoRet", profile.default_errno_ret));
  TRY(json.maybe("architectures", profile.architectures));
  TRY(json.maybe("archMap", profile.arch_map));
  TRY(json.maybe("flags", profile.flags));
  TRY(json.maybe("listenerPath", profile.listener_path));
  TRY(json.maybe("listenerMetadata", profile.listener_metadata));
  TRY(json.maybe("syscalls", profile.rules));
  return profile;
}

void choose_architectures(Profile& profile, const SeccompHost& host) {
  const std::string_view native = names_of(host.arch).seccomp;
  for (ArchMapEntry& each : profile.arch_map) {
    if (each.architecture != native) continue;
    profile.architectures = {each.architecture};
    for (std::string& sub : each.sub) profile.architectures.push_back(std::move(sub));
    return;
  }
}

Result<std::string> write_profile(const Profile& profile, const SeccompHost& host) {
  codec::json::Writer json;
  json.begin_object().member("defaultAction", profile.default_action);
  if (profile.default_errno_ret) json.member("defaultErrnoRet", *profile.default_errno_ret);
  if (!profile.architectures.empty()) json.key("architectures").values(profile.architectures);
  if (!profile.flags.empty()) json.key("flags").values(profile.flags);
  if (!profile.listener_path.empty()) json.member("listenerPath", profile.listener_path);
  if (!profile.listener_metadata.empty())
    json.member("listenerMetadata", profile.listener_metadata);
  json.key("syscalls").begin_array();
  for (const Rule& rule : profile.rules) {
    if (TRY(applies(rule, host))) write_rule(json, rule);
  }
  json.end_array().end_object();
  return std::move(json).take();
}

}  // namespace

SeccompHost seccomp_host(uint64_t bounding) {
  SeccompHost host{.bounding = bounding, .arch = native_arch};
  utsname names{};
  if (::uname(&names) != 0) return host;
  std::string_view rest = names.release;
  host.kernel_major = parse_number<unsigned>(take_until(rest, '.')).value_or(0);
  const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  host.kernel_minor = parse_number<unsigned>(rest.substr(0, digits)).value_or(0);
  return host;
}

uint64_t seccomp_default_capabilities() {
  static const uint64_t mask = [] {
    uint64_t bits = 0;
    for (const Rule& rule : default_rules()) {
      for (const auto* list : {&rule.includes.caps, &rule.excludes.caps}) {
        for (const std::string& name : *list) {
          const auto number = oci::find_capability(name);
          CHECK(number);  // our own text
          bits |= uint64_t{1} << *number;
        }
      }
    }
    return bits;
  }();
  return mask;
}

std::string default_seccomp(const SeccompHost& host) {
  Profile profile;
  profile.default_action = "SCMP_ACT_ERRNO";
  profile.default_errno_ret = 1;
  for (const std::string_view name : names_of(host.arch).with_sub) {
    profile.architectures.emplace_back(name);
  }
  profile.rules = default_rules();
  auto text = write_profile(profile, host);
  CHECK(text);  // our own versions are versions
  return *std::move(text);
}

Result<std::string> read_seccomp_profile(std::string_view json, const SeccompHost& host) {
  auto read = parse_profile(json);
  if (!read) {
    return fail(Kind::Invalid, cat("Decoding seccomp profile failed: ", read.error().message()));
  }
  Profile& profile = *read;
  if (profile.default_action.empty() && profile.rules.empty()) return std::string();
  if (!profile.architectures.empty() && !profile.arch_map.empty()) {
    return fail(Kind::Invalid,
                "both 'architectures' and 'archMap' are specified in the seccomp profile, use "
                "either 'architectures' or 'archMap'");
  }
  choose_architectures(profile, host);
  return write_profile(profile, host);
}

}  // namespace nacelle::engine
