// Whether the bytes on disk are still what their names say.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/fault.h"
#include "base/text.h"
#include "image/disk.h"
#include "image/gc.h"
#include "image/index_file.h"
#include "image/layers.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

using What = Finding::What;

constexpr size_t tree_depth_max = 400;  // a descriptor each; deeper trees are not added up
constexpr size_t files_per_turn = 256;
constexpr const char* damaged_index = "index.json.damaged";

// Adds up the content of a tree's files, each hard link once, some at a time.
class TreeSum {
 public:
  static Result<TreeSum> begin(const Fd& tree) {
    TreeSum sum;
    sum.stack_.push_back(TRY(Listing::open(tree)));
    return sum;
  }
  uint64_t bytes = 0;
  bool too_deep = false;

  Result<bool> step() {
    for (size_t count = 0; count < files_per_turn && !stack_.empty(); ++count) {
      Listing& at = stack_.back();
      const char* name = at.next();
      if (name == nullptr) {
        stack_.pop_back();
        continue;
      }
      const auto status = TRY(sys::stat_at(at.fd(), name, AT_SYMLINK_NOFOLLOW));
      if (S_ISREG(status.st_mode) &&
          (status.st_nlink == 1 || linked_.insert(status.st_ino).second)) {
        bytes += static_cast<uint64_t>(status.st_size);
      }
      if (!S_ISDIR(status.st_mode)) continue;
      too_deep = too_deep || stack_.size() >= tree_depth_max;
      if (too_deep) return false;
      const Fd inside = TRY(sys::open_at(at.fd(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      stack_.push_back(TRY(Listing::open(inside)));
    }
    return !stack_.empty();
  }

 private:
  std::vector<Listing> stack_;
  std::set<ino_t> linked_;
};

class Verifier {
 public:
  Verifier(ring::Loop& loop, const Store& store, bool repair)
      : loop_(loop), store_(store), layers_(store), repair_(repair) {}
  std::vector<Finding> findings;

  ring::Task<> index() {
    const auto read = store_.read_index();
    if (read) co_return;
    report(What::IndexDamaged, read.error().message());
    if (repair_) co_await as_repair(rebuild_index());
  }

  ring::Task<> blobs() {
    for (const auto algorithm : {codec::DigestAlgorithm::Sha256, codec::DigestAlgorithm::Sha512}) {
      const std::vector<std::string> names =
          co_await list_directory(store_.blobs_directory(algorithm));
      for (const std::string& name : names) {
        const Digest digest = digest_from_name(name);
        if (!digest.empty()) co_await blob(digest);
      }
    }
  }

  ring::Task<> layers() {
    const std::vector<std::string> names = co_await list_directory(store_.layers_directory());
    for (const std::string& name : names) {
      const Digest chain = digest_from_name(name);
      if (!chain.empty()) co_await layer(chain);
    }
  }

  // After blobs(): what that removed is missing now.
  ring::Task<> images() {
    const auto images = store_.images();
    if (!images) co_return;
    std::set<Digest> reported;
    for (const Image& image : *images) {
      std::vector<oci::Descriptor> needed{image.manifest};
      if (const auto record = store_.find_record(image.manifest.digest)) {
        needed.push_back(record->manifest.config);
        needed.insert(needed.end(), record->manifest.layers.begin(), record->manifest.layers.end());
      }
      for (const oci::Descriptor& each : needed) {
        if (store_.has_blob(each) || !reported.insert(each.digest).second) continue;
        if (!store_.find(image.manifest.digest)) break;  // removed meanwhile
        report(What::BlobMissing,
               cat("blob ", each.digest.text(), " of image ",
                   image.names.empty() ? image.manifest.digest.text() : image.names.front(),
                   " is missing: pulling the image brings it back"));
      }
    }
  }

 private:
  void report(What what, std::string message) { findings.push_back({what, std::move(message)}); }

  // A repair that fails is part of the finding; only being called off is the end.
  ring::Task<> as_repair(ring::Task<> task) {
    const Result<> done = co_await ring::as_result(std::move(task));
    if (!done && done.error().kind() == Kind::Cancelled) co_await done;
    findings.back().repaired = done.has_value();
    if (!done) findings.back().message += cat(", and is not repaired: ", done.error().message());
  }

  // Others remove blobs and layers while we look: what is gone is no finding.
  ring::Task<> blob(Digest digest) {
    auto opened = store_.open_blob(digest);
    if (!opened) {
      if (store_.blob_size(digest)) report_unreadable("blob", digest, opened.error());
      co_return;
    }
    const Fd file = *std::move(opened);
    const Result<Digest> found =
        co_await ring::as_result(hash_file(loop_, file, digest.algorithm()));
    if (!found && found.error().kind() == Kind::Cancelled) co_await std::unexpected(found.error());
    if (found && *found == digest) co_return;
    if (found) {
      report(What::BlobDamaged, cat("blob ", digest.text(), " has the content of ", found->text()));
    } else {
      report_unreadable("blob", digest, found.error());
    }
    if (repair_ && (found || is_damage(found.error()))) {
      co_await as_repair(remove_blob(digest, file));
    }
  }

  void report_unreadable(std::string_view kind, const Digest& digest, const Error& error) {
    report(kind == "blob" ? What::BlobDamaged : What::LayerDamaged,
           cat(kind, ' ', digest.text(), " cannot be read: ", error.message()));
  }

  // The disk's fault; anything else may be read again when there is more memory, say.
  static bool is_damage(const Error& error) {
    return error.error_number() == EIO || error.error_number() == EBADMSG ||
           error.error_number() == EUCLEAN;
  }

  ring::Task<> remove_blob(Digest digest, const Fd& file) {
    const StoreLock held = co_await store_.lock(loop_, Store::LockKind::Exclusive);
    const Fd& directory = store_.blobs_directory(digest.algorithm());
    const std::string name(digest.hex());
    // Unless a pull has replaced it meanwhile.
    if (is_still_named(file, directory, name.c_str())) {
      co_await sys::unlink_at(directory.get(), name.c_str());
    }
  }

  ring::Task<> layer(Digest chain) {
    const auto record = layers_.find_record(chain);
    const auto tree = layers_.open(chain);
    if (!record || !tree) {
      if (!layers_.has(chain)) co_return;
      if (!tree && tree.error().kind() != Kind::NotFound) {
        report_unreadable("layer", chain, tree.error());
        co_return;
      }
      co_await damaged_layer(chain, record ? "has no tree" : "has no readable record");
      co_return;
    }
    const Result<TreeSum> sum = co_await ring::as_result(add_up(*tree));
    if (!sum && sum.error().kind() == Kind::Cancelled) co_await std::unexpected(sum.error());
    // It was removed, and may have been made again.
    const std::string tree_path = cat(chain.hex(), "/tree");
    if (!is_still_named(*tree, store_.layers_directory(), tree_path.c_str())) co_return;
    if (!sum) {
      report_unreadable("layer", chain, sum.error());
      if (repair_ && is_damage(sum.error())) co_await as_repair(layers_.remove(loop_, chain));
    } else if (!sum->too_deep && sum->bytes != record->tree_bytes) {
      co_await damaged_layer(
          chain, cat("has ", sum->bytes, " bytes in its files instead of ", record->tree_bytes));
    }
  }

  ring::Task<TreeSum> add_up(const Fd& tree) {
    TreeSum sum = co_await TreeSum::begin(tree);
    while (co_await sum.step()) co_await ring::nop(loop_);
    co_return sum;
  }

  ring::Task<> damaged_layer(Digest chain, std::string complaint) {
    report(What::LayerDamaged, cat("layer ", chain.text(), " ", complaint));
    if (repair_) co_await as_repair(layers_.remove(loop_, chain));
  }

  // Every image that we have a record of, without its names: those are lost.
  ring::Task<> rebuild_index() {
    const StoreLock held = co_await store_.lock(loop_, Store::LockKind::Exclusive);
    if (store_.read_index()) co_return;  // somebody else was quicker
    IndexFile index;
    const std::vector<std::string> names = co_await list_directory(store_.images_directory());
    for (const std::string& name : names) {
      const auto record = store_.find_record(digest_from_name(name));
      if (record && store_.has_blob(record->descriptor)) index.tag({record->descriptor, {}, {}});
    }
    // A second name for the damaged one: at no moment is there none, which who opens the store then
    // would take for a new store's.
    const int content = store_.content_directory().get();
    if (::unlinkat(content, damaged_index, 0) < 0 && errno != ENOENT) {
      co_await fail_errno(errno, cat("unlink '", damaged_index, "'"));
    }
    if (::linkat(content, "index.json", content, damaged_index, 0) < 0 && errno != ENOENT) {
      co_await fail_errno(errno, cat("link '", damaged_index, "'"));
    }
    fault_point("index.set_aside");
    co_await store_.write_index(loop_, held, index);
  }

  ring::Loop& loop_;
  const Store& store_;
  Layers layers_;
  bool repair_;
};

}  // namespace

ring::Task<std::vector<Finding>> verify(ring::Loop& loop, const Store& store, bool repair) {
  Verifier verifier(loop, store, repair);
  co_await verifier.index();
  co_await verifier.blobs();
  co_await verifier.layers();
  co_await verifier.images();
  co_return std::move(verifier.findings);
}

}  // namespace nacelle::image
