// "user[:group]" by the files of an image. Those files are the image's word and nothing else: read
// through a descriptor that cannot leave the root (CVE-2024-9676), never more than a bound, and a
// line that is not what passwd(5) says names nobody.
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_set>

#include "base/text.h"
#include "engine/spec_builder.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::engine {
namespace {

constexpr size_t account_file_bytes_max = 1u << 20;
constexpr int64_t id_max = 2147483647;    // Docker's; the kernel has twice as many
constexpr size_t group_list_max = 65536;  // NGROUPS_MAX

struct User {
  std::string_view name;
  uint32_t uid = 0, gid = 0;
  std::string_view home;
};
struct Group {
  std::string_view name;
  uint32_t gid = 0;
  std::string_view members;
};

// As Go's strconv.Atoi: a sign may be there, digits must.
std::optional<int64_t> parse_decimal(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  return parse_number<int64_t>(text);
}

std::optional<uint32_t> parse_id(std::string_view text) {
  const auto number = parse_number<uint32_t>(text);
  if (!number || *number > id_max) return std::nullopt;
  return number;
}

std::unexpected<Error> out_of_range() {
  return fail(Kind::Invalid, "uids and gids must be in range 0-2147483647");
}

// Empty where the image has none, or where no image was given to be asked.
Result<std::string> read_account_file(const Fd& root, const char* path) {
  if (!root) return std::string();
  // Looked at before it is opened: opening a FIFO waits, and opening a device does things.
  const long found = sys::InRoot(root.get()).open(path, O_PATH);
  if (found == -ENOENT || found == -ENOTDIR) return std::string();
  if (found < 0) return fail_errno(static_cast<int>(-found), cat("opening ", path));
  const Fd place(static_cast<int>(found));
  const struct stat status = TRY(sys::stat_fd(place));
  if (!S_ISREG(status.st_mode)) return fail(Kind::Invalid, cat(path, ": not a regular file"));
  const std::string same_file = cat("/proc/self/fd/", place.get());
  const Fd file =
      TRY(sys::open_at(sys::working_directory, same_file.c_str(), O_RDONLY).context([&] {
        return cat("opening ", path);
      }));
  return sys::read_all(file, account_file_bytes_max, path);
}

std::optional<User> parse_user(std::string_view line) {
  User user;
  user.name = take_until(line, ':');
  take_until(line, ':');  // the password
  const auto uid = parse_id(take_until(line, ':'));
  const auto gid = parse_id(take_until(line, ':'));
  if (user.name.empty() || !uid || !gid) return std::nullopt;
  user.uid = *uid;
  user.gid = *gid;
  take_until(line, ':');  // the full name
  user.home = take_until(line, ':');
  return user;
}

std::optional<Group> parse_group(std::string_view line) {
  Group group;
  group.name = take_until(line, ':');
  take_until(line, ':');
  const auto gid = parse_id(take_until(line, ':'));
  if (group.name.empty() || !gid) return std::nullopt;
  group.gid = *gid;
  group.members = line;
  return group;
}

// The first entry that `matches`.
template <class Parse, class Matches>
auto find_entry(std::string_view text, Parse parse, Matches matches) -> decltype(parse(text)) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto entry = parse(line);
    if (entry && matches(*entry)) return entry;
  }
  return std::nullopt;
}

bool is_member(const Group& group, std::string_view user) {
  std::string_view rest = group.members;
  while (!rest.empty()) {
    if (take_until(rest, ',') == user) return true;
  }
  return false;
}

Result<std::optional<User>> find_user(std::string_view name, const std::string& passwd,
                                      ResolvedUser& out) {
  const auto number = parse_decimal(name);
  const auto user = find_entry(passwd, parse_user, [&](const User& each) {
    if (name.empty()) return each.uid == 0;
    if (number) return each.uid == *number;
    return each.name == name;
  });
  if (user) {
    out.uid = user->uid;
    out.gid = user->gid;
    out.home = user->home;
  } else if (!name.empty()) {
    if (!number) {
      return fail(Kind::Invalid,
                  cat("unable to find user ", name, ": no matching entries in passwd file"));
    }
    if (*number < 0 || *number > id_max) return out_of_range();
    out.uid = static_cast<uint32_t>(*number);
  }
  return user;
}

Result<uint32_t> find_group(std::string_view name, const std::string& groups) {
  const auto number = parse_decimal(name);
  const auto group = find_entry(groups, parse_group, [&](const Group& each) {
    return number ? each.gid == *number : each.name == name;
  });
  if (group) return group->gid;
  if (!number) {
    return fail(Kind::Invalid,
                cat("unable to find group ", name, ": no matching entries in group file"));
  }
  if (*number < 0 || *number > id_max) return out_of_range();
  return static_cast<uint32_t>(*number);
}

// Each once, in the order they came in; an image may name very many.
class GroupList {
 public:
  void add(uint32_t gid) {
    if (known_.insert(gid).second) list_.push_back(gid);
  }
  void add_memberships(std::string_view user, std::string_view groups) {
    find_entry(groups, parse_group, [&](const Group& each) {
      if (is_member(each, user)) add(each.gid);
      return list_.size() >= group_list_max;
    });
  }
  std::vector<uint32_t> take() && { return std::move(list_); }

 private:
  std::vector<uint32_t> list_;
  std::unordered_set<uint32_t> known_;
};

}  // namespace

Result<ResolvedUser> resolve_user(std::string_view user, const std::vector<std::string>& group_add,
                                  const Fd& root) {
  if (user.find_first_of(std::string_view("\0\n\r", 3)) != std::string_view::npos) {
    return fail(Kind::Invalid, "invalid user: control characters are not allowed");
  }
  const std::string passwd = TRY(read_account_file(root, "/etc/passwd"));
  const std::string groups = TRY(read_account_file(root, "/etc/group"));
  std::string_view rest = user;
  const std::string_view user_name = take_until(rest, ':');
  const std::string_view group_name = take_until(rest, ':');
  ResolvedUser resolved;
  GroupList list;
  const auto found = TRY(find_user(user_name, passwd, resolved));
  if (!group_name.empty()) {
    resolved.gid = TRY(find_group(group_name, groups));
  } else if (found) {
    list.add_memberships(found->name, groups);
  }
  for (const std::string& each : group_add) {
    list.add(TRY(find_group(each, groups)));
  }
  resolved.additional_gids = std::move(list).take();
  if (resolved.additional_gids.size() > group_list_max) {
    return fail(Kind::Exhausted, "a process has at most 65536 groups");
  }
  // As dockerd 28: the primary group is always in the list (CVE-2022-36109).
  if (!contains(resolved.additional_gids, resolved.gid)) {
    resolved.additional_gids.insert(resolved.additional_gids.begin(), resolved.gid);
  }
  return resolved;
}

}  // namespace nacelle::engine
