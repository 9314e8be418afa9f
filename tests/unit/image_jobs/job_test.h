// What the tests of the worker's jobs share: a directory of their own, streams that come through a
// pipe, and archives made entry by entry, so that a test can write nonsense as well.
#pragma once

#include <bzlib.h>
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "codec/compression.h"
#include "codec/digest.h"
#include "codec/tar_writer.h"
#include "image/jobs.h"
#include "sys/file.h"
#include "tests/support/command.h"

namespace nacelle::image {

class TestAsker final : public Asker {
 public:
  void progress(uint64_t done) override { last = done; }
  Result<> mark_opaque(const Fd&) override { return fail(Kind::Internal, "not asked for"); }
  uint64_t last = 0;
};

// A directory that is removed with all that is in it.
class Directory {
 public:
  Directory() {
    char path[] = "/tmp/nacelle-jobs-XXXXXX";
    CHECK(::mkdtemp(path) != nullptr);
    path_ = path;
    fd_ = *sys::open_at(sys::working_directory, path, O_RDONLY | O_DIRECTORY);
  }
  Directory(Directory&&) = delete;
  ~Directory() { test::run({"rm", "-rf", path_}); }

  const std::string& path() const { return path_; }
  const Fd& fd() const { return fd_; }
  std::set<std::string> names() const {
    std::set<std::string> found;
    DIR* listing = ::opendir(path_.c_str());
    while (const dirent* entry = ::readdir(listing)) found.insert(entry->d_name);
    ::closedir(listing);
    found.erase(".");
    found.erase("..");
    return found;
  }

 private:
  std::string path_;
  Fd fd_;
};

inline Fd memory_file(std::string_view bytes = {}) {
  Fd file(::memfd_create("test", MFD_CLOEXEC));
  CHECK(sys::write_all(file, bytes, "test").has_value());
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

inline std::string content_of(const Fd& file) {
  ::lseek(file.get(), 0, SEEK_SET);
  return *sys::read_all(file, 1u << 30, "test");
}

// The reading end of a pipe through which `bytes` come in small parts.
class Piped {
 public:
  explicit Piped(std::string bytes, size_t part = 777) {
    int ends[2];
    CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    reading_ = Fd(ends[0]);
    writer_ = std::thread([into = Fd(ends[1]), bytes = std::move(bytes), part]() {
      std::string_view rest = bytes;
      while (!rest.empty()) {
        const auto put = ::write(into.get(), rest.data(), std::min(part, rest.size()));
        if (put <= 0) return;
        rest.remove_prefix(static_cast<size_t>(put));
      }
    });
  }
  Piped(Piped&&) = delete;
  ~Piped() {
    reading_ = Fd();
    writer_.join();
  }
  const Fd& fd() const { return reading_; }

 private:
  Fd reading_;
  std::thread writer_;
};

// Nothing of ours writes these.
inline std::string as_bzip2(std::string_view bytes) {
  std::string out(bytes.size() + bytes.size() / 50 + 1024, '\0');
  auto size = static_cast<unsigned>(out.size());
  CHECK(BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(bytes.data()),
                                 static_cast<unsigned>(bytes.size()), 9, 0, 0) == BZ_OK);
  out.resize(size);
  return out;
}
inline std::string as_xz(std::string_view bytes) {
  std::string out(bytes.size() + bytes.size() / 50 + 1024, '\0');
  size_t size = 0;
  CHECK(lzma_easy_buffer_encode(
            1, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()),
            bytes.size(), reinterpret_cast<uint8_t*>(out.data()), &size, out.size()) == LZMA_OK);
  out.resize(size);
  return out;
}

inline std::string compressed(std::string_view bytes, codec::Compression compression) {
  auto compressor = *codec::Compressor::make(compression);
  std::string out(bytes.size() + 1024, '\0');
  size_t used = 0;
  while (true) {
    const auto step = *compressor.step(bytes, std::span<char>(out).subspan(used), true);
    bytes.remove_prefix(step.consumed);
    used += step.produced;
    if (step.ended) break;
    out.resize(out.size() * 2);
  }
  out.resize(used);
  return out;
}

// An archive in the making.
class Tar {
 public:
  Tar& file(std::string_view name, std::string_view content) {
    codec::tar::Entry entry;
    entry.name = name;
    entry.mode = 0644;
    entry.size = content.size();
    begin(entry);
    bytes_ += content;
    writer_.end_entry(content.size(), bytes_);
    return *this;
  }
  Tar& link(codec::tar::Type type, std::string_view name, std::string_view target) {
    codec::tar::Entry entry;
    entry.type = type;
    entry.name = name;
    entry.link_target = target;
    return begin(entry);
  }
  Tar& symlink(std::string_view name, std::string_view target) {
    return link(codec::tar::Type::Symlink, name, target);
  }
  Tar& other(codec::tar::Type type, std::string_view name) {
    codec::tar::Entry entry;
    entry.type = type;
    entry.name = name;
    entry.mode = 0755;
    return begin(entry);
  }
  // Under the name that its digest gives it.
  Tar& blob(std::string_view content,
            codec::DigestAlgorithm algorithm = codec::DigestAlgorithm::Sha256) {
    const codec::Digest digest = codec::digest_of(content, algorithm);
    return file(cat("blobs/", digest.algorithm_name(), "/", digest.hex()), content);
  }
  std::string end() const {
    std::string whole = bytes_;
    codec::tar::Writer().end_archive(whole);
    return whole;
  }
  // As far as it is, without an end.
  const std::string& so_far() const { return bytes_; }

 private:
  Tar& begin(const codec::tar::Entry& entry) {
    const auto begun = writer_.begin_entry(entry, bytes_);
    CHECK(begun.has_value());
    return *this;
  }
  codec::tar::Writer writer_;
  std::string bytes_;
};

template <class T>
std::string complaint(const Result<T>& result) {
  return result ? "(success)" : result.error().message();
}

}  // namespace nacelle::image
