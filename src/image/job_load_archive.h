// An archive of images taken apart: each file in it stored once, under the hexadecimal digest of
// its content. Names from the archive are keys of a map and never paths, so there is nothing they
// could reach. Whatever keep_only() was not told of is removed again.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "codec/digest.h"
#include "codec/tar.h"
#include "image/job_load.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

class LoadedArchive {
 public:
  // Digest and size.
  using Blob = std::pair<const codec::Digest, uint64_t>;

  // All three are borrowed.
  LoadedArchive(const LoadLimits& limits, const Fd& root, Asker& asker)
      : limits_(limits), root_(root), asker_(asker) {}
  ~LoadedArchive();
  LoadedArchive(LoadedArchive&&) = delete;

  Result<> read(const Fd& archive);

  // What the archive has under this name, following links; null when there is nothing.
  Result<const Blob*> find(std::string_view name) const;
  const Blob* find(const codec::Digest& digest) const;
  // Its bytes. What all documents together come to is bounded too.
  Result<std::string> read_document(const Blob& blob, size_t bytes_max);
  // The first bytes of it: enough to tell how it is compressed.
  Result<std::string> read_beginning(const Blob& blob) const;
  Result<const Blob*> add(std::string_view bytes);

  // Removes every other blob.
  Result<> keep_only(const std::set<codec::Digest>& wanted);

 private:
  struct Named {
    const Blob* blob = nullptr;  // or
    std::string link_target;     // a name in the archive
    bool operator==(const Named&) const = default;
  };
  class Incoming;

  Result<> take_entry(const codec::tar::Entry& entry);
  Result<> take_link(std::string name, const codec::tar::Entry& entry);
  Result<> remember(std::string name, Named what);
  // Gives what is called `incoming` its name.
  Result<const Blob*> store(codec::Digest digest, uint64_t size);

  const LoadLimits& limits_;
  const Fd& root_;
  Asker& asker_;
  std::map<std::string, Named, std::less<>> names_;
  std::map<codec::Digest, uint64_t> blobs_;
  size_t entries_ = 0, names_bytes_ = 0, documents_bytes_ = 0;
};

}  // namespace nacelle::image
