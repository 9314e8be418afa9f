#include "http/client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "http/address.h"

namespace nacelle::http {

namespace {

constexpr long receive_buffer_bytes = 512 << 10;
constexpr long send_buffer_bytes = 256 << 10;
constexpr size_t connections_max = 4;

struct ListCleanup {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};
struct EasyCleanup {
  void operator()(CURL* handle) const { ::curl_easy_cleanup(handle); }
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// One request to one URL: what libcurl's callbacks see.
struct Exchange {
  const Request& request;
  Response response;
  std::optional<Error> refused;  // by a callback of ours
  size_t header_bytes = 0;
  uint64_t sent = 0;
  bool head_told = false;
  bool body_cut = false;     // of an error: enough of it is here
  bool any_address = false;  // home's, or a proxy's: the user named it
  Reach home_reach = Reach::Public;
  std::optional<Reach> refused_reach;

  size_t stop(Error error) {
    if (!refused) refused = std::move(error);
    return 0;
  }

  bool tell_head() {
    if (head_told || !response.ok()) return true;
    head_told = true;
    if (!request.on_head) return true;
    Result<> told = request.on_head(response);
    if (told) return true;
    stop(std::move(told).error());
    return false;
  }

  size_t on_header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > header_bytes_max) {
      return stop(Error(Kind::Exhausted,
                        cat("the answer's headers are longer than ", header_bytes_max, " bytes")));
    }
    const size_t size = line.size();
    if (line.starts_with("HTTP/")) {  // also after 100 Continue: the answer begins anew
      response.headers.clear();
      std::string_view rest = line;
      take_until(rest, ' ');
      response.status = parse_number<int>(rest.substr(0, 3)).value_or(0);
      return size;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return size;
    response.headers.push_back(
        {lower(trimmed(line.substr(0, colon))), std::string(trimmed(line.substr(colon + 1)))});
    return size;
  }

  size_t on_body(std::string_view bytes) {
    if (!response.ok()) {
      const size_t room = error_body_bytes_max - response.body.size();
      response.body += bytes.substr(0, room);
      if (bytes.size() <= room) return bytes.size();
      body_cut = true;
      return 0;
    }
    if (!tell_head()) return 0;
    if (request.sink) {
      Result<> taken = request.sink(bytes);
      return taken ? bytes.size() : stop(std::move(taken).error());
    }
    if (bytes.size() > request.body_bytes_max - response.body.size()) {
      return stop(Error(Kind::Exhausted,
                        cat("the answer is longer than ", request.body_bytes_max, " bytes")));
    }
    response.body += bytes;
    return bytes.size();
  }

  size_t on_read(char* into, size_t room) {
    if (!request.file) {
      const size_t size = std::min<uint64_t>(room, request.body.size() - sent);
      request.body.copy(into, size, sent);
      sent += size;
      return size;
    }
    const size_t wanted = std::min<uint64_t>(room, request.file_size - sent);
    if (wanted == 0) return 0;
    ssize_t size = -1;
    do {
      size = ::pread(request.file->get(), into, wanted,
                     static_cast<off_t>(request.file_offset + sent));
    } while (size < 0 && errno == EINTR);
    if (size <= 0) {
      stop(size < 0 ? Error::from_errno(errno, "reading what is to be sent")
                    : Error(Kind::Invalid, "the file that is to be sent is shorter than said"));
      return CURL_READFUNC_ABORT;
    }
    sent += static_cast<size_t>(size);
    return static_cast<size_t>(size);
  }
};

size_t header_callback(char* data, size_t, size_t size, void* self) {
  return static_cast<Exchange*>(self)->on_header({data, size});
}
size_t write_callback(char* data, size_t, size_t size, void* self) {
  return static_cast<Exchange*>(self)->on_body({data, size});
}
size_t read_callback(char* into, size_t, size_t room, void* self) {
  return static_cast<Exchange*>(self)->on_read(into, room);
}
int seek_callback(void* self, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Exchange*>(self)->sent = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}
int progress_callback(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto* exchange = static_cast<Exchange*>(self);
  if (!exchange->request.on_tick) return 0;
  Result<> ticked = exchange->request.on_tick(exchange->sent);
  if (ticked) return 0;
  exchange->stop(std::move(ticked).error());
  return 1;
}
curl_socket_t socket_callback(void* self, curlsocktype, curl_sockaddr* address) {
  auto* exchange = static_cast<Exchange*>(self);
  if (!exchange->any_address) {
    const Reach reach = reach_of(&address->addr);
    if (!may_send(exchange->home_reach, reach)) {
      exchange->refused_reach = reach;
      return CURL_SOCKET_BAD;
    }
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

Kind kind_of(CURLcode code) {
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ISSUER_ERROR: return Kind::Denied;
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_URL_MALFORMAT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING: return Kind::Invalid;
    case CURLE_OUT_OF_MEMORY: return Kind::Exhausted;
    case CURLE_FAILED_INIT:
    case CURLE_NOT_BUILT_IN:
    case CURLE_UNKNOWN_OPTION: return Kind::Internal;
    default: return Kind::Unavailable;
  }
}

}  // namespace

struct Client::State {
  ClientOptions options;
  std::unique_ptr<CURL, EasyCleanup> easy;
  char words[CURL_ERROR_SIZE] = {};
  std::optional<Reach> home_reach;  // nothing: it has not answered yet

  template <class Value>
  void set(CURLoption option, Value value) {
    // Unknown options are those this libcurl was built without; nothing of ours is optional.
    const CURLcode code = ::curl_easy_setopt(easy.get(), option, value);
    CHECK(code == CURLE_OK);
  }
  void set_blob(CURLoption option, const std::string& pem) {
    curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
    set(option, &blob);
  }

  void configure(Exchange& exchange);
  void configure_trust(const Url& url);
  void configure_body(const Request& request);
  Result<Response> once(const Request& request);
  const std::string& proxy_for(const Url& url) const;
  Result<> check_place(const Url& url) const;
  void learn_home_reach(bool proxied);
  Error refusal(const Url& url, Reach reach) const;
  Error explain(CURLcode code, const Exchange& exchange) const;
};

void Client::State::configure_trust(const Url& url) {
  const bool at_home = url.host == options.home.host;
  const bool verify = !(options.skip_verify && at_home);
  set(CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
  set(CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  // Without a bundle nobody is trusted: libcurl's own default must not step in.
  set(CURLOPT_CAINFO, nullptr);
  set(CURLOPT_CAPATH, nullptr);
  if (!options.ca_pem.empty() && url.secure()) set_blob(CURLOPT_CAINFO_BLOB, options.ca_pem);
  if (same_origin(url, options.home) && !options.client_certificate_pem.empty()) {
    set_blob(CURLOPT_SSLCERT_BLOB, options.client_certificate_pem);
    set_blob(CURLOPT_SSLKEY_BLOB, options.client_key_pem);
  }
  // Explicit empty strings keep libcurl from reading the environment.
  set(CURLOPT_PROXY, proxy_for(url).c_str());
  set(CURLOPT_NOPROXY, "");
}

const std::string& Client::State::proxy_for(const Url& url) const {
  static const std::string none;
  if (is_loopback(url.host) || is_listed(url.host, options.no_proxy)) return none;
  return url.secure() ? options.https_proxy : options.http_proxy;
}

Error Client::State::refusal(const Url& url, Reach reach) const {
  if (reach == Reach::Forbidden) {
    return {
        Kind::Denied,
        cat("'", url.host, "' has a link-local or metadata address, to which nobody may send us")};
  }
  return {Kind::Denied, cat("'", url.host, "' has an address ",
                            reach == Reach::Loopback ? "of this machine" : "in a private network",
                            ", to which '", options.home.host, "' may not send us")};
}

// Whether another place than home may be asked at all. Addresses that names lead to are checked as
// sockets are opened; a proxy opens them where we do not see it, so names are looked up for it
// here.
Result<> Client::State::check_place(const Url& url) const {
  if (options.home.secure() && !url.secure()) {
    return fail(Kind::Denied, cat("'", options.home.host, "' sends us on without TLS, to ",
                                  url.origin(), ": refused"));
  }
  std::optional<Reach> reach = reach_of_literal(url.host);
  if (!reach && !proxy_for(url).empty()) {
    if (const auto range = reach_of_name(url.host)) reach = range->most;
  }
  if (reach && !may_send(home_reach.value_or(Reach::Public), *reach)) {
    return std::unexpected(refusal(url, *reach));
  }
  return {};
}

// Once home has been public it stays so: a name may lead to another place each time it is asked.
void Client::State::learn_home_reach(bool proxied) {
  std::optional<Reach> reach;
  if (!proxied) {
    const char* address = nullptr;
    const CURLcode code = ::curl_easy_getinfo(easy.get(), CURLINFO_PRIMARY_IP, &address);
    if (code == CURLE_OK && address != nullptr) reach = reach_of_literal(address);
  } else if (home_reach) {
    return;  // one look-up is enough
  } else {
    reach = reach_of_literal(options.home.host);
    if (!reach) {
      if (const auto range = reach_of_name(options.home.host)) reach = range->least;
    }
  }
  home_reach = std::min(home_reach.value_or(Reach::Forbidden), reach.value_or(Reach::Public));
}

void Client::State::configure_body(const Request& request) {
  if (!request.has_body) return;
  set(CURLOPT_UPLOAD, 1L);
  set(CURLOPT_READFUNCTION, read_callback);
  set(CURLOPT_SEEKFUNCTION, seek_callback);
  const uint64_t size = request.file ? request.file_size : request.body.size();
  set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size));
}

void Client::State::configure(Exchange& exchange) {
  const Request& request = exchange.request;
  ::curl_easy_reset(easy.get());  // connections stay
  words[0] = '\0';
  set(CURLOPT_ERRORBUFFER, words);
  set(CURLOPT_URL, request.url.text.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_MAXCONNECTS, static_cast<long>(connections_max));
  // Refused while a failed request's buffer is still there; the next request frees that.
  ::curl_easy_setopt(easy.get(), CURLOPT_BUFFERSIZE, receive_buffer_bytes);
  set(CURLOPT_UPLOAD_BUFFERSIZE, send_buffer_bytes);
  set(CURLOPT_USERAGENT, options.user_agent.c_str());
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.timeouts.connect.count()));
  const auto stall = request.stall_max.count() > 0 ? request.stall_max : options.timeouts.stall;
  set(CURLOPT_LOW_SPEED_LIMIT, stall_bytes_per_second);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall.count()));
  if (request.total_max.count() > 0) {
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_max.count()));
  }
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else {
    configure_body(request);
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  set(CURLOPT_HEADERFUNCTION, header_callback);
  set(CURLOPT_HEADERDATA, &exchange);
  set(CURLOPT_WRITEFUNCTION, write_callback);
  set(CURLOPT_WRITEDATA, &exchange);
  set(CURLOPT_READDATA, &exchange);
  set(CURLOPT_SEEKDATA, &exchange);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, progress_callback);
  set(CURLOPT_XFERINFODATA, &exchange);
  set(CURLOPT_OPENSOCKETFUNCTION, socket_callback);
  set(CURLOPT_OPENSOCKETDATA, &exchange);
  configure_trust(request.url);
}

Error Client::State::explain(CURLcode code, const Exchange& exchange) const {
  if (exchange.refused_reach) return refusal(exchange.request.url, *exchange.refused_reach);
  const std::string said =
      plain_words(words[0] != '\0' ? words : ::curl_easy_strerror(code), CURL_ERROR_SIZE);
  if (code == CURLE_OPERATION_TIMEDOUT && said.starts_with("Operation too slow")) {
    return {Kind::Unavailable, "the transfer has stalled"};
  }
  return {kind_of(code), said};
}

Result<Response> Client::State::once(const Request& request) {
  Exchange exchange{.request = request};
  const bool at_home = same_origin(request.url, options.home);
  const bool proxied = !proxy_for(request.url).empty();
  if (!at_home) TRY(check_place(request.url));
  exchange.any_address = at_home || proxied;
  exchange.home_reach = home_reach.value_or(Reach::Public);
  configure(exchange);
  std::unique_ptr<curl_slist, ListCleanup> list;
  const auto add = [&](const std::string& line) {
    curl_slist* longer = ::curl_slist_append(list.get(), line.c_str());
    CHECK(longer != nullptr);
    (void)list.release();
    list.reset(longer);
  };
  for (const Header& header : request.headers) add(cat(header.name, ": ", header.value));
  if (!request.authorization.empty()) add(cat("Authorization: ", request.authorization));
  if (list) set(CURLOPT_HTTPHEADER, list.get());

  const CURLcode code = ::curl_easy_perform(easy.get());
  // The lists and callbacks named above go out of scope; the handle must not remember them.
  const Error explained = explain(code, exchange);
  if (at_home && exchange.response.status != 0) learn_home_reach(proxied);
  ::curl_easy_reset(easy.get());
  if (exchange.refused) return std::unexpected(std::move(*exchange.refused));
  if (code != CURLE_OK && !exchange.body_cut) return std::unexpected(explained);
  if (exchange.response.status < 200) return fail(Kind::Invalid, "the answer is not HTTP");
  if (!exchange.tell_head()) return std::unexpected(std::move(*exchange.refused));
  exchange.response.url = request.url;
  return std::move(exchange.response);
}

std::string_view Response::header(std::string_view name) const {
  for (const Header& one : headers) {
    if (one.name == name) return one.value;
  }
  return {};
}

std::string Response::headers_joined(std::string_view name) const {
  std::string out;
  for (const Header& one : headers) {
    if (one.name == name) out += cat(out.empty() ? "" : ", ", one.value);
  }
  return out;
}

Client::Client(std::unique_ptr<State> state) : state_(std::move(state)) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<Client> Client::make(ClientOptions options) {
  static const CURLcode ready = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) return fail(Kind::Internal, "libcurl cannot be set up");
  auto state = std::make_unique<State>();
  state->options = std::move(options);
  state->easy.reset(::curl_easy_init());
  if (!state->easy) return fail(Kind::Exhausted, "libcurl has no memory");
  return Client(std::move(state));
}

namespace {

// The request that a redirect asks for, or why it is not made.
Result<Request> redirected(const Request& from, const Response& answer) {
  Request next = from;
  next.url = TRY(join_url(answer.url, answer.header("location")).context("redirect"));
  if (answer.url.secure() && !next.url.secure()) {
    return fail(Kind::Denied, cat("redirect from https to ", next.url.origin(), " refused"));
  }
  const bool reads = from.method == "GET" || from.method == "HEAD";
  if (!reads && answer.status < 307) {
    return fail(Kind::Invalid,
                cat(from.method, " answered with a redirect of status ", answer.status));
  }
  if (!same_origin(next.url, answer.url)) {
    next.authorization.clear();
    // What changes or deletes something is meant for the server that was asked; a file's bytes have
    // a digest and may be stored elsewhere.
    if (!next.body.empty() || (!reads && next.file == nullptr)) {
      return fail(Kind::Denied,
                  cat("redirect of a ", from.method, " to ", next.url.origin(), " refused"));
    }
  }
  return next;
}

bool well_formed(const Request& request) {
  const auto one_line = [](std::string_view text) {
    return std::ranges::none_of(text, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
  };
  return one_line(request.authorization) && one_line(request.method) &&
         std::ranges::all_of(request.headers, [&](const Header& header) {
           return one_line(header.name) && one_line(header.value);
         });
}

}  // namespace

Result<Response> Client::perform(const Request& request) {
  if (!well_formed(request)) return fail(Kind::Invalid, "a header of the request has line breaks");
  Request current = request;
  const auto begin = std::chrono::steady_clock::now();
  for (size_t hops = 0;; ++hops) {
    if (hops > 0 && request.total_max.count() > 0) {
      const auto gone = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::steady_clock::now() - begin);
      if (gone >= request.total_max) {
        return fail(Kind::Unavailable, cat(request.url.origin(), ": redirects take too long"));
      }
      current.total_max = request.total_max - gone;
    }
    Response response = TRY(state_->once(current).context([&] {
      return cat(current.method, " ", current.url.scheme, "://", current.url.authority());
    }));
    if (!is_redirect(response.status) || response.header("location").empty()) return response;
    if (hops == request.redirects) {
      return fail(request.redirects == 0 ? Kind::Denied : Kind::Exhausted,
                  request.redirects == 0
                      ? cat(current.url.origin(), " redirects, which is refused here")
                      : cat("more than ", request.redirects, " redirects"));
    }
    current = TRY(redirected(current, response).context([&] { return current.url.origin(); }));
  }
}

std::string plain_words(std::string_view text, size_t bytes_max) {
  std::string out;
  const bool cut = text.size() > bytes_max;
  if (cut) text = text.substr(0, bytes_max);
  // A character that the cut went through is dropped whole.
  while (cut && !text.empty() && (text.back() & 0xc0) == 0x80) text.remove_suffix(1);
  if (cut && !text.empty() && (text.back() & 0x80) != 0) text.remove_suffix(1);
  const bool utf8 = is_utf8(text);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool strange = byte < ' ' || byte == 0x7f || (byte >= 0x80 && !utf8);
    out += strange ? (byte < ' ' ? ' ' : '?') : c;
  }
  // C1 controls are two bytes in UTF-8: a terminal may act on them.
  for (size_t at = out.find('\xc2'); at != std::string::npos; at = out.find('\xc2', at + 1)) {
    if (at + 1 < out.size() && static_cast<unsigned char>(out[at + 1]) < 0xa0) {
      out.replace(at, 2, "?");
    }
  }
  return cut ? out + "..." : out;
}

}  // namespace nacelle::http
