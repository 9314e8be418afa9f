#include "codec/tar_writer.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "codec/tar_header.h"
#include "codec/tar_pax.h"

namespace nacelle::codec::tar {
namespace {

using json::in_quotes;

constexpr uint32_t nanoseconds_in_a_second = 1'000'000'000;

char flag_of(Type type) {
  switch (type) {
    case Type::File: return '0';
    case Type::HardLink: return '1';
    case Type::Symlink: return '2';
    case Type::CharacterDevice: return '3';
    case Type::BlockDevice: return '4';
    case Type::Directory: return '5';
    case Type::Fifo: return '6';
  }
}

bool is_link(Type type) { return type == Type::HardLink || type == Type::Symlink; }
bool is_device(Type type) { return type == Type::CharacterDevice || type == Type::BlockDevice; }

Result<> check_name(std::string_view name, const char* what) {
  if (name.empty()) return fail(Kind::Invalid, cat(what, ": empty"));
  if (name.find('\0') != std::string_view::npos) {
    return fail(Kind::Invalid, cat(what, ": a NUL in it"));
  }
  if (name.size() > name_bytes_max) {
    return fail(Kind::Exhausted, cat(what, ": longer than ", name_bytes_max, " bytes"));
  }
  return {};
}

Result<> check(const Entry& entry) {
  TRY(check_name(entry.name, "name"));
  if (is_link(entry.type)) TRY(check_name(entry.link_target, "link target"));
  if (entry.type == Type::File && entry.name.ends_with('/')) {
    return fail(Kind::Invalid, "a file with the name of a directory");
  }
  if (entry.modified.nanoseconds >= nanoseconds_in_a_second) {
    return fail(Kind::Invalid, "time: more than a second of nanoseconds");
  }
  if (entry.size > INT64_MAX) return fail(Kind::Invalid, "size: out of range");
  if (entry.xattrs.size() > xattrs_max) {
    return fail(Kind::Exhausted, cat("more than ", xattrs_max, " extended attributes"));
  }
  return {};
}

using Record = std::pair<std::string, std::string>;

Record record_of_xattr(const std::pair<std::string, std::string>& xattr) {
  const auto& [name, value] = xattr;
  // An equals sign would end the key.
  if (name.find('=') == std::string::npos) return {cat(schily_xattr, name), value};
  return {cat(libarchive_xattr, to_percent(name)), to_base64(value)};
}

Result<> add_xattrs(const Entry& entry, std::vector<Record>& records) {
  for (const auto& xattr : entry.xattrs) {
    TRY(check_name(xattr.first, "extended attribute"));
    if (xattr.second.size() > xattr_value_bytes_max) {
      return fail(Kind::Exhausted, cat("extended attribute ", in_quotes(xattr.first),
                                       ": longer than ", xattr_value_bytes_max, " bytes"));
    }
    records.push_back(record_of_xattr(xattr));
  }
  return {};
}

// ustar has room for 155 bytes, a slash that is not written, and 100 bytes.
bool set_name(NewBlock& block, std::string_view name) {
  if (name.size() <= field::name.bytes) return block.set_text(field::name, name);
  // The slash that ends a directory's name is no place to cut.
  const std::string_view cuttable = name.substr(0, name.size() - 1);
  const size_t slash = cuttable.substr(0, field::prefix.bytes + 1u).rfind('/');
  if (slash == std::string_view::npos || slash == 0) return false;
  if (name.size() - slash - 1 > field::name.bytes) return false;
  block.set_text(field::prefix, name.substr(0, slash));
  return block.set_text(field::name, name.substr(slash + 1));
}

// The fields of `block`; what they have no room for goes to `records`.
Result<> fill(const Entry& entry, NewBlock& block, std::vector<Record>& records) {
  std::string name = entry.name;
  if (entry.type == Type::Directory && !name.ends_with('/')) name += '/';
  const auto add_name = [&](const char* key, std::string_view value) {
    // Without this, a key's text is UTF-8.
    if (!is_utf8(value)) records.emplace_back("hdrcharset", "BINARY");
    records.emplace_back(key, value);
  };
  const auto number = [&](Field field, uint64_t value, const char* key) {
    if (!block.set_number(field, value)) records.emplace_back(key, cat(value));
  };
  if (!set_name(block, name)) {
    block.set_text(field::name, std::string_view(name).substr(0, field::name.bytes));
    add_name("path", name);
  }
  if (is_link(entry.type) && !block.set_text(field::link, entry.link_target)) {
    add_name("linkpath", entry.link_target);
  }
  block.set_number(field::mode, entry.mode & 07777);
  number(field::user, entry.user, "uid");
  number(field::group, entry.group, "gid");
  number(field::size, entry.type == Type::File ? entry.size : 0, "size");
  const bool before_1970 = entry.modified.seconds < 0;
  const bool fits = block.set_number(
      field::modified, before_1970 ? 0 : static_cast<uint64_t>(entry.modified.seconds));
  if (!fits || before_1970 || entry.modified.nanoseconds != 0) {
    records.emplace_back("mtime", to_pax_time(entry.modified));
  }
  const char flag = flag_of(entry.type);
  block.set_text(field::type, {&flag, 1});
  if (!block.set_number(field::device_major, is_device(entry.type) ? entry.device_major : 0) ||
      !block.set_number(field::device_minor, is_device(entry.type) ? entry.device_minor : 0)) {
    return fail(Kind::Invalid, "device number: out of range");
  }
  return add_xattrs(entry, records);
}

Result<> append_pax_header(std::vector<Record>& records, std::string& out) {
  std::ranges::sort(records);
  const auto same_key = [](const Record& a, const Record& b) { return a.first == b.first; };
  // Both names may have asked for it.
  records.erase(std::ranges::unique(records).begin(), records.end());
  if (std::ranges::adjacent_find(records, same_key) != records.end()) {
    return fail(Kind::Invalid, "two extended attributes of one name");
  }
  std::string text;
  for (const auto& [key, value] : records) append_pax_record(text, key, value);
  if (text.size() > header_bytes_max) {
    return fail(Kind::Exhausted, cat("PAX header: more than ", header_bytes_max, " bytes"));
  }
  NewBlock block;
  block.set_text(field::name, "././@PaxHeader");
  block.set_number(field::mode, 0644);
  block.set_number(field::user, 0);
  block.set_number(field::group, 0);
  block.set_number(field::size, text.size());
  block.set_number(field::modified, 0);
  block.set_number(field::device_major, 0);
  block.set_number(field::device_minor, 0);
  block.set_text(field::type, "x");
  block.seal();
  out += block.bytes();
  out += text;
  out.append(padding_of(text.size()), '\0');
  return {};
}

}  // namespace

Result<> Writer::begin_entry(const Entry& entry, std::string& out) {
  const auto doing = [&] { return cat("entry ", in_quotes(entry.name)); };
  TRY(check(entry).context(doing));
  NewBlock block;
  std::vector<Record> records;
  TRY(fill(entry, block, records).context(doing));
  if (!records.empty()) TRY(append_pax_header(records, out).context(doing));
  block.seal();
  out += block.bytes();
  return {};
}

void Writer::end_entry(uint64_t size, std::string& out) { out.append(padding_of(size), '\0'); }

void Writer::end_archive(std::string& out) { out.append(2 * block_bytes, '\0'); }

}  // namespace nacelle::codec::tar
