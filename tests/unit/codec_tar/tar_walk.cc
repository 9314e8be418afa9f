#include "tests/unit/codec_tar/tar_walk.h"

#include <algorithm>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::codec::tar {
namespace {

void take_data(const Reader& reader, Member& member, size_t content_bytes_max) {
  const std::string_view data = reader.data();
  CHECK(!data.empty());
  CHECK(reader.data_offset() + data.size() <= member.entry.size);
  auto& pieces = member.pieces;
  if (member.entry.size <= content_bytes_max) {
    std::ranges::copy(data, member.content.begin() + static_cast<long>(reader.data_offset()));
  }
  if (!pieces.empty() &&
      pieces.back().first + pieces.back().second.size() == reader.data_offset()) {
    pieces.back().second += data;
    return;
  }
  CHECK(pieces.empty() || pieces.back().first + pieces.back().second.size() < reader.data_offset());
  pieces.emplace_back(reader.data_offset(), data);
}

// Whether there may be more events.
bool take_event(Reader& reader, std::string_view& input, Archive& archive,
                size_t content_bytes_max) {
  const auto event = reader.next(input);
  if (!event) {
    archive.error = event.error().message();
    archive.kind = event.error().kind();
    return false;
  }
  switch (*event) {
    case Reader::Event::NeedInput: CHECK(input.empty()); return false;
    case Reader::Event::Entry: {
      const Entry& entry = reader.entry();
      archive.members.push_back({entry, {}, {}});
      if (entry.size <= content_bytes_max) archive.members.back().content.resize(entry.size);
      return true;
    }
    case Reader::Event::Data:
      take_data(reader, archive.members.back(), content_bytes_max);
      return true;
    case Reader::Event::EntryEnd: return true;
    case Reader::Event::End: archive.ended = true; return false;
  }
}

std::string about(const Member& member) {
  const Entry& entry = member.entry;
  std::string out =
      cat("type ", static_cast<int>(entry.type), " '", entry.name, "' -> '", entry.link_target,
          "' size ", entry.size, " mode ", entry.mode, " owner ", entry.user, ":", entry.group,
          " time ", entry.modified.seconds, ".", entry.modified.nanoseconds, " device ",
          entry.device_major, ":", entry.device_minor);
  for (const auto& [name, value] : entry.xattrs) out += cat(" ", name, "=", value);
  for (const auto& [offset, data] : member.pieces) out += cat(" ", data.size(), "@", offset);
  return out;
}

}  // namespace

Archive read_archive(std::string_view bytes, size_t chunk_bytes, size_t content_bytes_max) {
  Archive archive;
  Reader reader;
  while (archive.error.empty() && !archive.ended) {
    // A copy of its own, so that a read past the chunk is seen.
    const std::string chunk(bytes.substr(0, chunk_bytes));
    bytes.remove_prefix(chunk.size());
    std::string_view input = chunk;
    while (take_event(reader, input, archive, content_bytes_max)) continue;
    if (bytes.empty()) break;
  }
  if (!archive.error.empty()) {
    // An error stays.
    std::string_view input;
    CHECK(!reader.next(input));
    CHECK(!reader.finish());
    return archive;
  }
  if (const auto end = reader.finish(); !end) {
    archive.error = end.error().message();
    archive.kind = end.error().kind();
  }
  return archive;
}

bool same(const Archive& a, const Archive& b, std::string& difference) {
  if (a.error != b.error) difference = cat("'", a.error, "' and '", b.error, "'");
  if (a.members.size() != b.members.size()) {
    difference = cat(a.members.size(), " and ", b.members.size(), " entries");
  }
  for (size_t i = 0; difference.empty() && i < a.members.size(); ++i) {
    const std::string left = about(a.members[i]);
    const std::string right = about(b.members[i]);
    if (left != right) difference = cat("'", left, "' and '", right, "'");
    if (a.members[i].content != b.members[i].content) difference = cat("content of ", left);
  }
  return difference.empty();
}

std::string write_archive(const std::vector<Member>& members) {
  std::string out;
  Writer writer;
  for (const Member& member : members) {
    const auto begun = writer.begin_entry(member.entry, out);
    CHECK(begun);
    if (member.entry.type != Type::File) continue;
    CHECK(member.content.size() == member.entry.size);
    out += member.content;
    writer.end_entry(member.entry.size, out);
  }
  writer.end_archive(out);
  return out;
}

}  // namespace nacelle::codec::tar
