// Blobs and manifests on their way into a registry (distribution-spec "Push").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "image/job_registry_client.h"
#include "image/jobs.h"
#include "image/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

struct PushSurroundings {
  const std::vector<std::string>& mount_from;
  const RegistryPatience& patience;
  Asker& asker;
};

// One attempt, from asking whether the blob is there already.
Result<PushBlobRequest::Reply> push_blob(RegistryEndpoint& endpoint, const PushBlobRequest& request,
                                         const Fd& file, const PushSurroundings& around);
Result<PushManifestRequest::Reply> push_manifest(RegistryEndpoint& endpoint,
                                                 const PushManifestRequest& request,
                                                 const RegistryPatience& patience);

// Docker-Content-Digest, where an answer has one, must be what `bytes` have.
Result<> check_content_digest(const http::Response& response, std::string_view bytes);

}  // namespace nacelle::image
