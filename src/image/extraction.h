// Entries of an archive made in a directory that others live in: each replaces what is there, as
// `docker cp` and COPY have it. Every step is taken from a descriptor, the last component is never
// followed, and "/" is the worker's root for whatever links say. (job_write_path.cc)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/tar.h"
#include "image/jobs.h"
#include "image/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

// For each entry: begin, data as often as there is some, end. The request, of which only the rules
// for kinds and owners count here, outlives the object.
class Extraction {
 public:
  Extraction(const WritePathRequest& request, Fd place)
      : request_(request), place_(std::move(place)) {}

  Result<> begin(const codec::tar::Entry& entry);
  Result<> data(uint64_t offset, std::string_view bytes);
  Result<> end();
  Result<> finish();
  WritePathRequest::Reply totals() const { return {.entries = entries_, .bytes = bytes_}; }

 private:
  struct Existing {
    bool there = false, directory = false;
  };

  // The directory `path` is in, from the place; the last one is kept open for the next entry.
  Result<const Fd*> parent(const std::string& path);
  Result<Fd> make_way(const std::string& path);
  Result<Existing> look(const Fd& directory, const char* name) const;
  Result<> clear_way(const Fd& directory, const char* name, const codec::tar::Entry& entry,
                     const std::string& path, Existing existing);
  Result<> remove(const Fd& directory, const char* name, int depth);
  Result<> remove_all(const Fd& directory, int depth);
  Result<> take_away(const Fd& directory, std::string_view whiteout);
  Result<> make(const Fd& directory, const char* name, const codec::tar::Entry& entry,
                const std::string& path);
  Result<> make_directory(const Fd& directory, const char* name, const codec::tar::Entry& entry,
                          const std::string& path, Existing existing);
  Result<> make_link(const Fd& directory, const char* name, const codec::tar::Entry& entry,
                     const std::string& path);
  Result<> set_all(const Fd& file, const codec::tar::Entry& entry, const std::string& path);
  Result<> set_on_name(const Fd& directory, const char* name, const codec::tar::Entry& entry,
                       const std::string& path);
  uint32_t user_of(const codec::tar::Entry& entry) const {
    return request_.has_owner ? request_.uid : entry.user;
  }
  uint32_t group_of(const codec::tar::Entry& entry) const {
    return request_.has_owner ? request_.gid : entry.group;
  }

  const WritePathRequest& request_;
  Fd place_;
  std::optional<std::string> parent_path_;
  Fd parent_;
  Fd file_;
  const codec::tar::Entry* entry_ = nullptr;
  std::string path_;
  uint64_t file_end_ = 0, entries_ = 0, bytes_ = 0;
  std::vector<std::pair<std::string, codec::tar::Time>> directory_times_;
};

// The whole of an archive, plain or compressed.
Result<> extract_archive(const Fd& input, Extraction& extraction, Asker& asker);

}  // namespace nacelle::image
