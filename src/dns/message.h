// Messages of the domain name system as bytes (RFC 1035, RFC 6891): questions of containers,
// answers of ours, and as much of others' answers as must be looked at before they are passed on.
// Whatever comes is bounded and checked; a pointer leads backwards or the message is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nacelle::dns {

inline constexpr size_t header_bytes = 12;
inline constexpr size_t name_bytes_max = 255;  // on the wire
inline constexpr size_t label_bytes_max = 63;
inline constexpr size_t plain_udp_bytes = 512;    // without EDNS
inline constexpr uint16_t edns_udp_bytes = 4096;  // the most we say and take by UDP
inline constexpr size_t tcp_bytes_max = 65535;
inline constexpr uint32_t ttl_seconds = 600;  // Docker's

enum class Code : uint8_t {
  NoError = 0,
  FormatError = 1,
  ServerFailure = 2,
  NameError = 3,
  NotImplemented = 4,
  Refused = 5,
  BadVersion = 16,
};

inline constexpr uint16_t type_a = 1, type_ptr = 12, type_aaaa = 28, type_opt = 41;
inline constexpr uint16_t class_in = 1;

struct Query {
  uint16_t id = 0;
  bool recursion_desired = false, authentic_data = false, checking_disabled = false;
  Code problem = Code::NoError;  // it cannot be answered but with this
  uint8_t opcode = 0;
  std::string question;   // as it came: name, type, class; empty where it cannot be read
  std::string name;       // in small letters, without the last dot
  bool is_plain = false;  // all of `name` can be seen, and its dots are those between labels
  uint16_t type = 0, klass = 0;
  bool has_edns = false, dnssec_ok = false;
  size_t udp_bytes = plain_udp_bytes;  // that the one who asks takes by UDP
};
// Nothing: not to be answered at all.
std::optional<Query> parse_query(std::string_view bytes);

// An answer of ours.
class Reply {
 public:
  explicit Reply(const Query& query, Code code = Code::NoError);
  void add_address(std::string_view address);  // 4 or 16 bytes
  void add_name(std::string_view name);        // for PTR: text, which fits or is left out
  // Records that are too much are left out, and it is said that they are.
  std::string finish(size_t bytes_max) &&;

 private:
  void add(uint16_t type, std::string_view data);

  const Query& query_;
  Code code_;
  std::string records_;
  std::string sizes_;  // of each record, two bytes
};
std::string error_reply(const Query& query, Code code);

// The question for somebody else, under an id of ours.
std::string make_upstream_query(const Query& query, uint16_t id);

struct UpstreamReply {
  uint16_t id = 0;
  Code code = Code::NoError;
};
// Nothing: no answer to this question, or not a message.
std::optional<UpstreamReply> parse_upstream_reply(std::string_view bytes, const Query& query);
// For the one who asked; the question alone and a word about it where it is too long.
std::string pass_on(std::string_view upstream_reply, const Query& query, size_t bytes_max);

// "4.3.2.1.in-addr.arpa" and the longer ones of IPv6: the address's 4 or 16 bytes; else empty.
std::string parse_reverse_name(std::string_view name);
// "10.0.0.2", "fd00::2": its bytes; else empty.
std::string parse_address_bytes(const std::string& text);

}  // namespace nacelle::dns
