#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fault.h"
#include "base/text.h"
#include "codec/tar_writer.h"
#include "image/job_stream.h"
#include "image/jobs.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

// Blobs are copied in the kernel where it can (between files of one file system), and through a
// buffer where not.
class Copier {
 public:
  explicit Copier(const Fd& output) : output_(output) {}

  Result<> copy(const Fd& from, uint64_t size, std::string_view what) {
    while (size > 0) {
      const size_t got = TRY(copy_some(from, size, what));
      if (got == 0) return fail(Kind::Internal, cat(what, ": shorter than it was a moment ago"));
      size -= got;
    }
    return {};
  }

 private:
  Result<size_t> copy_some(const Fd& from, uint64_t size, std::string_view what) {
    if (in_kernel_) {
      const size_t count = std::min<uint64_t>(size, 16u << 20);
      const ssize_t got = ::copy_file_range(from.get(), nullptr, output_.get(), nullptr, count, 0);
      if (got > 0) return static_cast<size_t>(got);
      // A pipe, two file systems, an old kernel: the same, through a buffer. So is 0, which some
      // file systems answer for what they cannot do.
      in_kernel_ = false;
    }
    if (buffer_.empty()) buffer_.resize(1u << 20);
    const ssize_t got =
        ::read(from.get(), buffer_.data(), std::min<uint64_t>(size, buffer_.size()));
    if (got < 0 && errno != EINTR) return fail_errno(errno, cat("read '", what, "'"));
    if (got < 0) return copy_some(from, size, what);
    TRY(sys::write_all(output_, std::string_view(buffer_).substr(0, static_cast<size_t>(got)),
                       "the archive"));
    return static_cast<size_t>(got);
  }

  const Fd& output_;
  std::string buffer_;
  bool in_kernel_ = true;
};

struct Source {
  Fd file;
  uint64_t size = 0;
};

Result<Source> open_blob(const Fd& root, const codec::Digest& digest) {
  const std::string path = oci::blob_path(digest);
  Source source{TRY(sys::open_at(root.get(), path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK))};
  const struct stat status = TRY(sys::stat_fd(source.file));
  if (!S_ISREG(status.st_mode)) return fail(Kind::Invalid, cat(path, ": not a plain file"));
  source.size = static_cast<uint64_t>(status.st_size);
  return source;
}

}  // namespace

// Every time is 0 and every mode the same, so that an image gives the same archive each time.
Result<ArchiveRequest::Reply> archive(const ArchiveRequest& request, const Fd& root,
                                      const Fd& output, Asker& asker) {
  fault_point("archive.begin");
  Copier copier(output);
  codec::tar::Writer writer;
  ArchiveRequest::Reply reply;
  std::string text;
  const auto flush = [&]() -> Result<> {
    TRY(sys::write_all(output, text, "the archive"));
    reply.archive_bytes += text.size();
    text.clear();
    return {};
  };
  for (const ArchiveRequest::Entry& entry : request.entries) {
    const bool is_directory = entry.name.ends_with('/');
    Source blob;
    if (!entry.blob.empty()) blob = TRY(open_blob(root, entry.blob).context(entry.name));
    codec::tar::Entry header;
    header.type = is_directory ? codec::tar::Type::Directory : codec::tar::Type::File;
    header.name = is_directory ? entry.name.substr(0, entry.name.size() - 1) : entry.name;
    header.mode = is_directory ? 0755 : 0644;
    if (!is_directory) header.size = blob.file ? blob.size : entry.text.size();
    TRY(writer.begin_entry(header, text));
    if (is_directory) continue;
    if (blob.file) {
      TRY(flush());
      TRY(copier.copy(blob.file, blob.size, entry.blob.text()));
      reply.archive_bytes += blob.size;
    } else {
      text += entry.text;
    }
    writer.end_entry(header.size, text);
    asker.progress(reply.archive_bytes);
  }
  writer.end_archive(text);
  TRY(flush());
  fault_point("archive.done");
  return reply;
}

}  // namespace nacelle::image
