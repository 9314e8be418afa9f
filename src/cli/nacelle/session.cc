#include "cli/nacelle/session.h"

#include <errno.h>
#include <unistd.h>

#include "base/text.h"

namespace nacelle::cli {

Result<image::Images*> Session::images() {
  if (images_ == nullptr) {
    if (::geteuid() != 0) {
      return fail(Kind::Denied, "must be run as root: rootless use is not supported yet");
    }
    loop_ = TRY(ring::Loop::open());
    images_ = TRY(image::Images::open(*loop_, options_.images));
  }
  return images_.get();
}

Result<Api*> Session::api() {
  if (api_ != nullptr) return api_.get();
  const bool is_default = options_.host.empty();
  auto api = std::make_unique<Api>(is_default ? default_host : options_.host);
  const Result<> connected = api->connect();
  if (!connected) {
    const int why = connected.error().error_number();
    const bool nobody = why == ENOENT || why == ECONNREFUSED;
    if (!is_default || !nobody || ::geteuid() != 0) {
      return fail(connected.error().kind(),
                  cat("cannot connect to the engine at ", api->host(),
                      nobody ? ". Is it running?" : cat(": ", connected.error().message())));
    }
    TRY(start_engine(default_host));
    TRY(api->connect());
  }
  api_ = std::move(api);
  return api_.get();
}

bool Session::engine_answers() {
  if (options_.direct) return false;
  if (describe_into != nullptr) return true;
  if (api_ != nullptr) return true;
  auto api = std::make_unique<Api>(options_.host.empty() ? default_host : options_.host);
  // An engine that was named is asked, and its absence is told; none is expected at the default.
  if (options_.host.empty() && !api->connect()) return false;
  api_ = std::move(api);
  return true;
}

}  // namespace nacelle::cli
