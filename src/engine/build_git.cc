// Repositories: brought by this machine's git, in a container that has its programs to read, one
// directory to write, the machine's network, no capability, and nothing else. What comes out of it
// is a stranger's, as any archive is.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "base/text.h"
#include "build/git_source.h"
#include "engine/build_state.h"
#include "engine/container_state.h"
#include "http/url.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::engine {
namespace {

constexpr const char* git_program = "/usr/bin/git";
constexpr uint32_t nobody = 65534;
constexpr size_t commit_bytes_max = 128;

// Its arguments: the URL, what of it is wanted or nothing, whether .git is kept. Where a server
// gives no single commit, all are fetched.
constexpr const char* script = R"(set -e
umask 022
git init -q --template= tree
cd tree
git remote add origin "$1"
if git fetch -q --no-tags --depth 1 origin "${2:-HEAD}" 2>/work/said; then
  git checkout -q --detach FETCH_HEAD
else
  git fetch -q --tags origin || { cat /work/said >&2; exit 1; }
  found=$(git rev-parse -q --verify "refs/remotes/origin/${2:-HEAD}^{commit}" ||
    git rev-parse -q --verify "${2:-FETCH_HEAD}^{commit}") || { cat /work/said >&2; exit 1; }
  git checkout -q --detach "$found"
fi
[ ! -e .gitmodules ] || git submodule update -q --init --recursive --depth 1
git rev-parse HEAD >/work/commit
[ "$3" = keep ] || find . -name .git -prune -exec rm -rf {} +
)";

// Only what a repository's server can be reached by, and nothing that a repository brings is run.
std::vector<std::string> environment() {
  std::vector<std::string> all{"PATH=/usr/bin:/bin",
                               "HOME=/tmp",
                               "LC_ALL=C",
                               "GIT_CONFIG_NOSYSTEM=1",
                               "GIT_CONFIG_GLOBAL=/dev/null",
                               "GIT_TERMINAL_PROMPT=0",
                               "GIT_ASKPASS=/bin/false",
                               "GIT_ALLOW_PROTOCOL=http:https:git",
                               "GIT_CONFIG_COUNT=2",
                               "GIT_CONFIG_KEY_0=core.hooksPath",
                               "GIT_CONFIG_VALUE_0=/dev/null",
                               "GIT_CONFIG_KEY_1=core.logAllRefUpdates",
                               "GIT_CONFIG_VALUE_1=false"};
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"}) {
    if (const char* const value = ::getenv(name)) all.push_back(cat(name, '=', value));
  }
  return all;
}

CreateRequest plan_git(std::string work, const build::GitSource& source, bool keeps_git) {
  CreateRequest request;
  HostConfig& host = request.host;
  host.log_config = {.type = "json-file", .config = {}};
  host.network_mode = "host";
  host.readonly_rootfs = true;
  host.cap_drop = {"ALL"};
  host.security_opt = {"no-new-privileges"};
  host.tmpfs["/tmp"] = "";
  for (const char* path :
       {"/usr", "/bin", "/lib", "/lib64", "/etc/ssl/certs", "/etc/nsswitch.conf"}) {
    if (::access(path, F_OK) == 0) host.mounts.push_back(bind_mount(path, path, true));
  }
  host.mounts.push_back(bind_mount(std::move(work), "/work", false));
  ContainerConfig& config = request.config;
  config.image = "git";
  config.user = cat(nobody, ':', nobody);
  config.working_dir = "/work";
  config.env = environment();
  config.cmd = {.set = true,
                .words = {"/bin/sh", "-c", script, "git", source.remote, source.ref,
                          keeps_git ? "keep" : ""}};
  config.attach_stdout = config.attach_stderr = true;
  return request;
}

Result<> check_source(const build::GitSource& source) {
  if (source.remote.starts_with("ssh://") || !source.remote.contains("://")) {
    return fail(Kind::Unsupported,
                cat(source.remote, ": repositories are fetched over https, http and git"));
  }
  std::string_view rest = source.remote;
  rest.remove_prefix(rest.find("://") + 3);
  std::string_view host = take_until(rest, '/');
  host.remove_prefix(host.rfind('@') + 1);
  if (http::is_link_local(host.substr(0, host.rfind(':')))) {
    return fail(Kind::Denied, cat(source.remote, ": a link-local address"));
  }
  if (::access(git_program, X_OK) != 0) {
    return fail(Kind::Unsupported,
                cat(source.remote, ": it takes this machine's git to fetch it, and ", git_program,
                    " is not there"));
  }
  return {};
}

}  // namespace

ring::Task<> Build::clone(Repository& repository, const build::GitSource& source, bool keeps_git) {
  co_await check_source(source);
  const int parent = workspace_.directory().get();
  const std::string name = cat("git-", scratches_++);
  co_await sys::make_directory_at(parent, name.c_str(), 0700);
  const Fd work = co_await sys::open_at(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (::fchown(work.get(), nobody, nobody) < 0) co_await fail_errno(errno, "fchown");
  std::string said;
  const int code = co_await run_apart(plan_git(host_path(work), source, keeps_git), &said);
  const auto failed = [&](std::string_view why) {
    return fail(Kind::Invalid, cat("fetching ", source.remote, source.ref.empty() ? "" : "#",
                                   source.ref, ": ", why));
  };
  if (code != 0) co_await failed(said.empty() ? cat("git ended with ", code) : said);
  const sys::InRoot inside(work.get());
  const long commit = inside.open("commit", O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (commit < 0) co_await failed("no commit came of it");
  const Fd file(static_cast<int>(commit));
  std::string id = co_await sys::read_all(file, commit_bytes_max, "commit");
  while (id.ends_with('\n')) id.pop_back();
  if (!id.starts_with(source.checksum)) {
    co_await failed(cat("expected checksum to match ", source.checksum, ", got ", id));
  }
  const long tree = inside.open("tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (tree < 0) co_await failed("no files came of it");
  const Fd whole(static_cast<int>(tree));
  const char* const wanted = source.directory.empty() ? "." : source.directory.c_str();
  const long directory = sys::InRoot(whole.get()).open(wanted, O_RDONLY | O_DIRECTORY);
  if (directory < 0) co_await failed(cat("subdir not found: ", source.directory));
  repository.directory = Fd(static_cast<int>(directory));
  repository.commit = std::move(id);
}

}  // namespace nacelle::engine
