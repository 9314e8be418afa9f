#include "image/job_registry_client.h"

#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "image/job_registry_reply.h"

namespace nacelle::image {

namespace {

constexpr size_t scopes_max = 16;
constexpr std::string_view client_id = "nacelle";
// A token is renewed so long before its end, for the request that is just being sent.
constexpr std::chrono::seconds token_margin{10};

void append_scope(std::vector<std::string>& scopes, std::string_view scope) {
  if (scope.empty() || scopes.size() == scopes_max) return;
  if (std::ranges::find(scopes, scope) == scopes.end()) scopes.emplace_back(scope);
}

uint32_t random_number() {
  uint32_t number = 0;
  // Without entropy every client waits the same time, which is no harm.
  if (::getrandom(&number, sizeof number, GRND_NONBLOCK) < 0) number = 1u << 31;
  return number;
}

void sleep_for(std::chrono::milliseconds time) {
  const auto count = time.count();
  timespec left{count / 1000, count % 1000 * 1'000'000};
  ::nanosleep(&left, nullptr);
}

// Token servers that are not below their registry's parent domain.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> known_realms{{
    {"registry-1.docker.io", "auth.docker.io"},
    {"docker.io", "auth.docker.io"},
}};

// Below these everyone can have a name.
constexpr std::array<std::string_view, 10> shared_parents{
    "amazonaws.com", "azurewebsites.net", "cloudapp.net",  "cloudfront.net", "github.io",
    "gitlab.io",     "googleapis.com",    "herokuapp.com", "run.app",        "workers.dev"};
// And below these with a country's two letters after them ("co.uk").
constexpr std::array<std::string_view, 8> shared_labels{"ac",  "co",  "com", "edu",
                                                        "gov", "net", "or",  "org"};

// The last two labels of a name, as a rough idea of who owns it; empty for addresses, single
// labels and parents that are shared.
std::string_view parent_of(std::string_view host) {
  if (host.empty() || host.ends_with(']') || host.ends_with('.')) return {};
  const size_t last = host.rfind('.');
  if (last == std::string_view::npos || last == 0) return {};
  const std::string_view top = host.substr(last + 1);
  if (std::ranges::any_of(top, [](char c) { return c >= '0' && c <= '9'; }) &&
      !top.starts_with("xn--")) {
    return {};  // 10.0.0.1
  }
  const size_t before = host.rfind('.', last - 1);
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;
  const std::string_view parent = host.substr(begin);
  const std::string_view second = host.substr(begin, last - begin);
  if (std::ranges::find(shared_parents, parent) != shared_parents.end()) return {};
  if (top.size() == 2 && std::ranges::find(shared_labels, second) != shared_labels.end()) return {};
  return parent;
}

}  // namespace

bool may_see_credentials(const http::Url& home, bool skip_verify, const http::Url& realm) {
  if (home.secure() && !realm.secure()) return false;
  if (realm.host == home.host) return true;
  if (!home.secure() || skip_verify) return false;
  for (const auto& [registry, server] : known_realms) {
    if (home.host == registry && realm.host == server) return true;
  }
  const std::string_view parent = parent_of(home.host);
  return !parent.empty() && parent == parent_of(realm.host);
}

Result<RegistryEndpoint> RegistryEndpoint::make(const RegistryOpenRequest& request, size_t index,
                                                const RegistryPatience& patience) {
  const RegistryOpenRequest::Endpoint& from = request.endpoints[index];
  http::Url home = TRY(http::parse_url(from.url));
  http::ClientOptions options{.home = home,
                              .skip_verify = from.skip_verify,
                              .client_certificate_pem = from.client_certificate_pem,
                              .client_key_pem = from.client_key_pem,
                              .ca_pem = cat(request.system_ca_pem, "\n", from.ca_pem),
                              .http_proxy = request.http_proxy,
                              .https_proxy = request.https_proxy,
                              .no_proxy = request.no_proxy,
                              .user_agent = request.user_agent,
                              .timeouts = patience.timeouts};
  if (request.system_ca_pem.empty() && from.ca_pem.empty()) options.ca_pem.clear();
  RegistryEndpoint endpoint(std::move(home), TRY(http::Client::make(std::move(options))));
  endpoint.username_ = from.username;
  endpoint.password_ = from.password;
  endpoint.identity_token_ = from.identity_token;
  endpoint.repository_ = request.repository;
  endpoint.mount_from_ = request.mount_from;
  endpoint.push_ = request.push;
  endpoint.skip_verify_ = from.skip_verify;
  endpoint.document_max_ = patience.document;
  return endpoint;
}

Result<http::Url> RegistryEndpoint::base_url() const {
  std::string base = home_.path;
  while (base.ends_with('/')) base.pop_back();
  return http::parse_url(cat(home_.origin(), base, "/v2/"));
}

Result<http::Url> RegistryEndpoint::url(std::string_view path) const {
  return http::parse_url(cat(TRY(base_url()).text, repository_, "/", path));
}

Result<> RegistryEndpoint::limit_time(http::Request& request) const {
  if (request.total_max.count() == 0 || documents_end_ == Clock::time_point::max()) return {};
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(documents_end_ - Clock::now());
  if (left.count() <= 0) {
    return fail(Kind::Unavailable, cat(home_.authority(), " takes too long to answer"));
  }
  request.total_max = std::min(request.total_max, left);
  return {};
}

Result<http::Response> RegistryEndpoint::ask(http::Request request) {
  const auto perform = [&]() -> Result<http::Response> {
    TRY(limit_time(request));
    if (http::same_origin(request.url, home_)) request.authorization = authorization_;
    http::Response response = TRY(client_.perform(request));
    answered_ = true;
    retry_after_ =
        parse_retry_after(response.header("retry-after")).value_or(std::chrono::seconds(0));
    return response;
  };
  retry_after_ = std::chrono::seconds(0);
  if (Clock::now() + token_margin >= authorization_ends_)
    TRY(fetch_token(challenge_, request.on_tick));
  http::Response response = TRY(perform());
  if (response.status != 401 || !http::same_origin(response.url, home_)) return response;
  // A blob may have taken all the time there was for documents.
  if (request.total_max.count() == 0 && documents_end_ < Clock::now() + document_max_) {
    allow(document_max_);
  }
  TRY(authorize(response, request.on_tick).context([&] { return home_.authority(); }));
  response = TRY(perform());
  if ((response.status == 401 || response.status == 403) && !withheld_.empty()) {
    Error error = registry_error(response, repository_);
    return std::unexpected(std::move(error.add_context(withheld_)));
  }
  return response;
}

Result<> RegistryEndpoint::authorize(const http::Response& refusal, const Tick& tick) {
  const std::vector<http::Challenge> challenges =
      TRY(http::parse_challenges(refusal.headers_joined("www-authenticate")));
  for (const http::Challenge& challenge : challenges) {
    if (challenge.scheme == "bearer") return fetch_token(challenge, tick);
  }
  for (const http::Challenge& challenge : challenges) {
    if (challenge.scheme != "basic") continue;
    if (username_.empty()) {
      return fail(Kind::Denied, "the registry wants a user name and password: log in first");
    }
    std::string basic = cat("Basic ", codec::to_base64(cat(username_, ":", password_)));
    if (authorization_ == basic) {
      return fail(Kind::Denied,
                  cat("the registry refuses the password of ", codec::json::in_quotes(username_)));
    }
    authorization_ = std::move(basic);
    authorization_ends_ = Clock::time_point::max();
    return {};
  }
  return fail(Kind::Unsupported, cat("the registry wants authentication of the kind ",
                                     codec::json::in_quotes(challenges.front().scheme)));
}

std::vector<std::string> RegistryEndpoint::scopes_for(const http::Challenge& challenge) const {
  std::vector<std::string> scopes;
  append_scope(scopes, cat("repository:", repository_, push_ ? ":pull,push" : ":pull"));
  // What the registry calls it may differ from the name in our path (mirrors with a prefix).
  if (const std::string* named = challenge.find("scope")) {
    std::string_view rest = *named;
    while (!rest.empty()) append_scope(scopes, take_until(rest, ' '));
  }
  if (push_) {
    for (const std::string& from : mount_from_) {
      append_scope(scopes, cat("repository:", from, ":pull"));
    }
  }
  return scopes;
}

// Docker's token specifications: a GET with basic authentication (or none), or OAuth 2 with an
// identity token. The token server may be another host, which the registry alone names: it sees the
// credentials only if may_see_credentials(), and is asked without them otherwise.
Result<> RegistryEndpoint::fetch_token(const http::Challenge& asked, const Tick& tick) {
  const http::Challenge challenge = asked;  // may be our own member
  const std::string* realm = challenge.find("realm");
  if (!realm) return fail(Kind::Invalid, "the registry's challenge names no realm");
  http::Request request;
  request.url = TRY(http::join_url(home_, *realm).context("token realm"));
  if (home_.secure() && !request.url.secure()) {
    return fail(Kind::Denied, cat("the registry wants its token fetched without TLS, from ",
                                  request.url.origin(), ": refused"));
  }
  fault_point("registry.token");
  request.total_max = document_max_;
  request.body_bytes_max = token_reply_bytes_max;
  request.on_tick = tick;
  withheld_.clear();
  const bool has_credentials = !identity_token_.empty() || !username_.empty();
  if (has_credentials && !may_see_credentials(home_, skip_verify_, request.url)) {
    withheld_ = cat("credentials for ", home_.authority(), " were not sent to its token server ",
                    request.url.authority(), ", which is another host");
  }
  add_credentials(request, challenge);
  TRY(limit_time(request));
  const auto asked_at = Clock::now();
  const auto explained = [&](Error error) {
    if (!withheld_.empty()) error.add_context(withheld_);
    return std::unexpected(std::move(error));
  };
  const http::Response response = TRY(client_.perform(request).context("fetching a token"));
  if (!response.ok()) return explained(registry_error(response, "token"));
  const Token token = TRY(parse_token_reply(response.body).context([&] {
    return cat("the answer of ", request.url.origin());
  }));
  authorization_ = cat("Bearer ", token.text);
  authorization_ends_ = asked_at + token.life;
  challenge_ = challenge;
  return {};
}

// And with them, or without, what the token is to be good for.
void RegistryEndpoint::add_credentials(http::Request& request,
                                       const http::Challenge& challenge) const {
  const std::string* service = challenge.find("service");
  const std::vector<std::string> scopes = scopes_for(challenge);
  if (!identity_token_.empty() && withheld_.empty()) {
    request.method = "POST";
    request.has_body = true;
    request.redirects = 0;
    request.headers.push_back({"Content-Type", "application/x-www-form-urlencoded"});
    request.body = cat("grant_type=refresh_token&client_id=", client_id,
                       "&refresh_token=", http::percent_encoded(identity_token_));
    if (service) request.body += cat("&service=", http::percent_encoded(*service));
    std::string joined;
    for (const std::string& scope : scopes) joined += cat(joined.empty() ? "" : " ", scope);
    request.body += cat("&scope=", http::percent_encoded(joined));
  } else {
    if (service) request.url = http::with_query(std::move(request.url), "service", *service);
    for (const std::string& scope : scopes) {
      request.url = http::with_query(std::move(request.url), "scope", scope);
    }
    if (!username_.empty() && withheld_.empty()) {
      request.url = http::with_query(std::move(request.url), "account", username_);
      request.authorization = cat("Basic ", codec::to_base64(cat(username_, ":", password_)));
    }
  }
}

Error registry_error(const http::Response& response, std::string_view what) {
  const int status = response.status;
  const std::string said = registry_words(response.body);
  const std::string because = said.empty() ? std::string() : cat(": ", said);
  const std::string_view host = response.url.host;
  if (status == 401 || status == 403) {
    return {Kind::Denied, cat(what, ": requested access to the resource is denied", because, " (",
                              host, "; a login may be needed)")};
  }
  if (status == 404) return {Kind::NotFound, cat(what, " not found", because)};
  if (status == 429) {
    return {Kind::Unavailable, cat(what, ": ", host, " gets too many requests", because)};
  }
  const std::string words = cat(what, ": ", host, " answers with HTTP status ", status, because);
  if (status == 408 || status >= 500) return {Kind::Unavailable, words};
  if (status == 413) return {Kind::Exhausted, words};
  if (status == 405) return {Kind::Unsupported, words};
  return {Kind::Invalid, words};
}

bool is_passing(const Error& error) { return error.kind() == Kind::Unavailable; }

bool Backoff::wait(std::chrono::seconds asked_for, const std::function<void()>& tick) {
  using std::chrono::milliseconds;
  if (attempt_ >= patience_.attempts) return false;
  const auto doublings = std::min<size_t>(attempt_ - 1, 16);
  ++attempt_;
  milliseconds time(std::min<int64_t>(patience_.backoff_first.count() << doublings,
                                      patience_.backoff_max.count()));
  // Between half of it and the whole.
  time = time / 2 + milliseconds((time.count() / 2) * (random_number() >> 16) >> 16);
  time = std::max(time, milliseconds(std::min(asked_for, patience_.retry_after_max)));
  for (constexpr milliseconds step{1000}; time.count() > 0; time -= step) {
    tick();
    sleep_for(std::min(time, step));
  }
  return true;
}

}  // namespace nacelle::image
