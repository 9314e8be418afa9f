// A file from a server that is no registry: what ADD has a URL of.
#pragma once

#include <cstdint>
#include <string>

#include "codec/digest.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::image {

inline constexpr uint64_t remote_file_bytes_max = 16ull << 30;

// The last part of a URL's path, as a file can have it; "__unnamed__" where it has none.
Result<std::string> remote_file_name(const std::string& url);

struct RemoteFile {
  codec::Digest digest;
  int64_t modified_s = 0;  // as the server says; 0 where it does not
};

// Fetches it into `file`, which is borrowed and empty. The digest is found by a worker that has
// never spoken with the server. Whom to trust and over which proxy is the host's business, as with
// registries; nobody's credentials are sent.
ring::Task<RemoteFile> fetch_remote_file(ring::Loop& loop, std::string url, const Fd& file,
                                         codec::DigestAlgorithm algorithm);

}  // namespace nacelle::image
