// spec, features: documents that need no container.
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle_oci/command.h"
#include "oci/documents.h"
#include "oci/names.h"
#include "sys/file.h"

namespace nacelle::oci_cli {
namespace {

// Whether the kernel knows a filter flag: with no program it answers EFAULT to those it knows.
bool kernel_knows_filter_flag(unsigned flag) {
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, nullptr) < 0 && errno == EFAULT;
}

bool file_says_yes(const char* path) {
  const auto text = sys::read_file_at(sys::working_directory, path, 64);
  return text && text->starts_with('Y');
}

oci::Features supported_features() {
  oci::Features features;
  features.mount_options = {"async",         "atime",        "bind",
                            "defaults",      "dev",          "diratime",
                            "dirsync",       "exec",         "idmap",
                            "iversion",      "lazytime",     "loud",
                            "mand",          "noatime",      "nodev",
                            "nodiratime",    "noexec",       "noiversion",
                            "nolazytime",    "nomand",       "norelatime",
                            "nostrictatime", "nosuid",       "nosymfollow",
                            "private",       "ratime",       "rbind",
                            "rdev",          "rdiratime",    "relatime",
                            "remount",       "rexec",        "ridmap",
                            "rnoatime",      "rnodev",       "rnodiratime",
                            "rnoexec",       "rnorelatime",  "rnostrictatime",
                            "rnosuid",       "rnosymfollow", "ro",
                            "rprivate",      "rrelatime",    "rro",
                            "rrw",           "rshared",      "rslave",
                            "rstrictatime",  "rsuid",        "rsymfollow",
                            "runbindable",   "rw",           "shared",
                            "silent",        "slave",        "strictatime",
                            "suid",          "symfollow",    "sync",
                            "tmpcopyup",     "unbindable"};
  for (const auto& arch : oci::seccomp_arch_names()) features.seccomp_archs.emplace_back(arch.name);
  struct Flag {
    const char* name;
    unsigned bit;
  };
  // TSYNC alone is answered before the program is looked at on a kernel that knows it, too.
  constexpr Flag flags[] = {
      {"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
      {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
      {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
      {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
       SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | SECCOMP_FILTER_FLAG_NEW_LISTENER}};
  for (const Flag& flag : flags) {
    if (kernel_knows_filter_flag(flag.bit))
      features.supported_seccomp_flags.emplace_back(flag.name);
  }
  features.apparmor = file_says_yes("/sys/module/apparmor/parameters/enabled");
  features.selinux = ::access("/sys/fs/selinux/enforce", F_OK) == 0;
  features.net_devices = true;
  features.intel_rdt = true;
  return features;
}

}  // namespace

Result<int> run_spec(const Context& context) {
  std::string bundle = ".";
  bool rootless = false;
  const Option options[] = {
      {"bundle", 'b', "DIR", "the bundle (default the working directory)", into(bundle)},
      {"rootless", 0, nullptr, "for a user without privileges", into(rootless)}};
  TRY(parse_options(context.arguments, options));
  const std::string path = cat(bundle, "/config.json");
  if (::access(path.c_str(), F_OK) == 0)
    return fail(Kind::Conflict, cat("File ", path, " exists. Remove it first"));
  TRY(sys::replace_file_at(sys::working_directory, path.c_str(),
                           oci::default_spec(rootless, ::geteuid(), ::getegid()), 0666));
  return exit_ok;
}

Result<int> run_features(const Context& context) {
  TRY(parse_options(context.arguments, {}));
  const std::string text = oci::features_document(supported_features());
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
  return exit_ok;
}

}  // namespace nacelle::oci_cli
