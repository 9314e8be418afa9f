// What becomes of what was built, as BuildKit's clients ask for it ("exporters"): an image in the
// engine's store, or something that is handed to the client on its session: its files (local), the
// same as an archive (tar), an image's archive (docker, oci). What is handed out is no image here.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "api/build_journal.h"
#include "api/build_session.h"
#include "engine/build.h"
#include "engine/engine.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "oci/reference.h"

namespace nacelle::api {

struct BuildOutput {
  std::string type;
  std::map<std::string, std::string> attributes;

  // An image in the store.
  bool is_stored() const { return type == "moby" || type == "image"; }
};

// Whether all of this can be done. Unsupported: the type or an attribute, by name.
Result<> check_outputs(const std::vector<BuildOutput>& outputs);

// What the client is told of all of them.
using OutputReport = std::map<std::string, std::string>;

// Output by output, in their order.
ring::Task<OutputReport> hand_out(engine::Engine* engine, const BuildSession* session,
                                  BuildJournal* journal, const engine::BuiltImage* built,
                                  const std::vector<BuildOutput>* outputs);

// The archive that one of them is made of, given to `use` while it is written: a pipe, and what
// says, once that has ended, whether it is whole. Where `use` ends before, the writing does.
using ArchiveUse = std::function<ring::Task<>(const Fd& archive, std::function<Result<>()> whole)>;
ring::Task<> write_output(engine::Engine* engine, const engine::BuiltImage* built,
                          const BuildOutput* output, std::vector<oci::Reference> names,
                          ArchiveUse use);

}  // namespace nacelle::api
