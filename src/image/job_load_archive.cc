#include "image/job_load_archive.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/fault.h"
#include "base/text.h"
#include "codec/json.h"
#include "codec/tar_reader.h"
#include "image/job_document.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

namespace tar = codec::tar;
using codec::json::in_quotes;

// What a blob is called until its digest is known. No digest reads so.
constexpr const char* incoming_name = "incoming";

std::string file_name(const codec::Digest& digest) { return std::string(digest.hex()); }

// A name in the archive without what does not matter in it. What could lead anywhere else is
// refused even though it would lead nowhere here: no tool writes it by accident.
Result<std::string> clean_name(std::string_view name) {
  if (name.starts_with('/')) return fail(Kind::Invalid, "an absolute name");
  std::string clean;
  while (!name.empty()) {
    const std::string_view part = take_until(name, '/');
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(Kind::Invalid, "a name with '..' in it");
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean;
}

// Where a symbolic link at `name` leads.
Result<std::string> link_destination(std::string_view name, std::string_view target) {
  if (target.starts_with('/')) return fail(Kind::Invalid, "a link to an absolute name");
  const size_t slash = name.rfind('/');
  std::string at(name.substr(0, slash == std::string_view::npos ? 0 : slash));
  while (!target.empty()) {
    const std::string_view part = take_until(target, '/');
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      if (!at.empty()) at += '/';
      at += part;
      continue;
    }
    if (at.empty()) return fail(Kind::Invalid, "a link that leads out of the archive");
    const size_t last = at.rfind('/');
    at.resize(last == std::string::npos ? 0 : last);
  }
  return at;
}

bool is_in_blobs(std::string_view name) { return name == "blobs" || name.starts_with("blobs/"); }

// What a file called `name` must have for a digest: nothing for most.
struct Expected {
  codec::Digest digest;
  bool ignored = false;  // named by an algorithm that is not ours
};
Result<Expected> expected_of(std::string_view name) {
  if (!is_in_blobs(name)) return Expected{};
  take_until(name, '/');
  const std::string_view algorithm = take_until(name, '/');
  if (algorithm != "sha256" && algorithm != "sha512") return Expected{.ignored = true};
  return Expected{.digest = TRY(codec::Digest::parse(cat(algorithm, ":", name)))};
}

}  // namespace

// A file of the archive on its way to where its digest says.
class LoadedArchive::Incoming {
 public:
  static Result<Incoming> begin(const LoadedArchive& archive, std::string name, uint64_t size) {
    const Expected expected = TRY(expected_of(name));
    const auto algorithm =
        expected.digest.empty() ? codec::DigestAlgorithm::Sha256 : expected.digest.algorithm();
    Incoming incoming(std::move(name), size, expected.digest, algorithm);
    if (!expected.ignored) {
      incoming.file_ = TRY(sys::open_at(archive.root_.get(), incoming_name,
                                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
    }
    return incoming;
  }

  Result<> take(std::string_view bytes, uint64_t offset) {
    if (offset != written_) return fail_sparse();
    written_ += bytes.size();
    if (!file_) return {};
    hasher_.update(bytes);
    return sys::write_all(file_, bytes, name_);
  }

  Result<> end(LoadedArchive& archive) {
    if (written_ != size_) return fail_sparse();
    if (!file_) return {};
    codec::Digest digest = hasher_.finish();
    if (!expected_.empty() && digest != expected_) {
      return fail(Kind::Invalid, cat("digest mismatch: its content is ", digest.text()));
    }
    const Blob* blob = TRY(archive.store(std::move(digest), size_));
    return archive.remember(name_, {.blob = blob, .link_target = {}});
  }

  // For messages. A digest needs no quotes.
  std::string label() const { return expected_.empty() ? in_quotes(name_) : name_; }

 private:
  Incoming(std::string name, uint64_t size, codec::Digest expected,
           codec::DigestAlgorithm algorithm)
      : name_(std::move(name)), size_(size), expected_(std::move(expected)), hasher_(algorithm) {}

  // Holes are as good as free to write and dear to read, which is what a bomb is made of.
  static std::unexpected<Error> fail_sparse() {
    return fail(Kind::Unsupported, "a sparse file: make the archive without --sparse");
  }

  std::string name_;
  uint64_t size_;
  codec::Digest expected_;
  codec::Hasher hasher_;
  Fd file_;
  uint64_t written_ = 0;
};

LoadedArchive::~LoadedArchive() {
  ::unlinkat(root_.get(), incoming_name, 0);
  // After keep_only() there is nothing left to remove.
  for (const auto& [digest, size] : blobs_) {
    ::unlinkat(root_.get(), file_name(digest).c_str(), 0);
  }
}

Result<> LoadedArchive::read(const Fd& archive) {
  StreamInput input(archive, limits_.expansion);
  tar::Reader reader;
  std::optional<Incoming> incoming;
  std::string_view bytes;
  uint64_t trailing = 0;
  while (!(bytes = TRY(input.next())).empty()) {
    asker_.progress(input.raw_bytes());
    if (trailing > limits_.trailing_bytes_max) {
      return fail(Kind::Exhausted, cat("more than ", limits_.trailing_bytes_max,
                                       " bytes behind the end of the archive"));
    }
    for (bool more = true; more;) {
      const size_t left = bytes.size();
      const auto label = [&] { return incoming->label(); };
      switch (TRY(reader.next(bytes))) {
        case tar::Reader::Event::NeedInput: more = false; break;
        case tar::Reader::Event::Entry: {
          const tar::Entry& entry = reader.entry();
          const auto context = [&] { return in_quotes(entry.name); };
          TRY(take_entry(entry).context(context));
          if (entry.type != tar::Type::File) break;
          std::string clean = TRY(clean_name(entry.name).context(context));
          incoming.emplace(
              TRY(Incoming::begin(*this, std::move(clean), entry.size).context(context)));
          break;
        }
        case tar::Reader::Event::Data:
          TRY(incoming->take(reader.data(), reader.data_offset()).context(label));
          break;
        case tar::Reader::Event::EntryEnd:
          if (incoming) TRY(incoming->end(*this).context(label));
          incoming.reset();
          break;
        case tar::Reader::Event::End:
          trailing += left;
          more = false;
          break;
      }
    }
  }
  if (input.raw_bytes() == 0) return fail(Kind::Invalid, "it is empty");
  return reader.finish();
}

// What is true of entries of every type.
Result<> LoadedArchive::take_entry(const tar::Entry& entry) {
  if (++entries_ > limits_.entries_max) {
    return fail(Kind::Exhausted, cat("more than ", limits_.entries_max, " entries"));
  }
  if (std::max(entry.name.size(), entry.link_target.size()) > limits_.name_bytes_max) {
    return fail(Kind::Exhausted, cat("a name of more than ", limits_.name_bytes_max, " bytes"));
  }
  if (entry.size > oci::layer_bytes_max) {
    return fail(Kind::Exhausted, cat("more than ", oci::layer_bytes_max, " bytes"));
  }
  switch (entry.type) {
    case tar::Type::File: return {};
    case tar::Type::Directory: TRY(clean_name(entry.name)); return {};
    case tar::Type::Symlink:
    case tar::Type::HardLink: return take_link(TRY(clean_name(entry.name)), entry);
    default: return fail(Kind::Invalid, "neither a file nor a directory: not an archive of images");
  }
}

// Docker before version 10 of its format wrote a layer that two images share as a link.
Result<> LoadedArchive::take_link(std::string name, const tar::Entry& entry) {
  if (is_in_blobs(name)) return fail(Kind::Invalid, "a link where a blob must be");
  std::string target = entry.type == tar::Type::HardLink
                           ? TRY(clean_name(entry.link_target))
                           : TRY(link_destination(name, entry.link_target));
  return remember(std::move(name), {.blob = nullptr, .link_target = std::move(target)});
}

Result<> LoadedArchive::remember(std::string name, Named what) {
  if (name.empty()) return fail(Kind::Invalid, "a file without a name");
  names_bytes_ += name.size() + what.link_target.size();
  if (names_bytes_ > limits_.all_names_bytes_max) {
    return fail(Kind::Exhausted,
                cat("more than ", limits_.all_names_bytes_max, " bytes of names in one archive"));
  }
  const auto [at, is_new] = names_.try_emplace(std::move(name), what);
  if (!is_new && at->second != what) {
    return fail(Kind::Invalid, "twice in the archive, with different contents");
  }
  return {};
}

Result<const LoadedArchive::Blob*> LoadedArchive::store(codec::Digest digest, uint64_t size) {
  const auto [at, is_new] = blobs_.try_emplace(std::move(digest), size);
  if (is_new) {
    TRY(sys::rename_at(root_.get(), incoming_name, file_name(at->first).c_str()));
  } else {
    TRY(sys::unlink_at(root_.get(), incoming_name));
  }
  fault_point("load.blob");
  return &*at;
}

Result<const LoadedArchive::Blob*> LoadedArchive::find(std::string_view name) const {
  std::string at = TRY(clean_name(name));
  for (unsigned links = 0; links <= limits_.links_max; ++links) {
    const auto found = names_.find(at);
    if (found == names_.end()) return nullptr;
    if (found->second.blob != nullptr) return found->second.blob;
    at = found->second.link_target;
  }
  return fail(Kind::Exhausted, cat("more than ", limits_.links_max, " links behind each other"));
}

const LoadedArchive::Blob* LoadedArchive::find(const codec::Digest& digest) const {
  const auto found = blobs_.find(digest);
  return found == blobs_.end() ? nullptr : &*found;
}

Result<std::string> LoadedArchive::read_document(const Blob& blob, size_t bytes_max) {
  if (blob.second > bytes_max) {
    return fail(Kind::Exhausted, cat("more than ", bytes_max, " bytes"));
  }
  documents_bytes_ += blob.second;
  if (documents_bytes_ > limits_.all_documents_bytes_max) {
    return fail(Kind::Exhausted, cat("more than ", limits_.all_documents_bytes_max,
                                     " bytes of manifests and configurations"));
  }
  const std::string path = file_name(blob.first);
  const Fd file = TRY(sys::open_at(root_.get(), path.c_str(), O_RDONLY | O_NOFOLLOW));
  std::string text = TRY(sys::read_all(file, bytes_max, path));
  TRY(check_document(text));
  return text;
}

Result<std::string> LoadedArchive::read_beginning(const Blob& blob) const {
  const std::string path = file_name(blob.first);
  const Fd file = TRY(sys::open_at(root_.get(), path.c_str(), O_RDONLY | O_NOFOLLOW));
  std::array<char, 16> bytes;
  const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), 0);
  if (got < 0) return fail_errno(errno, cat("read '", path, "'"));
  return std::string(bytes.data(), static_cast<size_t>(got));
}

Result<const LoadedArchive::Blob*> LoadedArchive::add(std::string_view bytes) {
  const Fd file =
      TRY(sys::open_at(root_.get(), incoming_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  TRY(sys::write_all(file, bytes, incoming_name));
  return store(codec::digest_of(bytes), bytes.size());
}

Result<> LoadedArchive::keep_only(const std::set<codec::Digest>& wanted) {
  for (const auto& [digest, size] : blobs_) {
    if (wanted.contains(digest)) continue;
    TRY(sys::unlink_at(root_.get(), file_name(digest).c_str()));
  }
  names_.clear();
  blobs_.clear();
  return {};
}

}  // namespace nacelle::image
