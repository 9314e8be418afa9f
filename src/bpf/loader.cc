#include "bpf/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "base/text.h"
#include "bpf/abi/link.h"
#include "bpf/attach.h"
#include "bpf/groups.h"
#include "bpf/links.h"
#include "bpf/pins.h"
#include "sys/bpf.h"
#include "sys/file.h"

extern "C" const char nacelle_bpf_link_begin[], nacelle_bpf_link_end[];
extern "C" const char nacelle_bpf_group_begin[], nacelle_bpf_group_end[];

namespace nacelle::bpf {
namespace {

constexpr size_t words_bytes_max = 2048;
constexpr const char* program_names[] = {"link_ingress", "link_egress"};

// The last of what libbpf had to say: the kernel's verifier is in there.
std::string words;
int hear(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN) return 0;
  char line[words_bytes_max];
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  if (length > 0) words += std::string_view(line, std::min<size_t>(length, sizeof line - 1));
  if (words.size() > words_bytes_max) words.erase(0, words.size() - words_bytes_max);
  return 0;
}

std::unexpected<Error> fail_libbpf(int error_number, std::string_view attempt) {
  while (words.ends_with('\n')) words.pop_back();
  std::ranges::replace(words, '\n', ' ');
  if (words.empty()) return fail_errno(error_number, attempt);
  return fail_errno(error_number, cat(attempt, ": ", words));
}

struct Close {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, Close>;

// (BPF's file system takes no dots in names.)
std::string old_name(const std::string& path) { return path + "_old"; }

// A pinned map of the name is ours to use if it is of the shape; else it is set aside.
Result<> choose_pin(bpf_map* map, const std::string& directory) {
  const std::string path = cat(directory, "/", bpf_map__name(map));
  if (const Result<Fd> present = sys::open_bpf_pin(path)) {
    const sys::BpfMapShape shape{bpf_map__type(map), bpf_map__key_size(map),
                                 bpf_map__value_size(map), bpf_map__max_entries(map),
                                 bpf_map__map_flags(map)};
    if (TRY(sys::read_map_shape(*present)) != shape) {
      TRY(sys::rename_at(sys::working_directory, path.c_str(), old_name(path).c_str()));
    }
  }
  if (const int status = bpf_map__set_pin_path(map, path.c_str()); status != 0) {
    return fail_libbpf(-status, cat("pinning ", path));
  }
  return {};
}

// Rows are taken over into a map of the same keys: what is new at the end of a value is zero.
Result<> take_over(bpf_map* map, const std::string& directory) {
  const std::string path = old_name(cat(directory, "/", bpf_map__name(map)));
  const Result<Fd> old = sys::open_bpf_pin(path);
  if (!old) return {};
  const sys::BpfMapShape before = TRY(sys::read_map_shape(*old));
  const Fd now(::dup(bpf_map__fd(map)));
  const sys::BpfMapShape after = TRY(sys::read_map_shape(now));
  if (before.type == BPF_MAP_TYPE_HASH && after.type == before.type &&
      after.key_bytes == before.key_bytes) {
    std::string key(before.key_bytes, '\0'), next = key;
    std::string value(std::max(before.value_bytes, after.value_bytes), '\0');
    bool more = TRY(sys::next_map_key(*old, nullptr, next.data()));
    while (more) {
      key = next;
      std::ranges::fill(value, '\0');
      if (TRY(sys::find_map_row(*old, key.data(), value.data()))) {
        TRY(sys::put_map_row(now, key.data(), value.data()));
      }
      more = TRY(sys::next_map_key(*old, key.data(), next.data()));
    }
  }
  return sys::unlink_at(sys::working_directory, path.c_str());
}

// `prepare`: between reading and loading.
Result<Object> load_object(const char* begin, const char* end, const std::string& directory,
                           const std::function<Result<>(bpf_object*)>& prepare) {
  const auto bytes = static_cast<size_t>(end - begin);
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = "nacelle";
  Object object(bpf_object__open_mem(begin, bytes, &options));
  if (!object) return fail_libbpf(errno, "reading the BPF programs");
  TRY(prepare(object.get()));
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) {
    if (!bpf_map__is_internal(map)) TRY(choose_pin(map, directory));
  }
  if (const int status = bpf_object__load(object.get()); status != 0) {
    return fail_libbpf(-status, "loading the BPF programs");
  }
  bpf_object__for_each_map(map, object.get()) {
    if (!bpf_map__is_internal(map)) TRY(take_over(map, directory));
  }
  return object;
}

// Under its name in one step, whatever was there.
Result<> pin_program(bpf_object* object, const char* name, const std::string& directory) {
  bpf_program* program = bpf_object__find_program_by_name(object, name);
  if (program == nullptr) return fail(Kind::Internal, cat("BPF program ", name, " is missing"));
  const std::string path = cat(directory, "/", name), fresh = path + "_new";
  (void)sys::unlink_at(sys::working_directory, fresh.c_str());
  const Fd descriptor(::dup(bpf_program__fd(program)));
  TRY(sys::pin_bpf(descriptor, fresh));
  return sys::rename_at(sys::working_directory, fresh.c_str(), path.c_str());
}

// What was dropped where there is no row has one.
Result<> ensure_common_rows(bpf_object* object) {
  const Fd drops(::dup(bpf_object__find_map_fd_by_name(object, "drops")));
  const uint32_t nobody = 0;
  nacelle_drops row{};
  if (TRY(sys::find_map_row(drops, &nobody, &row))) return {};
  return sys::put_map_row(drops, &nobody, &row);
}

// Links of before: those that are there get the new programs, of the others the rows go.
Result<> renew_links(const std::string& directory) {
  Links links = TRY(Links::open(directory));
  const Fd ingress = TRY(open_pin(directory, program_names[0]));
  const Fd egress = TRY(open_pin(directory, program_names[1]));
  for (const uint32_t link : links.list()) {
    Result<> renewed = ensure_attached(link, ingress, sys::NetworkSide::Ingress, program_names[0]);
    if (renewed) {
      renewed = ensure_attached(link, egress, sys::NetworkSide::Egress, program_names[1]);
    }
    char name[IF_NAMESIZE];
    const bool is_there = ::if_indextoname(link, name) != nullptr;
    if (is_there) TRY(std::move(renewed));
    if (!is_there) TRY(links.remove(link));
  }
  return {};
}

}  // namespace

Result<> load_programs(const std::string& directory) {
  libbpf_set_print(hear);
  TRY(ensure_pins_directory(directory));
  const Object object = TRY(load_object(nacelle_bpf_link_begin, nacelle_bpf_link_end, directory,
                                        [](bpf_object*) { return Result<>(); }));
  TRY(ensure_common_rows(object.get()));
  for (const char* name : program_names) TRY(pin_program(object.get(), name, directory));
  return renew_links(directory);
}

// Groups -----------------------------------------------------------------------------------------

namespace {

// In one step where one of the name is there: of an earlier core. It stays as long as the group.
Result<> ensure_on_cgroup(const Fd& cgroup, const Fd& program, const GroupProgram& which) {
  for (const uint32_t id : TRY(sys::query_cgroup_programs(cgroup, which.type))) {
    const Result<Fd> other = sys::open_program(id);
    if (!other || TRY(sys::read_program_name(*other)) != which.name) continue;
    return sys::replace_on_cgroup(cgroup, program, *other, which.type);
  }
  return sys::attach_to_cgroup(cgroup, program, which.type);
}

Result<> say_root(bpf_object* object, uint64_t root) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (!std::string_view(bpf_map__name(map)).ends_with(".rodata")) continue;
    // The one constant there is (bpf/group.bpf.c).
    const int status = bpf_map__set_initial_value(map, &root, sizeof root);
    return status == 0 ? Result<>() : fail_libbpf(-status, "saying which group is ours");
  }
  return fail(Kind::Internal, "the BPF programs of groups have no constants");
}

}  // namespace

Result<> load_group_programs(const std::string& directory, const std::string& cgroup) {
  libbpf_set_print(hear);
  TRY(ensure_pins_directory(directory));
  const Fd root = TRY(sys::open_at(sys::working_directory, cgroup.c_str(), O_RDONLY | O_DIRECTORY));
  const uint64_t id = TRY(group_number(root));
  const Object object = TRY(load_object(nacelle_bpf_group_begin, nacelle_bpf_group_end, directory,
                                        [id](bpf_object* opened) { return say_root(opened, id); }));
  for (const GroupProgram& each : group_programs) {
    TRY(pin_program(object.get(), each.name, directory));
    TRY(ensure_on_cgroup(root, TRY(open_pin(directory, each.name)), each).context(each.name));
  }
  return {};
}

int loader_main(const char* directory, const char* cgroup) {
  const Result<> loaded =
      cgroup == nullptr ? load_programs(directory) : load_group_programs(directory, cgroup);
  if (loaded) return 0;
  const std::string line = cat(loaded.error().message(), "\n");
  (void)!::write(2, line.data(), line.size());
  return 1;
}

}  // namespace nacelle::bpf
