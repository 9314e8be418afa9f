// Any bytes as a tar archive: refused, or read within the bounds, the same whole and in chunks; and
// an entry that was read is written and read again as it was.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "codec/tar_reader.h"
#include "codec/tar_writer.h"

namespace {

using namespace nacelle::codec;
using tar::Reader;

// Puts right sums into whatever could be a header, so that the fuzzer gets past them.
std::string with_sums(std::string_view bytes) {
  std::string out(bytes);
  for (size_t block = 0; block + 512 <= out.size(); block += 512) {
    char* header = out.data() + block;
    if (header[148] != '#') continue;
    std::fill_n(header + 148, 8, ' ');
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(header[i]);
    for (int i = 5; i >= 0; --i, sum >>= 3) header[148 + i] = static_cast<char>('0' + (sum & 7));
    header[154] = '\0';
  }
  return out;
}

void check_bounds(const tar::Entry& entry) {
  CHECK(!entry.name.empty() && entry.name.find('\0') == std::string::npos);
  CHECK(entry.name.size() <= tar::name_bytes_max);
  CHECK(entry.link_target.size() <= tar::name_bytes_max);
  CHECK(entry.xattrs.size() <= tar::xattrs_max);
  CHECK(entry.size <= INT64_MAX);
  CHECK(entry.modified.nanoseconds < 1'000'000'000);
  CHECK(std::ranges::is_sorted(entry.xattrs));
}

bool same(const tar::Entry& a, const tar::Entry& b) {
  return a.type == b.type && a.name == b.name && a.link_target == b.link_target &&
         a.size == b.size && a.mode == b.mode && a.user == b.user && a.group == b.group &&
         a.modified == b.modified && a.device_major == b.device_major &&
         a.device_minor == b.device_minor && a.xattrs == b.xattrs;
}

void write_and_read_again(const tar::Entry& entry) {
  std::string bytes;
  // A header may be larger the way we write it, and our device numbers end earlier.
  if (!tar::Writer().begin_entry(entry, bytes)) return;
  Reader reader;
  std::string_view input = bytes;
  const auto event = reader.next(input);
  CHECK(event && *event == Reader::Event::Entry);
  CHECK(same(reader.entry(), entry));
}

// Everything that was said, as text.
std::string read(std::string_view bytes, size_t chunk_bytes, bool write) {
  std::string said;
  Reader reader;
  uint64_t end_of_data = 0;
  bool first = true;
  while (first || !bytes.empty()) {
    first = false;
    std::string_view input = bytes.substr(0, chunk_bytes);
    bytes.remove_prefix(input.size());
    for (;;) {
      const auto event = reader.next(input);
      if (!event) return said + event.error().message();
      if (*event == Reader::Event::End) return said + "end";
      if (*event == Reader::Event::NeedInput) break;
      if (*event == Reader::Event::Data) {
        CHECK(!reader.data().empty() && reader.data_offset() >= end_of_data);
        end_of_data = reader.data_offset() + reader.data().size();
        CHECK(end_of_data <= reader.entry().size);
        said += reader.data();
        continue;
      }
      if (*event != Reader::Event::Entry) continue;
      end_of_data = 0;
      check_bounds(reader.entry());
      said += reader.entry().name;
      if (write) write_and_read_again(reader.entry());
    }
    CHECK(input.empty());
  }
  const auto end = reader.finish();
  return said + (end ? "no end" : end.error().message());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes = with_sums({reinterpret_cast<const char*>(data), size});
  const std::string whole = read(bytes, SIZE_MAX, true);
  for (const size_t chunk : {size_t{1}, size_t{513}}) CHECK(read(bytes, chunk, false) == whole);
  return 0;
}
