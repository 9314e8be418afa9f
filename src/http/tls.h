// TLS without a descriptor in sight: ciphertext in, ciphertext out, over memory. Mutual only:
// either side shows a certificate of the one authority that both were given. No version below 1.2,
// no renegotiation, no resumption. The only door to libssl besides libcurl.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::http {

struct TlsIdentity {
  std::string certificate, key, authority;  // PEM files
};

class TlsSession {
 public:
  ~TlsSession();
  TlsSession(TlsSession&&) noexcept;
  TlsSession& operator=(TlsSession&&) noexcept;

  // Ciphertext that came. What it meant is appended to `plain`; what must be sent in reply lies in
  // pending(). Denied for a certificate that is not trusted.
  Result<> take(std::string_view cipher, std::string& plain);
  // For a client: begins the handshake.
  Result<> start();
  // Only when established.
  Result<> write(std::string_view plain);
  // Says that nothing more will be written.
  void close();

  // To be sent; the caller clears what it has sent.
  std::string& pending();
  bool established() const;
  bool closed() const;            // the other side writes no more
  std::string peer_name() const;  // the common name of its certificate

  struct State;
  explicit TlsSession(std::unique_ptr<State> state);

 private:
  std::unique_ptr<State> state_;
};

// The files, read once; sessions share it.
class TlsContext {
 public:
  static Result<TlsContext> for_server(const TlsIdentity& identity);
  static Result<TlsContext> for_client(const TlsIdentity& identity);
  ~TlsContext();
  TlsContext(TlsContext&&) noexcept;
  TlsContext& operator=(TlsContext&&) noexcept;

  // `host`: for a client, the name or address that the server's certificate must be for.
  Result<TlsSession> open(const std::string& host = {}) const;

  struct State;
  explicit TlsContext(std::unique_ptr<State> state);

 private:
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::http
