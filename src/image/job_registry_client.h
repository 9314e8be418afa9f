// A registry's endpoints with their connections, tokens and credentials: one place that decides who
// is asked, as whom, and what to do about the answer. Used by RegistryJob alone.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/challenge.h"
#include "http/client.h"
#include "image/jobs.h"
#include "image/messages.h"
#include "nacelle/result.h"

namespace nacelle::image {

// How long and how often. The defaults are what nacelle-worker uses; tests have less patience.
struct RegistryPatience {
  http::Timeouts timeouts;
  std::chrono::seconds commit_stall{300};      // a registry may read a whole blob before it answers
  std::chrono::milliseconds document{45'000};  // for a manifest, configuration or token
  // The same from an endpoint that others come after, token included.
  std::chrono::milliseconds mirror{20'000};
  // For a document with all endpoints and attempts: shorter than a worker may be silent.
  std::chrono::milliseconds documents{100'000};
  // A blob that is slower than that on average is asked for elsewhere, or again.
  uint64_t floor_bytes_per_second = 16u << 10;
  std::chrono::seconds floor_time{300};
  size_t attempts_per_blob = 32;  // with progress or without
  std::chrono::milliseconds backoff_first{250}, backoff_max{8'000};
  std::chrono::seconds retry_after_max{20};  // whatever a server asks for
  size_t attempts = 5;                       // without progress, before giving up
};

// As RegistryJob::open.
Result<std::unique_ptr<RegistryJob>> open_registry(RegistryOpenRequest request,
                                                   RegistryPatience patience);

// One server. Requests are made with what authorization it wants, found out when it says 401.
class RegistryEndpoint {
 public:
  static Result<RegistryEndpoint> make(const RegistryOpenRequest& request, size_t index,
                                       const RegistryPatience& patience);

  // The API's own URL: what answers there speaks it.
  Result<http::Url> base_url() const;
  // The API's URL for `path` of our repository: "manifests/latest".
  Result<http::Url> url(std::string_view path) const;
  // Sends `request`, with credentials if it goes to this server. 401 is answered once.
  Result<http::Response> ask(http::Request request);
  // Documents and tokens asked for from now on have so long, all together.
  void allow(std::chrono::milliseconds time) { documents_end_ = Clock::now() + time; }

  const http::Url& home() const { return home_; }
  // Whether it has ever answered anything at all.
  bool answered() const { return answered_; }
  // What its last answer asked for with Retry-After.
  std::chrono::seconds retry_after() const { return retry_after_; }

 private:
  using Clock = std::chrono::steady_clock;

  RegistryEndpoint(http::Url home, http::Client client)
      : home_(std::move(home)), client_(std::move(client)) {}
  using Tick = std::function<Result<>(uint64_t)>;
  Result<> limit_time(http::Request& request) const;
  Result<> authorize(const http::Response& refusal, const Tick& tick);
  Result<> fetch_token(const http::Challenge& challenge, const Tick& tick);
  void add_credentials(http::Request& request, const http::Challenge& challenge) const;
  std::vector<std::string> scopes_for(const http::Challenge& challenge) const;

  http::Url home_;
  http::Client client_;
  std::string username_, password_, identity_token_;
  std::string repository_;
  std::vector<std::string> mount_from_;
  bool push_ = false;
  bool skip_verify_ = false;
  std::chrono::milliseconds document_max_{0};
  Clock::time_point documents_end_ = Clock::time_point::max();
  std::string withheld_;  // why the token was fetched without credentials
  bool answered_ = false;
  std::chrono::seconds retry_after_{0};
  std::string authorization_;  // what is sent; empty until it is wanted
  Clock::time_point authorization_ends_ = Clock::time_point::max();
  http::Challenge challenge_;  // which authorization_ answered
};

// Whether a registry at `home` may have our credentials sent to a token server at `realm`: to its
// own host, or, when it has proved who it is, to one of the same owner.
bool may_see_credentials(const http::Url& home, bool skip_verify, const http::Url& realm);

// An answer that is no success as an Error. `what` is "manifest for 'a/b:1'", "blob sha256:...".
Error registry_error(const http::Response& response, std::string_view what);

// Whether the same request may succeed later.
bool is_passing(const Error& error);

// Waits between attempts, longer each time, with a random part so that many clients spread out.
class Backoff {
 public:
  explicit Backoff(const RegistryPatience& patience) : patience_(patience) {}
  // False when the attempts are used up. `tick` is called once a second meanwhile.
  bool wait(std::chrono::seconds asked_for, const std::function<void()>& tick);
  void reset() { attempt_ = 1; }

 private:
  const RegistryPatience& patience_;
  size_t attempt_ = 1;
};

}  // namespace nacelle::image
