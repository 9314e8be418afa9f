#include "image/store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "base/fault.h"
#include "base/text.h"
#include "image/disk.h"
#include "image/index_file.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds lock_pause{1};     // it is held for milliseconds
constexpr milliseconds ingest_pause{20};  // somebody downloads
constexpr const char* index_name = "index.json";
constexpr const char* partial_index_name = "index.json.partial";
constexpr std::string_view layout = R"({"imageLayoutVersion":"1.0.0"})";

std::string name_in(const Digest& digest) { return std::string(digest.hex()); }
std::string ingest_name(const Digest& digest) {
  return cat(digest.algorithm_name(), '-', digest.hex());
}

Result<> make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    if (::mkdir(path.substr(0, at).c_str(), 0755) < 0 && errno != EEXIST) {
      return fail_errno(errno, cat("mkdir '", path.substr(0, at), "'"));
    }
  }
  return {};
}

Result<Fd> open_directory(const Fd& parent, const char* name) {
  TRY(ensure_directory(parent, name));
  return sys::open_at(parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

// A file that is written once in the store's life. Two processes may open a new store at once: the
// one that is second must not undo what the first did since.
Result<> ensure_file(const Fd& directory, const char* name, std::string_view bytes) {
  if (::faccessat(directory.get(), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return {};
  const std::string partial = cat(name, '.', random_name(), ".partial");
  {
    const Fd file =
        TRY(sys::open_at(directory.get(), partial.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600));
    TRY(sys::write_all(file, bytes, name));
    if (::fsync(file.get()) < 0) return fail_errno(errno, cat("fsync '", name, "'"));
  }
  if (::renameat2(directory.get(), partial.c_str(), directory.get(), name, RENAME_NOREPLACE) < 0) {
    const int reason = errno;
    (void)::unlinkat(directory.get(), partial.c_str(), 0);
    if (reason != EEXIST) return fail_errno(reason, cat("rename '", partial, "'"));
  }
  if (::fsync(directory.get()) < 0) return fail_errno(errno, "fsync");
  return {};
}

}  // namespace

Result<Store> Store::open(std::string path) {
  const auto doing = [&] { return cat("opening the image store '", path, "'"); };
  if (!path.starts_with('/')) {
    return fail(Kind::Invalid, cat("the data root '", path, "' must be an absolute path"));
  }
  TRY(make_parents(path).context(doing));
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) return fail_errno(errno, doing());
  Store store;
  store.root_ = TRY(
      sys::open_at(sys::working_directory, path.c_str(), O_RDONLY | O_DIRECTORY).context(doing));
  const auto status = TRY(sys::stat_fd(store.root_).context(doing));
  if ((status.st_mode & S_IWOTH) != 0 || status.st_uid != ::geteuid()) {
    return fail(Kind::Denied, cat(doing(), ": it must be ours, and nobody else may write to it"));
  }
  store.content_ = TRY(open_directory(store.root_, "content").context(doing));
  const Fd blobs = TRY(open_directory(store.content_, "blobs").context(doing));
  store.sha256_ = TRY(open_directory(blobs, "sha256").context(doing));
  store.sha512_ = TRY(open_directory(blobs, "sha512").context(doing));
  store.ingest_ = TRY(open_directory(store.root_, "ingest").context(doing));
  store.layers_ = TRY(open_directory(store.root_, "layers").context(doing));
  store.records_ = TRY(open_directory(store.root_, "images").context(doing));
  store.leases_ = TRY(open_directory(store.root_, "leases").context(doing));
  TRY(ensure_file(store.content_, index_name, empty_index).context(doing));
  TRY(ensure_file(store.content_, "oci-layout", layout).context(doing));
  store.path_ = std::move(path);
  return store;
}

// Blobs. -----------------------------------------------------------------------------------------

bool Store::has_blob(const Digest& digest, uint64_t size) const {
  const auto found = blob_size(digest);
  return found && *found == size;
}

Result<uint64_t> Store::blob_size(const Digest& digest) const {
  if (digest.empty()) return fail(Kind::NotFound, "no digest, no blob");
  struct stat status;
  if (::fstatat(blobs_directory(digest.algorithm()).get(), name_in(digest).c_str(), &status,
                AT_SYMLINK_NOFOLLOW) < 0 ||
      !S_ISREG(status.st_mode)) {
    return fail(Kind::NotFound, cat("blob ", digest.text(), " is not in the store"));
  }
  return static_cast<uint64_t>(status.st_size);
}

Result<Fd> Store::open_blob(const Digest& digest) const {
  (void)TRY(blob_size(digest));
  return sys::open_at(blobs_directory(digest.algorithm()).get(), name_in(digest).c_str(),
                      O_RDONLY | O_NOFOLLOW);
}

ring::Task<Ingest> Store::begin_ingest(ring::Loop& loop, Digest digest, uint64_t size) {
  Ingest ingest;
  ingest.digest_ = digest;
  ingest.size_ = size;
  const std::string name = ingest_name(digest);
  for (;; co_await ring::sleep_for(loop, ingest_pause)) {
    if (has_blob(digest, size)) co_return ingest;
    Fd file =
        co_await sys::open_at(ingest_.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!co_await try_lock(file)) continue;
    // Between open and lock its owner may have made it a blob, or gc may have removed it.
    if (!is_still_named(file, ingest_, name.c_str())) continue;
    // Or it is a blob already, and this is a new file that we have just made.
    if (has_blob(digest, size)) {
      co_await sys::unlink_at(ingest_.get(), name.c_str());
      co_return ingest;
    }
    const auto status = co_await sys::stat_fd(file);
    ingest.offset_ = static_cast<uint64_t>(status.st_size);
    if (ingest.offset_ > size) {
      if (::ftruncate(file.get(), 0) < 0) co_await fail_errno(errno, "ftruncate");
      ingest.offset_ = 0;
    }
    ingest.file_ = std::move(file);
    fault_point("ingest.begun");
    co_return ingest;
  }
}

// The second half of every way into blobs/: data, then name, each on disk before the next.
ring::Task<> Store::publish(ring::Loop& loop, const Fd& file, const Fd& directory, std::string name,
                            Digest digest) {
  fault_point("blob.written");
  co_await ring::fsync(loop, file);
  fault_point("blob.synced");
  const Fd& blobs = blobs_directory(digest.algorithm());
  co_await rename_between(directory, name.c_str(), blobs, name_in(digest).c_str());
  fault_point("blob.renamed");
  co_await ring::fsync(loop, blobs);
  fault_point("blob.published");
}

ring::Task<> Store::commit(ring::Loop& loop, Ingest ingest) {
  if (ingest.done()) co_return;
  const auto status = co_await sys::stat_fd(ingest.file_);
  if (static_cast<uint64_t>(status.st_size) != ingest.size_) {
    co_await fail(Kind::Invalid, cat("blob ", ingest.digest_.text(), ": ", status.st_size,
                                     " bytes instead of ", ingest.size_));
  }
  // Not hashed here, unlike adopt_blob(): a layer is large, and whoever unpacks it hashes it
  // anyway, each time.
  co_await publish(loop, ingest.file_, ingest_, ingest_name(ingest.digest_), ingest.digest_);
}

void Store::discard(Ingest ingest) {
  if (ingest.done()) return;
  (void)::unlinkat(ingest_.get(), ingest_name(ingest.digest_).c_str(), 0);
}

ring::Task<Digest> Store::put_blob(ring::Loop& loop, std::string bytes) {
  Digest digest = codec::digest_of(bytes);
  co_await put_blob(loop, std::move(bytes), digest);
  co_return digest;
}

ring::Task<> Store::put_blob(ring::Loop& loop, std::string bytes, Digest digest) {
  const Digest found = codec::digest_of(bytes, digest.algorithm());
  if (found != digest) {
    co_await fail(Kind::Invalid, cat("these ", bytes.size(), " bytes are ", found.text(), ", not ",
                                     digest.text()));
  }
  if (has_blob(digest, bytes.size())) co_return;
  // Not an Ingest: nobody would ever go on with what a crash leaves of it.
  const Workspace workspace = co_await make_workspace();
  constexpr const char* name = "document";
  const Fd file =
      co_await sys::open_at(workspace.directory().get(), name, O_WRONLY | O_CREAT, 0600);
  co_await sys::write_all(file, bytes, digest.text());
  co_await adopt_blob(loop, workspace, name, digest, bytes.size());
}

// Workspaces. ------------------------------------------------------------------------------------

Result<Workspace> Store::make_workspace() const {
  for (;;) {
    Workspace workspace;
    std::string name = cat("work-", random_name());
    TRY(sys::make_directory_at(ingest_.get(), name.c_str(), 0700));
    // A gc that comes by before the lock may take it for a dead one's.
    fault_point("workspace.made");
    auto opened = sys::open_at(ingest_.get(), name.c_str(), O_RDONLY | O_DIRECTORY);
    if (!opened && opened.error().error_number() == ENOENT) continue;
    Fd directory = TRY(std::move(opened));
    if (!TRY(try_lock(directory)) || !is_still_named(directory, ingest_, name.c_str())) continue;
    workspace.parent_ = TRY(sys::open_at(ingest_.get(), ".", O_RDONLY | O_DIRECTORY));
    workspace.directory_ = std::move(directory);
    workspace.name_ = std::move(name);
    return workspace;
  }
}

Workspace& Workspace::operator=(Workspace&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(parent_, other.parent_);
  std::swap(name_, other.name_);
  return *this;
}

Workspace::~Workspace() {
  // What cannot be removed now, gc removes.
  if (directory_) (void)remove_tree_now(parent_, name_);
}

ring::Task<> Workspace::remove(ring::Loop& loop, Workspace workspace) {
  if (workspace.directory_) co_await remove_tree(loop, workspace.parent_, workspace.name_);
}

ring::Task<> Store::adopt_blob(ring::Loop& loop, const Workspace& workspace, std::string name,
                               Digest digest, uint64_t size) {
  const std::string doing = cat("taking over blob ", digest.text());
  // A worker made the directory's content: nothing about it is taken for granted.
  if (name.empty() || name.find('/') != std::string::npos) {
    co_await fail(Kind::Invalid, cat(doing, ": a file's name must not have a slash"));
  }
  const Fd file = co_await sys::open_at(workspace.directory().get(), name.c_str(),
                                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
                      .context(doing);
  const auto status = co_await sys::stat_fd(file);
  if (!S_ISREG(status.st_mode) || status.st_nlink != 1 ||
      static_cast<uint64_t>(status.st_size) != size) {
    co_await fail(Kind::Invalid, cat(doing, ": not a file of ", size, " bytes"));
  }
  if (has_blob(digest, size)) {
    co_await sys::unlink_at(workspace.directory().get(), name.c_str());
    co_return;
  }
  if (::fchown(file.get(), ::geteuid(), ::getegid()) < 0 || ::fchmod(file.get(), 0600) < 0) {
    co_await fail_errno(errno, doing);
  }
  // A blob is believed by whoever finds it. One planted under a foreign digest would be taken for
  // that in every later pull: so the worker's word is not enough.
  const Digest found = co_await hash_file(loop, file, digest.algorithm());
  if (found != digest) {
    co_await fail(Kind::Internal, cat(doing, ": its content is ", found.text()));
  }
  co_await publish(loop, file, workspace.directory(), std::move(name), std::move(digest));
}

// The index. -------------------------------------------------------------------------------------

ring::Task<StoreLock> Store::lock(ring::Loop& loop, LockKind kind) const {
  Fd file = co_await sys::open_at(root_.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  while (!co_await try_lock(file, kind == LockKind::Exclusive)) {
    co_await ring::sleep_for(loop, lock_pause);
  }
  co_return StoreLock(std::move(file));
}

Result<IndexFile> Store::read_index() const {
  const auto doing = [&] { return cat("reading '", path_, "/content/", index_name, "'"); };
  const std::string text =
      TRY(sys::read_file_at(content_.get(), index_name, index_bytes_max).context(doing));
  if (text.empty()) {
    return fail(Kind::Invalid,
                cat(doing(), ": it is empty; a repairing verification makes it anew"));
  }
  return parse_index_file(text).context(doing);
}

ring::Task<> Store::change_index(ring::Loop& loop, Change change) {
  const StoreLock held = co_await lock(loop, LockKind::Exclusive);
  IndexFile index = co_await read_index();
  co_await change(index);
  co_await write_index(loop, held, index);
}

ring::Task<> Store::write_index(ring::Loop& loop, const StoreLock&, const IndexFile& index) const {
  const std::string text = write_index_file(index);
  const Fd file = co_await sys::open_at(content_.get(), partial_index_name,
                                        O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  co_await sys::write_all(file, text, partial_index_name);
  fault_point("index.written");
  co_await ring::fsync(loop, file);
  fault_point("index.synced");
  co_await rename_between(content_, partial_index_name, content_, index_name);
  fault_point("index.renamed");
  co_await ring::fsync(loop, content_);
  fault_point("index.published");
}

// Records. ---------------------------------------------------------------------------------------

std::optional<ImageRecord> Store::find_record(const Digest& manifest) const {
  if (manifest.empty()) return std::nullopt;
  const auto bytes = sys::read_file_at(records_.get(), name_in(manifest).c_str(), record_bytes_max);
  if (!bytes) return std::nullopt;
  auto record = decode_image_record(*bytes);
  if (record && record->descriptor.digest != manifest) return std::nullopt;
  return record;
}

Result<> Store::put_record(const ImageRecord& record) const {
  const Digest& manifest = record.descriptor.digest;
  if (manifest.empty()) return fail(Kind::Invalid, "a record needs its manifest's digest");
  return sys::replace_file_at(records_.get(), name_in(manifest).c_str(), encode_record(record),
                              0600)
      .context([&] { return cat("keeping the record of ", manifest.text()); });
}

}  // namespace nacelle::image
