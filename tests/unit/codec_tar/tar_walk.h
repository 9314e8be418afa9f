// Whole archives in and out of our reader and writer, for tests.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/tar.h"
#include "codec/tar_reader.h"
#include "codec/tar_writer.h"

namespace nacelle::codec::tar {

struct Member {
  Entry entry;
  std::string content;                                   // holes filled with zeros
  std::vector<std::pair<uint64_t, std::string>> pieces;  // as data came, joined where it touches
};

struct Archive {
  std::vector<Member> members;
  std::string error;  // of next() or finish(); empty when there was none
  Kind kind = Kind::Internal;
  bool ended = false;  // an End was seen
};

// Reads `bytes`, given in chunks of `chunk_bytes`. A content larger than `content_bytes_max` is
// left out.
Archive read_archive(std::string_view bytes, size_t chunk_bytes = SIZE_MAX,
                     size_t content_bytes_max = size_t{64} << 20);

// Also says what differs.
bool same(const Archive& a, const Archive& b, std::string& difference);

std::string write_archive(const std::vector<Member>& members);

}  // namespace nacelle::codec::tar
