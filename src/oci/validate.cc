#include "oci/validate.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "oci/validate_parts.h"

namespace nacelle::oci {
namespace {

constexpr size_t host_name_bytes_max = 64;  // the kernel's __NEW_UTS_LEN

bool is_version_number(std::string_view text) {
  return parse_number<uint32_t>(text) && (text == "0" || !text.starts_with('0'));
}

bool is_version_suffix(std::string_view text) {
  while (true) {
    const bool more = text.contains('.');
    const std::string_view part = take_until(text, '.');
    const auto allowed = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
    };
    if (part.empty() || !std::ranges::all_of(part, allowed)) return false;
    if (!more) return true;
  }
}

Result<> validate_version(std::string_view version) {
  const auto complain = [&](std::string_view why) {
    return wrong("ociVersion", cat(codec::json::in_quotes(version), ": ", why));
  };
  std::string_view rest = version;
  const size_t suffix_at = rest.find_first_of("-+");
  if (suffix_at != std::string_view::npos) {
    std::string_view suffix = rest.substr(suffix_at);
    rest = rest.substr(0, suffix_at);
    const size_t build_at = suffix.find('+');
    if (build_at != std::string_view::npos) {
      if (!is_version_suffix(suffix.substr(build_at + 1))) return complain("not a version");
      suffix = suffix.substr(0, build_at);
    }
    if (!suffix.empty() && !is_version_suffix(suffix.substr(1))) return complain("not a version");
  }
  const std::string_view major = take_until(rest, '.');
  const std::string_view minor = take_until(rest, '.');
  if (!is_version_number(major) || !is_version_number(minor) || !is_version_number(rest)) {
    return complain("not a version");
  }
  if (major != "1") return complain("unsupported");
  return {};
}

Result<> validate_host_name(std::string_view name, std::string_view path, const Linux& linux_) {
  if (name.empty()) return {};
  if (name.size() > host_name_bytes_max) {
    return wrong(path, cat("longer than ", host_name_bytes_max, " bytes"));
  }
  if (!has_namespace(linux_, NamespaceType::Uts)) return wrong(path, "needs a uts namespace");
  return {};
}

Result<> validate_mount_mappings(const Mount& mount, const std::string& path, const Linux& linux_) {
  TRY(validate_mappings(mount.uid_mappings, path + ".uidMappings"));
  TRY(validate_mappings(mount.gid_mappings, path + ".gidMappings"));
  if (mount.uid_mappings.empty() != mount.gid_mappings.empty()) {
    return wrong(path + (mount.uid_mappings.empty() ? ".uidMappings" : ".gidMappings"),
                 "missing: mappings of users and of groups come together");
  }
  const bool idmapped = std::ranges::any_of(mount.options, [](const std::string& option) {
    return option == "idmap" || option == "ridmap";
  });
  if (idmapped && mount.uid_mappings.empty() && !has_namespace(linux_, NamespaceType::User)) {
    return wrong(path + ".options", "'idmap' needs mappings, here or of a user namespace");
  }
  return {};
}

Result<> validate_hook_list(const std::vector<Hook>& hooks, std::string_view name) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    const Hook& hook = hooks[i];
    // Paths are put together only when there is something to say.
    const auto at = [&](std::string_view member) { return element(name, i, member); };
    if (!hook.path.starts_with('/')) return wrong(at(".path"), "must be absolute");
    if (hook.timeout_s && *hook.timeout_s <= 0) {
      return wrong(at(".timeout"), "must be greater than zero");
    }
    TRY(validate_environment(hook.env, at(".env")));
  }
  return {};
}

}  // namespace

Isolation isolation(const Linux& linux_, NamespaceType type) {
  for (const Namespace& each : linux_.namespaces) {
    if (each.type == type) return each.path.empty() ? Isolation::New : Isolation::Joined;
  }
  return Isolation::Host;
}

bool is_number_list(std::string_view list) {
  while (true) {
    const bool more = list.contains(',');
    std::string_view range = take_until(list, ',');
    const bool is_range = range.contains('-');
    const auto first = parse_number<uint32_t>(take_until(range, '-'));
    if (!first) return false;
    if (is_range) {
      const auto last = parse_number<uint32_t>(range);
      if (!last || *last < *first) return false;
    }
    if (!more) return true;
  }
}

bool is_interface_name(std::string_view name) {
  constexpr size_t bytes_max = 15;  // IFNAMSIZ counts the NUL
  if (name.empty() || name.size() > bytes_max || name == "." || name == "..") return false;
  return std::ranges::none_of(name, [](char c) {
    return c == '/' || c == ':' || static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
  });
}

Result<> validate_environment(const std::vector<std::string>& env, std::string_view path) {
  for (size_t i = 0; i < env.size(); ++i) {
    const size_t equals = env[i].find('=');
    if (equals == std::string::npos) return wrong(element(path, i), "has no '='");
    if (equals == 0) return wrong(element(path, i), "has an empty name");
  }
  return {};
}

Result<> validate_hooks(const Hooks& hooks) {
  TRY(validate_hook_list(hooks.prestart, "hooks.prestart"));
  TRY(validate_hook_list(hooks.create_runtime, "hooks.createRuntime"));
  TRY(validate_hook_list(hooks.create_container, "hooks.createContainer"));
  TRY(validate_hook_list(hooks.start_container, "hooks.startContainer"));
  TRY(validate_hook_list(hooks.poststart, "hooks.poststart"));
  TRY(validate_hook_list(hooks.poststop, "hooks.poststop"));
  return {};
}

Result<> validate_mounts(const std::vector<Mount>& mounts, const Linux& linux_) {
  // Without one they would be made, and stay, on the host.
  if (!mounts.empty() && !has_namespace(linux_, NamespaceType::Mount)) {
    return wrong("mounts", "needs a mount namespace");
  }
  const auto less = [](const Mount* a, const Mount* b) {
    return std::tie(a->destination, a->type, a->source, a->options) <
           std::tie(b->destination, b->type, b->source, b->options);
  };
  std::set<const Mount*, decltype(less)> seen(less);
  for (size_t i = 0; i < mounts.size(); ++i) {
    const Mount& mount = mounts[i];
    if (mount.destination.empty()) {
      return wrong(element("mounts", i, ".destination"), "must not be empty");
    }
    const auto [first, is_new] = seen.insert(&mount);
    if (!is_new) {
      return wrong(
          element("mounts", i),
          cat("the same as ", element("mounts", static_cast<size_t>(*first - &mounts[0]))));
    }
    if (!mount.uid_mappings.empty() || !mount.gid_mappings.empty() || !mount.options.empty()) {
      TRY(validate_mount_mappings(mount, element("mounts", i), linux_));
    }
  }
  return {};
}

Result<> validate(const Spec& spec) {
  const Linux none;
  const Linux& linux_ = spec.linux_ ? *spec.linux_ : none;
  TRY(validate_version(spec.oci_version));
  if (!spec.process) return wrong("process", "missing");
  TRY(validate(*spec.process));
  if (!spec.root) return wrong("root", "missing");
  if (spec.root->path.empty()) return wrong("root.path", "must not be empty");
  TRY(validate_namespaces(linux_));
  if (spec.root->readonly && !has_namespace(linux_, NamespaceType::Mount)) {
    return wrong("root.readonly", "needs a mount namespace");
  }
  TRY(validate_host_name(spec.hostname, "hostname", linux_));
  TRY(validate_host_name(spec.domainname, "domainname", linux_));
  TRY(validate_mounts(spec.mounts, linux_));
  TRY(validate_hooks(spec.hooks));
  if (spec.annotations.contains("")) return wrong("annotations", "has an empty key");
  return validate_linux(spec, linux_);
}

}  // namespace nacelle::oci
