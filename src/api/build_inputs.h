// What a build takes from the session of its client: the Dockerfile, what is ignored, files, and
// whom it may be to registries, secrets and agents.
#pragma once

#include "api/build_journal.h"
#include "api/build_session.h"
#include "engine/build.h"
#include "nacelle/task.h"

namespace nacelle::api {

// Reads the Dockerfile, unless it is in a context from elsewhere (and not `has_own_dockerfile`),
// and says where the rest is. `session` and `journal` outlive the build.
ring::Task<> take_from_session(const BuildSession* session, BuildJournal* journal,
                               bool has_own_dockerfile, engine::BuildRequest* request);

}  // namespace nacelle::api
