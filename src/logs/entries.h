// The bytes of log files: output cut into entries and encoded, as Docker's json-file driver writes
// them or in the form of our `local` files, and entries decoded again. Pure: the same output, times
// and bounds give the same bytes, which is what makes writing them twice harmless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "logs/reader.h"

namespace nacelle::logs {

// A line longer than this becomes several entries, of which only the last ends in a newline.
inline constexpr size_t piece_bytes_max = 16u << 10;

// "2026-11-24T04:23:51.1234Z": RFC 3339, the fraction without trailing zeros.
void append_time(std::string& out, int64_t time_ns);
// Any RFC 3339 time, with an offset too; nothing when it is none.
std::optional<int64_t> parse_time(std::string_view text);

// What is left of a line whose first pieces have been written: they all bear its first time.
struct Pieces {
  int64_t time_ns = 0;
  bool open = false;
};

struct Batch {
  std::string_view output;
  Stream stream = Stream::Stdout;
  int64_t time_ns = 0;   // when the newest of `output` was read
  bool is_last = false;  // nothing comes after it: what is left without a newline is an entry too
  // An entry is begun only below this: files end with the first entry that reaches their size.
  uint64_t room = ~uint64_t{0};
};

struct Encoded {
  size_t consumed = 0;  // whole entries' worth of the output
  size_t produced = 0;
  bool more = false;  // stopped for want of room, here or in the file
};

// `attributes`: what stands between the stream and the time (",\"attrs\":{...}"), or nothing.
// `into` has at least encoded_entry_bytes_max() bytes.
size_t encoded_entry_bytes_max(std::string_view attributes);
Encoded encode_json_lines(const Batch& batch, std::string_view attributes, Pieces& pieces,
                          std::span<char> into);
Encoded encode_local_entries(const Batch& batch, Pieces& pieces, std::span<char> into);

std::string encode_attributes(const std::vector<std::pair<std::string, std::string>>& attributes);

// One line of a json-file log without its newline; nothing when it is damaged.
std::optional<Entry> decode_json_line(std::string_view line);

// Our `local` file: entries of
//   u32 size of text | u32 check | i64 time | u8 stream | text | u32 size of text
// little-endian. The size stands at both ends, so that a file can be read from its end; the check
// is of the size, the time and the stream, so that after damage the next entry can be found.
inline constexpr size_t local_head_bytes = 17;
inline constexpr size_t local_tail_bytes = 4;
struct LocalHead {
  uint32_t text_bytes = 0;
  int64_t time_ns = 0;
  Stream stream = Stream::Stdout;
};
// `bytes` begins with at least local_head_bytes.
std::optional<LocalHead> decode_local_head(std::string_view bytes);

}  // namespace nacelle::logs
