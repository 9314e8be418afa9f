#include "http/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/text.h"

namespace nacelle::http {

namespace {

constexpr size_t record_bytes_max = 16u << 10;

std::unexpected<Error> tls_failure(Kind kind, std::string_view attempt) {
  std::string reason = "unknown";
  if (const unsigned long code = ::ERR_peek_last_error(); code != 0) {
    const char* text = ::ERR_reason_error_string(code);
    if (text != nullptr) reason = text;
  }
  ::ERR_clear_error();
  return fail(kind, cat(attempt, ": ", reason));
}

}  // namespace

struct TlsContext::State {
  SSL_CTX* handle = nullptr;
  bool server = false;
  ~State() { ::SSL_CTX_free(handle); }
};

struct TlsSession::State {
  SSL* handle = nullptr;
  BIO* in = nullptr;  // owned by `handle`, as `out` is
  BIO* out = nullptr;
  std::string pending;
  bool closed = false;
  ~State() { ::SSL_free(handle); }

  void collect() {
    char* bytes = nullptr;
    const long count = BIO_get_mem_data(out, &bytes);
    if (count <= 0) return;
    pending.append(bytes, static_cast<size_t>(count));
    (void)BIO_reset(out);
  }

  // An error, or nothing where more bytes are needed.
  Result<> judge(int outcome, std::string_view attempt) {
    const int why = ::SSL_get_error(handle, outcome);
    collect();
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return {};
    if (why == SSL_ERROR_ZERO_RETURN) {
      closed = true;
      return {};
    }
    const long verdict = ::SSL_get_verify_result(handle);
    if (verdict != X509_V_OK) {
      ::ERR_clear_error();
      return fail(Kind::Denied,
                  cat(attempt, ": certificate: ", ::X509_verify_cert_error_string(verdict)));
    }
    return tls_failure(Kind::Denied, attempt);
  }
};

namespace {

Result<std::unique_ptr<TlsContext::State>> make_context(const TlsIdentity& identity, bool server) {
  auto state = std::make_unique<TlsContext::State>();
  state->server = server;
  state->handle = ::SSL_CTX_new(server ? ::TLS_server_method() : ::TLS_client_method());
  SSL_CTX* context = state->handle;
  if (context == nullptr) return tls_failure(Kind::Internal, "SSL_CTX_new");
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                     SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_num_tickets(context, 0);
  ::SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  // Of TLS 1.2: ephemeral keys and authenticated encryption alone.
  ::SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
  if (::SSL_CTX_use_certificate_chain_file(context, identity.certificate.c_str()) != 1) {
    return tls_failure(Kind::Invalid, cat("reading the certificate '", identity.certificate, "'"));
  }
  if (::SSL_CTX_use_PrivateKey_file(context, identity.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return tls_failure(Kind::Invalid, cat("reading the key '", identity.key, "'"));
  }
  if (::SSL_CTX_check_private_key(context) != 1) {
    return tls_failure(Kind::Invalid, cat("the key '", identity.key, "' and its certificate"));
  }
  if (::SSL_CTX_load_verify_locations(context, identity.authority.c_str(), nullptr) != 1) {
    return tls_failure(Kind::Invalid, cat("reading the authority '", identity.authority, "'"));
  }
  if (server) {
    ::SSL_CTX_set_client_CA_list(context, ::SSL_load_client_CA_file(identity.authority.c_str()));
  }
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return state;
}

bool is_address(const std::string& host) {
  ASN1_OCTET_STRING* address = ::a2i_IPADDRESS(host.c_str());
  if (address == nullptr) ::ERR_clear_error();
  const bool is = address != nullptr;
  ::ASN1_OCTET_STRING_free(address);
  return is;
}

}  // namespace

TlsContext::TlsContext(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsContext::~TlsContext() = default;
TlsContext::TlsContext(TlsContext&&) noexcept = default;
TlsContext& TlsContext::operator=(TlsContext&&) noexcept = default;

Result<TlsContext> TlsContext::for_server(const TlsIdentity& identity) {
  return TlsContext(TRY(make_context(identity, true)));
}
Result<TlsContext> TlsContext::for_client(const TlsIdentity& identity) {
  return TlsContext(TRY(make_context(identity, false)));
}

Result<TlsSession> TlsContext::open(const std::string& host) const {
  auto state = std::make_unique<TlsSession::State>();
  state->handle = ::SSL_new(state_->handle);
  if (state->handle == nullptr) return tls_failure(Kind::Exhausted, "SSL_new");
  state->in = ::BIO_new(::BIO_s_mem());
  state->out = ::BIO_new(::BIO_s_mem());
  if (state->in == nullptr || state->out == nullptr) {
    ::BIO_free(state->in);
    ::BIO_free(state->out);
    return tls_failure(Kind::Exhausted, "BIO_new");
  }
  ::SSL_set_bio(state->handle, state->in, state->out);
  if (state_->server) {
    ::SSL_set_accept_state(state->handle);
    return TlsSession(std::move(state));
  }
  ::SSL_set_connect_state(state->handle);
  if (is_address(host)) {
    ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(state->handle), host.c_str());
  } else {
    if (::SSL_set1_host(state->handle, host.c_str()) != 1 ||
        SSL_set_tlsext_host_name(state->handle, host.c_str()) != 1) {
      return tls_failure(Kind::Invalid, cat("host '", host, "'"));
    }
  }
  return TlsSession(std::move(state));
}

TlsSession::TlsSession(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsSession::~TlsSession() = default;
TlsSession::TlsSession(TlsSession&&) noexcept = default;
TlsSession& TlsSession::operator=(TlsSession&&) noexcept = default;

Result<> TlsSession::start() {
  const int outcome = ::SSL_do_handshake(state_->handle);
  if (outcome == 1) {
    state_->collect();
    return {};
  }
  return state_->judge(outcome, "TLS handshake");
}

Result<> TlsSession::take(std::string_view cipher, std::string& plain) {
  if (::BIO_write(state_->in, cipher.data(), static_cast<int>(cipher.size())) !=
      static_cast<int>(cipher.size())) {
    return tls_failure(Kind::Exhausted, "BIO_write");
  }
  if (!established()) {
    TRY(start());
    if (!established()) return {};
  }
  for (;;) {
    const size_t had = plain.size();
    plain.resize(had + record_bytes_max);
    size_t count = 0;
    const int outcome = ::SSL_read_ex(state_->handle, plain.data() + had, record_bytes_max, &count);
    plain.resize(had + count);
    if (outcome != 1) return state_->judge(outcome, "TLS");
  }
}

Result<> TlsSession::write(std::string_view plain) {
  if (plain.empty()) return {};
  size_t count = 0;
  const int outcome = ::SSL_write_ex(state_->handle, plain.data(), plain.size(), &count);
  if (outcome != 1 || count != plain.size()) return tls_failure(Kind::Unavailable, "TLS");
  state_->collect();
  return {};
}

void TlsSession::close() {
  if (established()) ::SSL_shutdown(state_->handle);
  ::ERR_clear_error();
  state_->collect();
}

std::string& TlsSession::pending() { return state_->pending; }
bool TlsSession::established() const { return ::SSL_is_init_finished(state_->handle) == 1; }
bool TlsSession::closed() const { return state_->closed; }

std::string TlsSession::peer_name() const {
  const X509* certificate = ::SSL_get0_peer_certificate(state_->handle);
  if (certificate == nullptr) return {};
  char name[256];
  const int length = ::X509_NAME_get_text_by_NID(::X509_get_subject_name(certificate),
                                                 NID_commonName, name, sizeof name);
  return length > 0 ? std::string(name, static_cast<size_t>(length)) : std::string();
}

}  // namespace nacelle::http
