// What a loaded archive may make the worker hold and do. load() uses the defaults; tests ask for
// less, to see each bound met.
#pragma once

#include "image/job_stream.h"
#include "image/jobs.h"

namespace nacelle::image {

struct LoadLimits {
  size_t entries_max = 65536;
  size_t name_bytes_max = 1024;  // of one name or link target in the archive
  size_t all_names_bytes_max = 8u << 20;
  size_t document_bytes_max = 4u << 20;        // index.json, manifest.json, oci-layout
  size_t all_documents_bytes_max = 32u << 20;  // read to find out what is in it
  size_t images_max = 1024;
  size_t names_max = 4096;       // of all images
  unsigned index_depth_max = 4;  // index.json is the first
  unsigned links_max = 8;        // one behind the other
  uint64_t trailing_bytes_max = 16u << 20;
  ExpansionLimits expansion;
};

Result<LoadRequest::Reply> load_within(const LoadLimits& limits, const Fd& root, const Fd& archive,
                                       Asker& asker);

}  // namespace nacelle::image
