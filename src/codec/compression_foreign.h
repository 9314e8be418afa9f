// bzip2 and xz: what Docker reads and nobody here writes. The only door to their libraries.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "codec/compression.h"
#include "nacelle/result.h"

namespace nacelle::codec::foreign {

// Streams in a row are one; zeros after the last are padding. What a decoder needs is some 4 MiB.
class Bzip2Reader {
 public:
  Bzip2Reader();
  ~Bzip2Reader();
  Bzip2Reader(const Bzip2Reader&) = delete;
  Bzip2Reader& operator=(const Bzip2Reader&) = delete;

  Result<CodingStep> step(std::string_view input, std::span<char> output);
  Result<> finish() const;

 private:
  enum class Part : uint8_t { Between, Stream, Padding };
  struct Stream;
  Result<> start();
  Result<CodingStep> decode(std::string_view input, std::span<char> output);

  std::unique_ptr<Stream> stream_;
  Part part_ = Part::Between;
  bool whole_ = false;  // at least one has ended
};

// Streams in a row and the padding between them are the format's own affair. Unsupported: a
// dictionary beyond what `xz -9` makes.
class XzReader {
 public:
  XzReader();
  ~XzReader();
  XzReader(const XzReader&) = delete;
  XzReader& operator=(const XzReader&) = delete;

  Result<CodingStep> step(std::string_view input, std::span<char> output);
  Result<> finish();

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

}  // namespace nacelle::codec::foreign
