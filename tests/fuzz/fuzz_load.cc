// Any bytes as an archive of images: load() answers, and leaves in its root what it reported or
// nothing.
//
// Mutated archives fail at the first sum or digest, so an input may also be the plan of one, with
// those put in after the mutation: a byte 1, then files with a byte 2 before each and a byte 3
// between name and content. `$N` in a content is the digest of the file N places before it and `#N`
// its size; `@` for a name is the name of its digest, and a name that begins with `>` is a link.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "codec/tar_writer.h"
#include "image/job_load.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

class Silent final : public Asker {
 public:
  void progress(uint64_t) override {}
  Result<> mark_opaque(const Fd&) override { return fail(Kind::Internal, "not asked for"); }
};

const std::string& root_path() {
  static const std::string* const path = [] {
    char name[] = "/dev/shm/fuzz-load-XXXXXX";
    CHECK(::mkdtemp(name) != nullptr);
    std::atexit([] { ::rmdir(root_path().c_str()); });
    return new std::string(name);
  }();
  return *path;
}

std::set<std::string> names_in(const std::string& path) {
  std::set<std::string> names;
  DIR* listing = ::opendir(path.c_str());
  CHECK(listing != nullptr);
  while (const dirent* entry = ::readdir(listing)) names.insert(entry->d_name);
  ::closedir(listing);
  names.erase(".");
  names.erase("..");
  return names;
}

// `content` with what it says of files before it.
std::string filled_in(std::string_view content, const std::vector<std::string>& before) {
  std::string text;
  for (size_t at = 0; at < content.size(); ++at) {
    const bool refers = (content[at] == '$' || content[at] == '#') && at + 1 < content.size();
    const size_t back = refers ? static_cast<size_t>(content[at + 1] - '0') : 0;
    if (!refers || back == 0 || back > before.size() || back > 9) {
      text += content[at];
      continue;
    }
    const std::string& file = before[before.size() - back];
    if (content[at] == '$') text += codec::digest_of(file).text();
    if (content[at] == '#') append_to(text, file.size());
    ++at;
  }
  return text;
}

std::string archive_of(std::string_view plan) {
  codec::tar::Writer writer;
  std::string bytes;
  std::vector<std::string> contents;
  take_until(plan, '\2');
  while (!plan.empty()) {
    std::string_view rest = take_until(plan, '\2');
    std::string_view name = take_until(rest, '\3');
    const bool is_link = name.starts_with('>');
    if (is_link) name.remove_prefix(1);
    codec::tar::Entry entry;
    if (is_link) {
      entry.type = codec::tar::Type::Symlink;
      entry.link_target = rest;
    } else {
      contents.push_back(filled_in(rest, contents));
      entry.size = contents.back().size();
    }
    entry.name = name;
    if (name == "@" && !is_link) {
      entry.name = cat("blobs/sha256/", codec::digest_of(contents.back()).hex());
    }
    if (!writer.begin_entry(entry, bytes) || is_link) continue;
    bytes += contents.back();
    writer.end_entry(entry.size, bytes);
  }
  writer.end_archive(bytes);
  return bytes;
}

void load_bytes(std::string_view bytes) {
  static const Fd root =
      *sys::open_at(sys::working_directory, root_path().c_str(), O_RDONLY | O_DIRECTORY);
  Fd archive(::memfd_create("archive", MFD_CLOEXEC));
  CHECK(sys::write_all(archive, bytes, "archive").has_value());
  ::lseek(archive.get(), 0, SEEK_SET);
  Silent asker;
  // Small bounds, so that they are met as well.
  const LoadLimits limits{.entries_max = 64,
                          .all_documents_bytes_max = 1u << 20,
                          .images_max = 8,
                          .expansion = {.free_bytes = 4u << 20, .factor = 100}};
  const auto reply = load_within(limits, root, archive, asker);
  std::set<std::string> reported;
  if (reply) {
    CHECK(!reply->images.empty());
    for (const auto& blob : reply->blobs) reported.insert(std::string(blob.digest.hex()));
    for (const auto& image : reply->images) {
      CHECK(reported.contains(std::string(image.manifest.digest.hex())));
    }
  } else {
    CHECK(reply.error().message().starts_with("archive: "));
  }
  CHECK(names_in(root_path()) == reported);
  for (const std::string& name : reported) ::unlinkat(root.get(), name.c_str(), 0);
}

}  // namespace
}  // namespace nacelle::image

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with('\1')) {
    nacelle::image::load_bytes(nacelle::image::archive_of(input));
  } else {
    nacelle::image::load_bytes(input);
  }
  return 0;
}
