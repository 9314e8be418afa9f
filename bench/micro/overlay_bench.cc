// What mounting an image costs: layers of one file each, put on top of each other and given as a
// detached mount, by every way into the kernel; with and without finding the layers first. Refuses
// to attach anything: the mounts end with their descriptors.
#include "image/overlay.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <memory>
#include <vector>

#include "bench/micro/measure.h"
#include "image/disk.h"
#include "sys/file.h"
#include "sys/mount_api.h"

namespace nacelle::bench {
namespace {

using benchmark::State;
using image::OverlayOptions;
using Way = OverlayOptions::Way;

// Named as layers are, with a tree in each.
class Layers {
 public:
  explicit Layers(size_t count) {
    char name[] = "/var/tmp/nacelle-overlay-bench-XXXXXX";
    if (::mkdtemp(name) == nullptr) return;
    path_ = name;
    auto root = sys::open_at(sys::working_directory, name, O_RDONLY | O_DIRECTORY);
    if (!root) return;
    root_ = *std::move(root);
    for (size_t at = 0; at < count; ++at) {
      const std::string digits = cat(at);
      names_.push_back(std::string(64 - digits.size(), 'a') + digits);
      (void)sys::make_directory_at(root_.get(), names_.back().c_str(), 0755);
      names_.back() += "/tree";
      (void)sys::make_directory_at(root_.get(), names_.back().c_str(), 0755);
      (void)sys::replace_file_at(root_.get(), cat(names_.back(), "/file").c_str(), "x", 0644);
    }
    (void)open();
  }
  ~Layers() {
    const auto parent = sys::open_at(sys::working_directory, "/var/tmp", O_RDONLY | O_DIRECTORY);
    if (parent && !path_.empty()) (void)image::remove_tree_now(*parent, path_.substr(9));
  }
  Layers(const Layers&) = delete;
  Layers& operator=(const Layers&) = delete;

  bool open() {
    trees_.clear();
    for (const std::string& name : names_) {
      auto tree = sys::open_at(root_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (!tree) return false;
      trees_.push_back(*std::move(tree));
    }
    return !trees_.empty();
  }
  Result<Fd> mount(Way way) const {
    OverlayOptions options;
    options.way = way;
    for (const Fd& tree : trees_) options.lower.push_back(&tree);
    return image::mount_overlay(options);
  }

 private:
  std::string path_;
  Fd root_;
  std::vector<std::string> names_;
  std::vector<Fd> trees_;
};

void mount_layers(State& state, Way way, bool with_opening) {
  Layers layers(static_cast<size_t>(state.range(0)));
  measure(state, [&](Watch& watch) -> long {
    watch.start();
    if (with_opening && !layers.open()) return -ENOENT;
    const auto mount = layers.mount(way);
    watch.stop();
    if (mount) return 0;
    return mount.error().error_number() != 0 ? -mount.error().error_number() : -EIO;
  });
}
#define LAYERS Arg(2)->Arg(10)->Arg(100)->Arg(500)->Iterations(200)->BY_HAND
BENCHMARK_CAPTURE(mount_layers, by_descriptor, Way::ByDescriptor, false)->LAYERS;
BENCHMARK_CAPTURE(mount_layers, by_name, Way::ByName, false)->LAYERS;
BENCHMARK_CAPTURE(mount_layers, one_page, Way::OnePage, false)->LAYERS;
BENCHMARK_CAPTURE(mount_layers, opened_and_by_descriptor, Way::Best, true)->LAYERS;

// One layer as an EROFS image in a file, against a bind mount of its directory; then the first read
// of a file through it.
class Forms {
 public:
  Forms() {
    char name[] = "/var/tmp/nacelle-erofs-bench-XXXXXX";
    if (::mkdtemp(name) == nullptr) return;
    path_ = name;
    const auto root = sys::open_at(sys::working_directory, name, O_RDONLY | O_DIRECTORY);
    if (!root || !sys::make_directory_at(root->get(), "tree", 0755)) return;
    const std::string content(64u << 10, 'x');
    for (int at = 0; at < 200; ++at) {
      if (!sys::replace_file_at(root->get(), cat("tree/", at).c_str(), content, 0644)) return;
    }
    const std::string command =
        cat("mkfs.erofs ", path_, "/image ", path_, "/tree >/dev/null 2>&1");
    if (::system(command.c_str()) != 0) return;
    auto tree = sys::open_at(root->get(), "tree", O_RDONLY | O_DIRECTORY);
    if (tree) tree_ = *std::move(tree);
  }
  ~Forms() {
    const auto parent = sys::open_at(sys::working_directory, "/var/tmp", O_RDONLY | O_DIRECTORY);
    if (parent && !path_.empty()) (void)image::remove_tree_now(*parent, path_.substr(9));
  }
  Forms(const Forms&) = delete;
  Forms& operator=(const Forms&) = delete;

  Result<Fd> mount(bool as_image) const {
    if (!tree_) return fail_errno(ENOSYS, "mkfs.erofs");
    if (!as_image) return sys::clone_mount(tree_);
    auto erofs = TRY(sys::NewFileSystem::open("erofs"));
    TRY(erofs.set("source", cat(path_, "/image").c_str()));
    return erofs.mount();
  }

 private:
  std::string path_;
  Fd tree_;
};

void mount_form(State& state, bool as_image, bool first_read) {
  const Forms forms;
  measure(state, [&](Watch& watch) -> long {
    watch.start();
    const auto mount = forms.mount(as_image);
    if (!mount) return -mount.error().error_number();
    if (first_read) watch.start();
    const auto bytes =
        first_read ? sys::read_file_at(mount->get(), "150", 1u << 20) : std::string();
    watch.stop();
    return bytes ? 0 : -bytes.error().error_number();
  });
}
#define FORM Iterations(200)->BY_HAND
BENCHMARK_CAPTURE(mount_form, directory, false, false)->FORM;
BENCHMARK_CAPTURE(mount_form, erofs, true, false)->FORM;
BENCHMARK_CAPTURE(mount_form, directory_first_read, false, true)->FORM;
BENCHMARK_CAPTURE(mount_form, erofs_first_read, true, true)->FORM;

}  // namespace
}  // namespace nacelle::bench

BENCHMARK_MAIN();
