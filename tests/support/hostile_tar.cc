#include "tests/support/hostile_tar.h"

#include <algorithm>
#include <utility>

namespace nacelle::test {
namespace {

constexpr size_t block_bytes = 512;
constexpr size_t sum_offset = 148;
constexpr size_t sum_bytes = 8;

std::string to_octal(uint64_t number, size_t digits) {
  std::string out(digits, '0');
  for (size_t i = digits; i-- > 0; number >>= 3) out[i] = static_cast<char>('0' + (number & 7));
  return out;
}

std::string padding(size_t bytes) {
  return std::string((block_bytes - bytes % block_bytes) % block_bytes, '\0');
}

}  // namespace

// Building ---------------------------------------------------------------------------------------

TarHeader::TarHeader(char type, std::string_view name) : block_(block_bytes, '\0') {
  this->name(name);
  mode(type == '5' ? 0755 : 0644);
  owner(0, 0);
  size(0);
  time(0);
  at(156, {&type, 1});
  at(257, std::string_view("ustar\00000", 8));
  device(0, 0);
}

TarHeader& TarHeader::at(size_t offset, std::string_view bytes) {
  block_.replace(offset, std::min(bytes.size(), block_bytes - offset),
                 bytes.substr(0, block_bytes - offset));
  return *this;
}

TarHeader& TarHeader::name(std::string_view name) {
  at(0, std::string(100, '\0'));
  return at(0, name.substr(0, 100));
}
TarHeader& TarHeader::link(std::string_view target) { return at(157, target.substr(0, 100)); }
TarHeader& TarHeader::prefix(std::string_view prefix) { return at(345, prefix.substr(0, 155)); }
TarHeader& TarHeader::mode(uint32_t mode) { return number(100, 8, mode); }
TarHeader& TarHeader::owner(uint64_t user, uint64_t group) {
  return number(108, 8, user).number(116, 8, group);
}
TarHeader& TarHeader::size(uint64_t size) { return number(124, 12, size); }
TarHeader& TarHeader::time(int64_t seconds) {
  return seconds < 0 ? at(136, tar_base_256(seconds, 12))
                     : number(136, 12, static_cast<uint64_t>(seconds));
}
TarHeader& TarHeader::device(uint32_t major, uint32_t minor) {
  return number(329, 8, major).number(337, 8, minor);
}
TarHeader& TarHeader::v7() { return at(257, std::string(block_bytes - 257, '\0')); }
TarHeader& TarHeader::gnu() { return at(257, std::string_view("ustar  \0", 8)); }
TarHeader& TarHeader::sum(std::string_view bytes) {
  sum_ = bytes;
  sum_.resize(sum_bytes);
  return *this;
}
TarHeader& TarHeader::signed_sum() {
  signed_sum_ = true;
  return *this;
}

TarHeader& TarHeader::number(size_t offset, size_t width, uint64_t number) {
  if (number >> (3 * (width - 1)) != 0) {
    return at(offset, tar_base_256(static_cast<int64_t>(number), width));
  }
  return at(offset, to_octal(number, width - 1) + '\0');
}

std::string TarHeader::bytes() const {
  std::string out = block_;
  if (!sum_.empty()) return out.replace(sum_offset, sum_bytes, sum_);
  out.replace(sum_offset, sum_bytes, sum_bytes, ' ');
  int64_t sum = 0;
  for (const char c : out) {
    sum += signed_sum_ ? static_cast<int64_t>(static_cast<signed char>(c))
                       : static_cast<int64_t>(static_cast<unsigned char>(c));
  }
  return out.replace(sum_offset, sum_bytes, to_octal(static_cast<uint64_t>(sum), 6) + '\0' + ' ');
}

std::string tar_base_256(int64_t number, size_t width) {
  std::string out(width, number < 0 ? '\xff' : '\0');
  auto rest = static_cast<uint64_t>(number);
  for (size_t i = width, byte = 0; i-- > 0 && byte < 8; ++byte, rest >>= 8) {
    out[i] = static_cast<char>(rest & 0xff);
  }
  out[0] = static_cast<char>(out[0] | 0x80);
  return out;
}

std::string pax_record(std::string_view key, std::string_view value) {
  const std::string body = " " + std::string(key) + "=" + std::string(value) + "\n";
  std::string length = std::to_string(body.size());
  // The length counts its own digits, which may make it longer.
  while (std::to_string(body.size() + length.size()) != length) {
    length = std::to_string(body.size() + length.size());
  }
  return length + body;
}

TarBuilder& TarBuilder::raw(std::string_view bytes) {
  bytes_ += bytes;
  return *this;
}
TarBuilder& TarBuilder::header(const TarHeader& header) { return raw(header.bytes()); }
TarBuilder& TarBuilder::content(std::string_view bytes) {
  return raw(bytes).raw(padding(bytes.size()));
}
TarBuilder& TarBuilder::file(std::string_view name, std::string_view text) {
  return header(TarHeader('0', name).size(text.size())).content(text);
}
TarBuilder& TarBuilder::directory(std::string_view name) { return header(TarHeader('5', name)); }
TarBuilder& TarBuilder::symlink(std::string_view name, std::string_view target) {
  return header(TarHeader('2', name).link(target).mode(0777));
}
TarBuilder& TarBuilder::hard_link(std::string_view name, std::string_view target) {
  return header(TarHeader('1', name).link(target));
}
TarBuilder& TarBuilder::fifo(std::string_view name) { return header(TarHeader('6', name)); }
TarBuilder& TarBuilder::device(char type, std::string_view name, uint32_t major, uint32_t minor) {
  return header(TarHeader(type, name).device(major, minor));
}
TarBuilder& TarBuilder::special(char type, std::string_view text) {
  TarHeader header(type, type == 'x' || type == 'g' ? "PaxHeaders/x" : "././@LongLink");
  if (type == 'L' || type == 'K') header.gnu();
  return this->header(header.size(text.size())).content(text);
}
TarBuilder& TarBuilder::pax(std::string_view records) { return special('x', records); }
TarBuilder& TarBuilder::pax(std::string_view key, std::string_view value) {
  return pax(pax_record(key, value));
}
TarBuilder& TarBuilder::global(std::string_view records) { return special('g', records); }
TarBuilder& TarBuilder::long_name(std::string_view name) {
  return special('L', std::string(name) + '\0');
}
TarBuilder& TarBuilder::long_link(std::string_view name) {
  return special('K', std::string(name) + '\0');
}
std::string TarBuilder::finish() const { return bytes_ + std::string(2 * block_bytes, '\0'); }

// Cases ------------------------------------------------------------------------------------------

namespace {

class Cases {
 public:
  void refused(std::string name, const TarBuilder& archive, std::string complaint) {
    add(std::move(name), archive.finish(), Expect::Refused, std::move(complaint));
  }
  void contained(std::string name, const TarBuilder& archive) {
    add(std::move(name), archive.finish(), Expect::Contained, {});
  }
  void either(std::string name, const TarBuilder& archive) {
    add(std::move(name), archive.finish(), Expect::Either, {});
  }
  void add(std::string name, std::string bytes, Expect expect, std::string complaint) {
    all_.push_back({std::move(name), std::move(bytes), expect, std::move(complaint)});
  }
  std::vector<HostileLayer> take() && { return std::move(all_); }

 private:
  std::vector<HostileLayer> all_;
};

std::string repeated(std::string_view part, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += part;
  return out;
}

// A file of a name that does not fit into the header.
TarBuilder file_named(std::string_view name) {
  return TarBuilder().pax("path", name).file("short");
}

void add_names(Cases& cases) {
  const std::pair<const char*, const char*> climbing[] = {
      {"name_parent", "../canary"},
      {"name_parent_alone", ".."},
      {"name_parent_slash", "../"},
      {"name_parent_twice", "../../canary"},
      {"name_parent_deep", "../../../../../../../../tmp/nacelle-canary"},
      {"name_parent_after_directory", "a/../../canary"},
      {"name_parent_after_two", "a/b/../../../canary"},
      {"name_parent_after_dots", "./../canary"},
      {"name_parent_after_slash", "/../canary"},
      {"name_parent_between_slashes", "a//..//..//canary"},
      {"name_parent_last", "a/../.."},
      {"name_parent_of_absolute", "/a/../../tmp/nacelle-canary"},
  };
  for (const auto& [name, path] : climbing) {
    cases.refused(name, TarBuilder().file(path), path);
    cases.refused(std::string(name) + "_by_pax", TarBuilder().pax("path", path).file("harmless"),
                  path);
  }
  cases.refused("directory_parent", TarBuilder().directory("../made"), "../made");
  cases.refused("directory_parent_alone", TarBuilder().directory(".."), "..");
  cases.refused("symlink_named_parent", TarBuilder().symlink("../canary", "x"), "../canary");
  cases.refused("fifo_parent", TarBuilder().fifo("../pipe"), "../pipe");
  cases.refused("device_parent", TarBuilder().device('3', "../null", 1, 3), "../null");
  cases.refused("parent_by_long_name", TarBuilder().long_name("../canary").file("harmless"),
                "../canary");
  cases.refused("parent_by_prefix", TarBuilder().header(TarHeader('0', "canary").prefix("..")),
                "../canary");
  cases.refused(
      "parent_by_sparse_name",
      TarBuilder()
          .pax(pax_record("GNU.sparse.major", "0") + pax_record("GNU.sparse.minor", "1") +
               pax_record("GNU.sparse.name", "../canary") + pax_record("GNU.sparse.numblocks", "0"))
          .file("harmless", ""),
      "../canary");
  const std::pair<const char*, const char*> inside[] = {
      {"name_absolute", "/etc/x"},
      {"name_absolute_canary", "/tmp/nacelle-canary"},
      {"name_absolute_double", "//etc//x"},
      {"name_dot", "./x"},
      {"name_dot_dot_inside", "a/../x"},
      {"name_dots_many", "././././x"},
      {"name_three_dots", ".../x"},
      {"name_dot_dot_prefix", "..x"},
      {"name_dot_dot_suffix", "x.."},
      {"name_backslash", "..\\canary"},
      {"name_newline", "new\nline"},
      {"name_control", "\x01\x02\x1b[31mred\x7f"},
      {"name_latin1", "\xff\xfe\xe9"},
      {"name_overlong_utf8_dots", "\xc0\xae\xc0\xae/x"},
      {"name_space", " "},
      {"name_dash", "-rf"},
      {"name_percent", "%n%s%x"},
      {"name_proc", "proc/self/mem"},
      {"name_dev_fd", "dev/fd/0"},
  };
  for (const auto& [name, path] : inside) cases.contained(name, TarBuilder().file(path));
  cases.contained("name_255_bytes", file_named(std::string(255, 'n')));
  cases.refused("name_256_bytes", file_named(std::string(256, 'n')), "nnnn");
  cases.refused("name_256_bytes_parent", file_named(std::string(256, 'n') + "/x"), "nnnn");
  cases.either("name_4095_bytes", file_named(repeated("d/", 2047) + "x"));
  cases.refused("name_4097_bytes", file_named(repeated("d/", 2048) + "x"), "longer than 4096");
  cases.refused("name_depth_5000", TarBuilder().pax("path", repeated("d/", 5000)).directory("d"),
                "longer than 4096");
  cases.refused("name_long_by_gnu", TarBuilder().long_name(std::string(5000, 'n')).file("short"),
                "longer than 4096");
  cases.either("depth_1500", TarBuilder().pax("path", repeated("d/", 1500)).directory("d"));
  cases.refused("name_nul_by_pax",
                TarBuilder().pax("path", std::string_view("a\0b", 3)).file("short"),
                "a NUL in its value");
  cases.refused("name_empty", TarBuilder().file(""), "it has no name");
  cases.contained("name_nul_in_header",
                  TarBuilder().header(TarHeader('0', "x").at(1, std::string_view("\0../y", 5))));
}

void add_roots(Cases& cases) {
  for (const auto& [name, path] :
       {std::pair("dot", "."), std::pair("dot_slash", "./"), std::pair("slash", "/"),
        std::pair("slashes", "///"), std::pair("slash_dot", "/."), std::pair("climbed", "a/..")}) {
    const std::string root = std::string("root_as_") + name;
    cases.contained(root + "_directory",
                    TarBuilder().header(TarHeader('5', path).mode(0700)).file("x"));
    cases.refused(root + "_symlink", TarBuilder().symlink(path, "/tmp").file("nacelle-canary"),
                  "entry");
    cases.refused(root + "_hard_link", TarBuilder().file("x").hard_link(path, "x"), "entry");
    cases.refused(root + "_fifo", TarBuilder().fifo(path), "entry");
    cases.refused(root + "_device", TarBuilder().device('4', path, 8, 0), "entry");
  }
  for (const char* path : {".", "a/.."}) {
    cases.refused(std::string("root_as_file_") + (path[0] == '.' ? "dot" : "climbed"),
                  TarBuilder().file(path), "entry");
  }
  cases.either("root_mode_0", TarBuilder().header(TarHeader('5', "./").mode(0)).file("x"));
}

void add_symlinks(Cases& cases) {
  const std::pair<const char*, const char*> ways_out[] = {
      {"absolute", "/tmp"},
      {"root", "/"},
      {"proc_root", "/proc/self/root"},
      {"proc_cwd", "/proc/self/cwd"},
      {"parent", ".."},
      {"parents", "../../../../../../../.."},
      {"parent_tmp", "../../../../tmp"},
      {"dot_slash_parent", "./../.."},
  };
  for (const auto& [name, target] : ways_out) {
    const std::string way = std::string("symlink_") + name;
    cases.contained(way, TarBuilder().symlink("l", target));
    cases.either(way + "_then_file", TarBuilder().symlink("l", target).file("l/nacelle-canary"));
    cases.either(way + "_then_directory", TarBuilder().symlink("l", target).directory("l/made/x"));
    cases.either(way + "_then_hard_link",
                 TarBuilder().symlink("l", target).hard_link("h", "l/nacelle-canary"));
    cases.either(way + "_then_whiteout",
                 TarBuilder().symlink("l", target).file("l/.wh.nacelle-canary", ""));
    cases.either(way + "_then_opaque",
                 TarBuilder().symlink("l", target).file("l/.wh..wh..opq", ""));
    cases.contained(way + "_then_itself_a_directory",
                    TarBuilder().symlink("l", target).directory("l").file("l/nacelle-canary"));
  }
  cases.contained("symlink_replaced_by_file", TarBuilder().symlink("l", "../canary").file("l"));
  cases.contained("symlink_absolute_replaced_by_file",
                  TarBuilder().symlink("l", "/tmp/nacelle-canary").file("l"));
  cases.contained("symlink_inside_then_file",
                  TarBuilder().directory("d").symlink("l", "d").file("l/x"));
  cases.contained("symlink_absolute_inside_then_file",
                  TarBuilder().directory("d").symlink("l", "/d").file("l/x"));
  cases.either("symlink_dangling_then_file", TarBuilder().symlink("l", "nowhere").file("l/x"));
  cases.either("symlink_dangling_outside_then_file",
               TarBuilder().symlink("l", "/tmp/nacelle-new").file("l/x"));
  cases.either("symlink_chain",
               TarBuilder().symlink("a", "b").symlink("b", "c").symlink("c", "../..").file("a/x"));
  TarBuilder chain;
  for (int i = 0; i < 60; ++i) {
    chain.symlink("l" + std::to_string(i), "l" + std::to_string(i + 1));
  }
  cases.either("symlink_chain_60", chain.directory("l60").file("l0/x"));
  cases.either("symlink_loop", TarBuilder().symlink("l", "l").file("l/x"));
  cases.either("symlink_loop_of_two", TarBuilder().symlink("a", "b").symlink("b", "a").file("a/x"));
  cases.either("symlink_to_parent_by_steps", TarBuilder()
                                                 .directory("a")
                                                 .directory("a/b")
                                                 .symlink("a/b/up", "..")
                                                 .symlink("a/b/up2", "up/..")
                                                 .symlink("a/b/up3", "up2/..")
                                                 .file("a/b/up3/canary"));
  cases.either("symlink_then_dot_dot", TarBuilder().symlink("l", "/tmp").file("l/../canary"));
  cases.either(
      "symlink_directory_replaced_midway",
      TarBuilder().directory("d").file("d/a").symlink("d", "/tmp").file("d/nacelle-canary"));
  cases.either("symlink_in_name_with_slash",
               TarBuilder().symlink("l", "/tmp").header(TarHeader('0', "l/").size(0)));
  cases.contained("symlink_target_4000",
                  TarBuilder().pax("linkpath", std::string(4000, 't')).symlink("l", "t"));
  cases.either("symlink_target_4096",
               TarBuilder().pax("linkpath", std::string(4096, 't')).symlink("l", "t"));
  cases.refused("symlink_target_5000",
                TarBuilder().pax("linkpath", std::string(5000, 't')).symlink("l", "t"),
                "longer than 4096");
  cases.refused("symlink_without_target", TarBuilder().symlink("l", ""), "without a target");
  cases.contained("symlink_with_size",
                  TarBuilder().header(TarHeader('2', "l").link("x").size(1u << 20)).file("x"));
  cases.contained("symlink_setuid",
                  TarBuilder().file("x").header(TarHeader('2', "l").link("x").mode(07777)));
  cases.contained("symlink_setuid_outside",
                  TarBuilder().header(TarHeader('2', "l").link("../canary").mode(07777)));
  cases.contained("symlink_owner_outside",
                  TarBuilder().header(TarHeader('2', "l").link("../canary").owner(1234, 1234)));
  cases.contained("symlink_time_outside",
                  TarBuilder().header(TarHeader('2', "l").link("../canary").time(1)));
  cases.either("symlink_xattr_outside",
               TarBuilder().pax("SCHILY.xattr.user.hostile", "1").symlink("l", "../canary"));
  cases.either(
      "symlink_capability_outside",
      TarBuilder()
          .pax("SCHILY.xattr.security.capability",
               std::string_view("\1\0\0\2\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 20))
          .symlink("l", "../canary"));
  cases.either("symlink_access_list_outside",
               TarBuilder()
                   .pax("SCHILY.xattr.system.posix_acl_access",
                        std::string_view("\2\0\0\0\1\0\7\0\xff\xff\xff\xff", 12))
                   .symlink("l", "../canary"));
}

void add_hard_links(Cases& cases) {
  const std::pair<const char*, const char*> climbing[] = {
      {"hard_link_parent", "../canary"},
      {"hard_link_parents", "../../canary"},
      {"hard_link_parent_deep", "../../../../../../../../etc/passwd"},
      {"hard_link_parent_after_directory", "a/../../canary"},
      {"hard_link_parent_of_absolute", "/../canary"},
  };
  for (const auto& [name, target] : climbing) {
    cases.refused(name, TarBuilder().hard_link("h", target), "'h'");
    cases.refused(std::string(name) + "_by_pax",
                  TarBuilder().pax("linkpath", target).hard_link("h", "harmless"), "'h'");
    cases.refused(std::string(name) + "_then_written",
                  TarBuilder().hard_link("h", target).file("h", "overwritten"), "'h'");
  }
  // Absolute is relative to the root, and there is nothing there.
  cases.refused("hard_link_absolute", TarBuilder().hard_link("h", "/tmp/nacelle-canary"), "'h'");
  cases.refused("hard_link_absolute_etc", TarBuilder().hard_link("h", "/etc/passwd"), "'h'");
  cases.refused("hard_link_to_nothing", TarBuilder().hard_link("h", "nothing"), "'h'");
  cases.refused("hard_link_to_itself", TarBuilder().hard_link("h", "h"), "'h'");
  cases.refused("hard_link_without_target", TarBuilder().hard_link("h", ""), "without a target");
  cases.refused("hard_link_to_later", TarBuilder().hard_link("h", "f").file("f"), "'h'");
  cases.refused("hard_link_to_directory", TarBuilder().directory("d").hard_link("h", "d"), "'h'");
  cases.refused("hard_link_to_root", TarBuilder().hard_link("h", "."), "'h'");
  cases.refused("hard_link_to_slash", TarBuilder().hard_link("h", "/"), "'h'");
  cases.contained("hard_link_absolute_inside", TarBuilder().file("f").hard_link("h", "/f"));
  cases.contained("hard_link_dotted", TarBuilder().file("f").hard_link("h", "./a/../f"));
  // What is linked is the link, or nothing: never what it points to.
  cases.either("hard_link_to_symlink",
               TarBuilder().symlink("s", "../canary").hard_link("h", "s").file("h", "overwritten"));
  cases.either("hard_link_to_symlink_then_mode",
               TarBuilder()
                   .symlink("s", "../canary")
                   .header(TarHeader('1', "h").link("s").mode(07777).owner(1234, 1234)));
  cases.either("hard_link_to_symlink_absolute",
               TarBuilder().symlink("s", "/tmp/nacelle-canary").hard_link("h", "s"));
  cases.either("hard_link_to_symlink_directory",
               TarBuilder().symlink("s", "/tmp").hard_link("h", "s").file("h/nacelle-canary"));
  cases.either("hard_link_through_symlink",
               TarBuilder().symlink("s", "..").hard_link("h", "s/canary").file("h", "overwritten"));
  cases.either("hard_link_into_symlink",
               TarBuilder().file("f").symlink("s", "/tmp").hard_link("s/nacelle-canary", "f"));
  cases.contained("hard_link_then_new_content",
                  TarBuilder().file("f", "first").hard_link("h", "f").file("h", "second"));
  cases.contained("hard_link_with_size",
                  TarBuilder().file("f").header(TarHeader('1', "h").link("f").size(512)).file("g"));
  cases.either("hard_link_to_device",
               TarBuilder().device('3', "d", 1, 1).hard_link("h", "d").file("h"));
  cases.either("hard_link_to_whiteout", TarBuilder().file(".wh.f", "").hard_link("h", ".wh.f"));
  cases.either("hard_link_named_whiteout", TarBuilder().file("f").hard_link(".wh.g", "f"));
  TarBuilder many;
  many.file("f");
  for (int i = 0; i < 2000; ++i) many.hard_link("h" + std::to_string(i), "f");
  cases.contained("hard_links_2000", many);
}

void add_duplicates(Cases& cases) {
  cases.contained("twice_a_file", TarBuilder().file("f", "first").file("f", "second"));
  cases.contained("file_over_directory", TarBuilder().directory("d").file("d/x").file("d"));
  cases.contained("directory_over_file", TarBuilder().file("d").directory("d").file("d/x"));
  cases.contained("symlink_over_directory",
                  TarBuilder().directory("d").file("d/x").symlink("d", "/tmp"));
  cases.either("symlink_over_directory_then_inside",
               TarBuilder().directory("d").symlink("d", "..").file("d/canary"));
  cases.contained("fifo_over_file", TarBuilder().file("f").fifo("f"));
  cases.contained("file_over_fifo", TarBuilder().fifo("f").file("f"));
  cases.either("file_over_device", TarBuilder().device('4', "f", 8, 0).file("f"));
  cases.contained("directory_twice_keeps_content",
                  TarBuilder().directory("d").file("d/x").directory("d"));
  cases.either("file_under_file", TarBuilder().file("f").file("f/x"));
  cases.either("directory_under_fifo", TarBuilder().fifo("f").directory("f/x"));
  cases.contained("same_by_other_names",
                  TarBuilder().file("f", "1").file("./f", "2").file("/f", "3").file("a/../f", "4"));
  cases.either("directory_mode_0_then_inside",
               TarBuilder().header(TarHeader('5', "d").mode(0)).file("d/x"));
}

void add_whiteouts(Cases& cases) {
  const std::pair<const char*, const char*> senseless[] = {
      {"whiteout_without_name", ".wh."}, {"whiteout_without_name_inside", "d/.wh."},
      {"whiteout_of_dot", ".wh.."},      {"whiteout_of_dot_inside", "d/.wh.."},
      {"whiteout_of_dot_dot", ".wh..."}, {"whiteout_of_dot_dot_inside", "d/.wh..."},
  };
  for (const auto& [name, path] : senseless) {
    cases.refused(name, TarBuilder().file(path, ""), ".wh.");
  }
  cases.refused("whiteout_outside", TarBuilder().file("../.wh.canary", ""), "../.wh.canary");
  cases.refused("opaque_outside", TarBuilder().file("../.wh..wh..opq", ""), "../.wh..wh..opq");
  cases.either("whiteout_as_parent", TarBuilder().file(".wh./x"));
  cases.either("whiteout_of_parent", TarBuilder().file(".wh.../x"));
  cases.either("whiteout_name_as_directory", TarBuilder().directory(".wh.d").file(".wh.d/x"));
  cases.either("opaque_as_directory", TarBuilder().directory(".wh..wh..opq"));
  cases.either("opaque_as_parent", TarBuilder().file(".wh..wh..opq/x"));
  cases.either("opaque_as_symlink", TarBuilder().symlink(".wh..wh..opq", "/tmp"));
  cases.either("whiteout_as_symlink", TarBuilder().symlink(".wh.x", "/tmp"));
  cases.either("whiteout_as_device", TarBuilder().device('3', ".wh.x", 1, 3));
  cases.either("whiteout_as_fifo", TarBuilder().fifo(".wh.x"));
  cases.either("whiteout_with_content", TarBuilder().file(".wh.x", std::string(100'000, 'x')));
  cases.contained("whiteout_of_root_opaque", TarBuilder().file(".wh..wh..opq", ""));
  cases.contained("whiteout_then_file", TarBuilder().file(".wh.x", "").file("x"));
  cases.contained("file_then_whiteout", TarBuilder().file("x").file(".wh.x", ""));
  cases.contained("whiteout_then_inside",
                  TarBuilder().file(".wh.d", "").directory("d").file("d/x"));
  cases.contained("whiteout_of_nothing", TarBuilder().file("no/such/.wh.x", ""));
  cases.contained("whiteout_twice", TarBuilder().file(".wh.x", "").file(".wh.x", ""));
  cases.either(
      "whiteout_aufs",
      TarBuilder().directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2").file(".wh..wh.aufs", ""));
  cases.either("whiteout_aufs_hard_link",
               TarBuilder().file(".wh..wh.plnk/1.2").hard_link("h", ".wh..wh.plnk/1.2"));
  cases.either("whiteout_of_whiteout", TarBuilder().file(".wh..wh.x", ""));
  cases.either("whiteout_of_opaque", TarBuilder().file(".wh..wh..wh..opq", ""));
  cases.refused("whiteout_256_bytes", file_named(".wh." + std::string(256, 'n')), ".wh.nnn");
  // What overlayfs takes for whiteouts, without Docker's name for them.
  cases.either("overlay_whiteout", TarBuilder().device('3', "hidden", 0, 0));
  cases.either("overlay_whiteout_block", TarBuilder().device('4', "hidden", 0, 0));
  TarBuilder many;
  for (int i = 0; i < 5000; ++i) many.file("d/.wh." + std::to_string(i), "");
  cases.contained("whiteouts_5000", many);
}

void add_devices(Cases& cases) {
  cases.either("device_memory", TarBuilder().device('3', "mem", 1, 1));
  cases.either("device_disk", TarBuilder().device('4', "sda", 8, 0));
  cases.either("device_major_4095", TarBuilder().device('3', "d", 4095, 1'048'575));
  cases.either("device_major_4096", TarBuilder().device('3', "d", 4096, 0));
  cases.either("device_minor_2097151", TarBuilder().device('3', "d", 1, 2'097'151));
  cases.refused("device_major_2_40",
                TarBuilder().header(TarHeader('3', "d").at(329, tar_base_256(int64_t{1} << 40, 8))),
                "device major");
  cases.refused("device_major_negative",
                TarBuilder().header(TarHeader('3', "d").at(329, tar_base_256(-1, 8))),
                "device major");
  cases.refused("device_minor_text", TarBuilder().header(TarHeader('3', "d").at(337, "hello!!")),
                "device minor: not a number");
  cases.either("device_setuid", TarBuilder().header(TarHeader('3', "d").device(1, 3).mode(07777)));
  cases.either("device_with_size",
               TarBuilder().header(TarHeader('3', "d").device(1, 3).size(512)).file("x"));
  cases.contained("fifo_with_size", TarBuilder().header(TarHeader('6', "p").size(512)).file("x"));
  cases.refused("fifo_with_content",
                TarBuilder().header(TarHeader('6', "p").size(512)).content(std::string(512, 'x')),
                "its sum is wrong");
  for (const char type : {'A', 'D', 'M', 'N', 'V', 'X', '8', '9', '!', '\xff'}) {
    cases.refused("type_" + std::to_string(static_cast<unsigned char>(type)),
                  TarBuilder().header(TarHeader(type, "odd").gnu()), "type '");
  }
}

void add_xattrs(Cases& cases) {
  const auto with = [](std::string_view key, std::string_view value) {
    return TarBuilder().pax("SCHILY.xattr." + std::string(key), value).file("f");
  };
  for (const char* key : {"trusted.overlay.opaque",
                          "trusted.overlay.redirect",
                          "trusted.overlay.metacopy",
                          "trusted.overlay.origin",
                          "trusted.overlay.whiteout",
                          "user.overlay.opaque",
                          "user.overlay.redirect",
                          "user.overlay.metacopy",
                          "trusted.other",
                          "security.selinux",
                          "security.ima",
                          "security.evm",
                          "security.apparmor",
                          "system.posix_acl_access",
                          "system.nfs4_acl",
                          "nothing",
                          "user.",
                          "user",
                          ".",
                          "/",
                          "../../canary"}) {
    cases.either(std::string("xattr_") + key, with(key, "/etc"));
  }
  for (const char* key : {"trusted.overlay.opaque", "user.overlay.opaque"}) {
    cases.either(std::string("xattr_directory_") + key,
                 TarBuilder().pax("SCHILY.xattr." + std::string(key), "y").directory("d"));
  }
  cases.either(
      "xattr_redirect_directory",
      TarBuilder().pax("SCHILY.xattr.trusted.overlay.redirect", "/../../../etc").directory("d"));
  cases.either("xattr_capability_empty", with("security.capability", ""));
  cases.either("xattr_capability_short", with("security.capability", "\1"));
  cases.either("xattr_capability_long", with("security.capability", std::string(64, '\1')));
  cases.either("xattr_capability_version",
               with("security.capability", std::string("\0\0\0\x7f", 4) + std::string(16, '\xff')));
  cases.refused("xattr_without_name", with("", "x"), "without a name");
  cases.refused("xattr_name_256", with("user." + std::string(251, 'n'), "x"),
                "more than 255 bytes");
  cases.either("xattr_name_255", with("user." + std::string(250, 'n'), "x"));
  cases.refused("xattr_name_nul", with(std::string_view("user.a\0b", 8), "x"), "a NUL in its key");
  cases.either("xattr_value_65536", with("user.big", std::string(65'536, 'v')));
  cases.refused("xattr_value_65537", with("user.big", std::string(65'537, 'v')),
                "more than 65536 bytes");
  std::string records;
  for (int i = 0; i < 5000; ++i) {
    records += pax_record("SCHILY.xattr.user." + std::to_string(i), "x");
  }
  cases.refused("xattrs_5000", TarBuilder().pax(records).file("f"), "more than 256 extended");
  cases.refused("xattr_libarchive_name",
                TarBuilder().pax("LIBARCHIVE.xattr.user.%zz", "eA==").file("f"), "wrong %");
  cases.refused("xattr_libarchive_nul",
                TarBuilder().pax("LIBARCHIVE.xattr.user.%00", "eA==").file("f"), "a NUL");
  cases.refused("xattr_libarchive_value",
                TarBuilder().pax("LIBARCHIVE.xattr.user.a", "!!!!").file("f"), "not base 64");
}

void add_sizes(Cases& cases) {
  const auto sized = [](std::string_view field) {
    return TarBuilder().header(TarHeader('0', "f").at(124, field)).content("x");
  };
  cases.refused("size_2_63", sized(std::string("\x80\0\0\0\x80\0\0\0\0\0\0\0", 12)),
                "size: not a number");
  cases.refused("size_2_64", sized(std::string("\x80\0\0\1\0\0\0\0\0\0\0\0", 12)),
                "size: not a number");
  cases.refused("size_2_63_less_1", sized(tar_base_256(INT64_MAX, 12)), "ends in the middle");
  cases.refused("size_2_60", sized(tar_base_256(int64_t{1} << 60, 12)), "ends in the middle");
  cases.refused("size_negative", sized(tar_base_256(-1, 12)), "size: negative");
  cases.refused("size_lowest", sized(tar_base_256(INT64_MIN, 12)), "size: negative");
  cases.refused("size_text", sized("one hundred "), "size: not a number");
  cases.refused("size_octal_9", sized("00000000009"), "size: not a number");
  cases.refused("size_pax_2_63", TarBuilder().pax("size", "9223372036854775808").file("f"),
                "'size': not a number");
  cases.refused("size_pax_negative", TarBuilder().pax("size", "-1").file("f"),
                "'size': not a number");
  cases.refused("size_pax_hex", TarBuilder().pax("size", "0x10").file("f"), "'size': not a number");
  // What one reader takes for content is an entry to the other.
  cases.contained("size_pax_hides_entry",
                  TarBuilder()
                      .pax("size", "1024")
                      .header(TarHeader('0', "f"))
                      .raw(TarHeader('0', "../canary").bytes() + std::string(512, 'x')));
  cases.refused("size_pax_shows_entry",
                TarBuilder()
                    .pax("size", "0")
                    .header(TarHeader('0', "f").size(512))
                    .header(TarHeader('0', "../canary")),
                "../canary");
  cases.refused("size_of_directory",
                TarBuilder().header(TarHeader('5', "d/").size(512)).content("not a header"),
                "its sum is wrong");
  cases.refused("size_of_file_with_slash",
                TarBuilder().header(TarHeader('0', "d/").size(512)).content("x"),
                "a directory with content");
  cases.refused("size_of_long_name",
                TarBuilder().header(TarHeader('L', "@").gnu().size(2u << 20)).content("x"),
                "more than 1048576");
  cases.refused("size_of_pax", TarBuilder().header(TarHeader('x', "@").size(1u << 30)),
                "more than 1048576");
  cases.refused("size_of_pax_negative",
                TarBuilder().header(TarHeader('x', "@").at(124, tar_base_256(-512, 12))),
                "a negative size");
}

void add_sparse(Cases& cases) {
  const auto old_gnu = [](uint64_t real_size, std::string_view pieces, uint64_t held) {
    return TarHeader('S', "f")
        .gnu()
        .size(held)
        .at(386, pieces)
        .at(483, tar_base_256(static_cast<int64_t>(real_size), 12));
  };
  const auto piece = [](int64_t offset, int64_t bytes) {
    return tar_base_256(offset, 12) + tar_base_256(bytes, 12);
  };
  const auto pax = [](std::string_view count, std::string_view map, std::string_view size) {
    return pax_record("GNU.sparse.size", size) + pax_record("GNU.sparse.numblocks", count) +
           pax_record("GNU.sparse.map", map);
  };
  constexpr int64_t ten_gigabytes = 10'000'000'000;
  cases.either("sparse_10_gigabytes", TarBuilder()
                                          .header(old_gnu(ten_gigabytes, piece(0, 512), 512))
                                          .content(std::string(512, 'x')));
  cases.either("sparse_10_gigabytes_pax",
               TarBuilder().pax(pax("1", "9999999999,1", "10000000000")).file("f"));
  cases.either("sparse_2_62", TarBuilder()
                                  .header(old_gnu(uint64_t{1} << 62, piece(0, 512), 512))
                                  .content(std::string(512, 'x')));
  cases.refused(
      "sparse_beyond_size",
      TarBuilder().header(old_gnu(512, piece(512, 512), 512)).content(std::string(512, 'x')),
      "beyond the end of the file");
  cases.refused("sparse_overflow",
                TarBuilder()
                    .header(old_gnu(512, piece(INT64_MAX, INT64_MAX), 512))
                    .content(std::string(512, 'x')),
                "beyond the end of the file");
  cases.refused("sparse_overlap", TarBuilder().pax(pax("2", "0,2,1,2", "10")).file("f", "abcd"),
                "overlap");
  cases.refused("sparse_backwards", TarBuilder().pax(pax("2", "5,2,0,2", "10")).file("f", "abcd"),
                "overlap");
  cases.refused(
      "sparse_negative",
      TarBuilder().header(old_gnu(512, piece(-512, 512), 512)).content(std::string(512, 'x')),
      "a negative number");
  cases.refused("sparse_more_than_held", TarBuilder().pax(pax("1", "0,100", "100")).file("f", "x"),
                "pieces of 100 bytes");
  cases.refused("sparse_less_than_held", TarBuilder().pax(pax("1", "0,1", "100")).file("f", "xyz"),
                "content of 3");
  cases.refused("sparse_count_lies", TarBuilder().pax(pax("3", "0,1", "100")).file("f"),
                "2 numbers for 3 pieces");
  cases.refused("sparse_count_large", TarBuilder().pax(pax("99999999999", "0,1", "100")).file("f"),
                "more than 65536");
  cases.refused("sparse_map_text", TarBuilder().pax(pax("1", "0,x", "100")).file("f"),
                "not a number");
  cases.refused("sparse_text_endless",
                TarBuilder()
                    .pax(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
                         pax_record("GNU.sparse.realsize", "100"))
                    .file("f", std::string(2048, '1')),
                "not a number");
  cases.refused("sparse_symlink", TarBuilder().pax(pax("1", "0,1", "1")).symlink("l", "x"),
                "what is not a file");
  cases.add("sparse_more_never_comes",
            TarBuilder().header(old_gnu(512, piece(0, 512), 512).at(482, "\1")).without_end(),
            Expect::Refused, "in the middle of a sparse map");
}

void add_headers(Cases& cases) {
  const auto pax = [](std::string_view records) { return TarBuilder().pax(records).file("f"); };
  cases.refused("sum_wrong", TarBuilder().header(TarHeader('0', "f").sum("0000001\0")),
                "its sum is wrong");
  cases.refused(
      "sum_empty",
      TarBuilder().header(TarHeader('0', "f").sum("")).header(TarHeader('0', "g").sum("        ")),
      "its sum is wrong");
  cases.refused("pax_length_lies", pax("99 path=x\n"), "longer than its header");
  cases.refused("pax_length_short", pax("5 path=x\n"), "no newline");
  cases.refused("pax_length_zero", pax("0 path=x\n"), "shorter than its own length");
  cases.refused("pax_length_huge", pax("99999999999999999999 path=x\n"), "without a length");
  cases.refused("pax_length_negative", pax("-9 path=x\n"), "without a length");
  cases.refused("pax_no_newline", pax("10 path=xy"), "no newline");
  cases.refused("pax_no_equals", pax("9 path x\n"), "no '='");
  cases.refused("pax_no_key", pax("5 =x\n"), "no key");
  cases.refused("pax_twice", TarBuilder().pax("path", "a").pax("path", "b").file("f"),
                "two headers of type 'x'");
  cases.refused("pax_without_entry", TarBuilder().pax("path", "a"), "amends the next");
  cases.refused("global_path", TarBuilder().global(pax_record("path", "../canary")).file("f"),
                "for all entries at once");
  cases.refused("global_size", TarBuilder().global(pax_record("size", "0")).file("f"),
                "for all entries at once");
  cases.contained("global_owner", TarBuilder().global(pax_record("uid", "0")).file("f"));
  cases.refused("owner_negative",
                TarBuilder().header(TarHeader('0', "f").at(108, tar_base_256(-1, 8))), "user id");
  cases.refused("owner_2_32", TarBuilder().pax("uid", "4294967296").file("f"), "user id");
  cases.refused("owner_no_one", TarBuilder().pax("gid", "4294967295").file("f"), "group id");
  cases.either("owner_large", TarBuilder().pax("uid", "4294967294").file("f"));
  cases.either("time_lowest", TarBuilder().pax("mtime", "-9223372036854775807").file("f"));
  cases.either("time_highest",
               TarBuilder().pax("mtime", "9223372036854775807.999999999").file("f"));
  cases.refused("time_text", TarBuilder().pax("mtime", "yesterday").file("f"), "not a time");
  cases.contained("mode_all", TarBuilder().header(TarHeader('0', "f").mode(07777777)));
}

void add_ends(Cases& cases) {
  const std::string whole = TarBuilder()
                                .file("first")
                                .pax("path", "second")
                                .file("f", std::string(700, 'x'))
                                .without_end();
  const auto cut = [&](const char* name, size_t bytes, const char* complaint) {
    cases.add(name, whole.substr(0, bytes), Expect::Refused, complaint);
  };
  cut("cut_in_header", 100, "in the middle of a header");
  cut("cut_before_content", 512, "in the middle of its content");
  cut("cut_in_second_header", 1500, "in the middle of a header");
  cut("cut_before_pax_text", 1536, "PAX header");
  cut("cut_in_pax_text", 1540, "PAX header");
  cut("cut_after_pax", 2048, "after a header that amends it");
  cut("cut_in_content", 2048 + 512 + 600, "in the middle of its content");
  cases.add("without_end", whole, Expect::Contained, {});
  cases.add("empty", "", Expect::Either, {});
  cases.add("one_zero_block", std::string(512, '\0'), Expect::Either, {});
  cases.refused("zero_block_then_entry",
                TarBuilder().file("f").raw(std::string(512, '\0')).file("../canary"),
                "one block of zeros");
  cases.add("entry_after_end",
            TarBuilder().file("f").finish() + TarBuilder().file("../canary").finish(),
            Expect::Contained, {});
  cases.add("zeros_100_kilobytes", std::string(100'000, '\0'), Expect::Either, {});
  std::string noise;
  uint32_t state = 1;
  for (int i = 0; i < 4096; ++i) {
    state = state * 1664525 + 1013904223;
    noise += static_cast<char>(state >> 24);
  }
  cases.add("noise", noise, Expect::Refused, "its sum is wrong");
  cases.add("noise_short", noise.substr(0, 300), Expect::Refused, "in the middle of a header");
  cases.add("noise_after_entry", TarBuilder().file("f").without_end() + noise, Expect::Refused,
            "its sum is wrong");
  cases.add("text", repeated("<html>404 not found</html>\n", 100), Expect::Refused,
            "its sum is wrong");
  cases.add("executable",
            "\x7f"
            "ELF" +
                std::string(1020, '\1'),
            Expect::Refused, "its sum is wrong");
}

}  // namespace

std::vector<HostileLayer> hostile_layers() {
  Cases cases;
  add_names(cases);
  add_roots(cases);
  add_symlinks(cases);
  add_hard_links(cases);
  add_duplicates(cases);
  add_whiteouts(cases);
  add_devices(cases);
  add_xattrs(cases);
  add_sizes(cases);
  add_sparse(cases);
  add_headers(cases);
  add_ends(cases);
  return std::move(cases).take();
}

}  // namespace nacelle::test
