#include "dns/message.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"

namespace nacelle::dns {
namespace {

constexpr uint16_t flag_response = 0x8000, flag_truncated = 0x0200, flag_recursion_desired = 0x0100,
                   flag_recursion_available = 0x0080, flag_authentic = 0x0020,
                   flag_checking_disabled = 0x0010;
constexpr uint32_t edns_dnssec_ok = 0x8000;
constexpr size_t record_fixed_bytes = 10;  // type, class, ttl, length
constexpr unsigned query_extras_max = 8;   // records behind a question

uint16_t get16(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<unsigned char>(bytes[at]) << 8 |
                               static_cast<unsigned char>(bytes[at + 1]));
}
uint32_t get32(std::string_view bytes, size_t at) {
  return uint32_t{get16(bytes, at)} << 16 | get16(bytes, at + 2);
}
void put16(std::string& out, uint16_t number) {
  out += static_cast<char>(number >> 8);
  out += static_cast<char>(number & 0xff);
}
void put32(std::string& out, uint32_t number) {
  put16(out, static_cast<uint16_t>(number >> 16));
  put16(out, static_cast<uint16_t>(number & 0xffff));
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Past a name that may end in a pointer. Each pointer leads to before where its name begins, so no
// chain of them is endless.
bool skip_name(std::string_view bytes, size_t& at) {
  const size_t begin = at;
  while (at < bytes.size()) {
    const auto length = static_cast<unsigned char>(bytes[at]);
    if ((length & 0xc0) == 0xc0) {
      if (at + 2 > bytes.size()) return false;
      const size_t target = get16(bytes, at) & 0x3fff;
      at += 2;
      return target >= header_bytes && target < begin;
    }
    if (length > label_bytes_max || at + 1 + length > bytes.size()) return false;
    at += 1 + size_t{length};
    if (at - begin > name_bytes_max) return false;
    if (length == 0) return true;
  }
  return false;
}

struct RecordView {
  bool is_root = false;  // its name is
  uint16_t type = 0, klass = 0;
  uint32_t ttl = 0;
};
bool read_record(std::string_view bytes, size_t& at, RecordView& record) {
  record.is_root = at < bytes.size() && bytes[at] == '\0';
  if (!skip_name(bytes, at) || at + record_fixed_bytes > bytes.size()) return false;
  record.type = get16(bytes, at);
  record.klass = get16(bytes, at + 2);
  record.ttl = get32(bytes, at + 4);
  const size_t length = get16(bytes, at + 8);
  at += record_fixed_bytes;
  if (at + length > bytes.size()) return false;
  at += length;
  return true;
}

// The name of a question, which has nothing before it that a pointer could lead to.
bool read_question(std::string_view bytes, Query& query, size_t& at) {
  const size_t begin = at;
  query.is_plain = true;
  while (true) {
    if (at >= bytes.size()) return false;
    const auto length = static_cast<unsigned char>(bytes[at]);
    if (length > label_bytes_max || at + 1 + length > bytes.size()) return false;
    const std::string_view label = bytes.substr(at + 1, length);
    at += 1 + size_t{length};
    if (at - begin > name_bytes_max) return false;
    if (length == 0) break;
    if (!query.name.empty()) query.name += '.';
    for (const char c : label) {
      if (c <= ' ' || c > '~' || c == '.') query.is_plain = false;
      query.name += lower(c);
    }
  }
  if (at + 4 > bytes.size()) return false;
  query.type = get16(bytes, at);
  query.klass = get16(bytes, at + 2);
  at += 4;
  query.question = bytes.substr(begin, at - begin);
  return true;
}

// What is behind the question: one OPT record counts, others are passed over.
bool read_extras(std::string_view bytes, unsigned count, Query& query, size_t at) {
  for (; count > 0; --count) {
    RecordView record;
    if (!read_record(bytes, at, record)) return false;
    if (record.type != type_opt) continue;
    if (query.has_edns || !record.is_root) return false;
    query.has_edns = true;
    query.udp_bytes = std::clamp<size_t>(record.klass, plain_udp_bytes, edns_udp_bytes);
    query.dnssec_ok = (record.ttl & edns_dnssec_ok) != 0;
    if ((record.ttl >> 16 & 0xff) != 0) query.problem = Code::BadVersion;
  }
  return at == bytes.size();
}

void put_edns(std::string& out, const Query& query, Code code) {
  out += '\0';
  put16(out, type_opt);
  put16(out, edns_udp_bytes);
  put32(out,
        uint32_t{static_cast<uint8_t>(code)} >> 4 << 24 | (query.dnssec_ok ? edns_dnssec_ok : 0));
  put16(out, 0);
}

uint16_t flags_for(const Query& query) {
  return static_cast<uint16_t>((query.recursion_desired ? flag_recursion_desired : 0) |
                               (query.checking_disabled ? flag_checking_disabled : 0));
}

}  // namespace

std::optional<Query> parse_query(std::string_view bytes) {
  if (bytes.size() < header_bytes) return std::nullopt;
  const uint16_t flags = get16(bytes, 2);
  // An answer is not answered: two servers would never stop.
  if ((flags & flag_response) != 0) return std::nullopt;
  Query query;
  query.id = get16(bytes, 0);
  query.opcode = static_cast<uint8_t>(flags >> 11 & 15);
  query.recursion_desired = (flags & flag_recursion_desired) != 0;
  query.authentic_data = (flags & flag_authentic) != 0;
  query.checking_disabled = (flags & flag_checking_disabled) != 0;
  if (query.opcode != 0) {
    query.problem = Code::NotImplemented;
    return query;
  }
  size_t at = header_bytes;
  const unsigned extras = get16(bytes, 10);
  const bool fits = get16(bytes, 4) == 1 && get16(bytes, 6) == 0 && get16(bytes, 8) == 0 &&
                    extras <= query_extras_max && read_question(bytes, query, at) &&
                    read_extras(bytes, extras, query, at);
  if (fits) return query;
  query.problem = Code::FormatError;
  query.question.clear();
  query.has_edns = false;
  query.udp_bytes = plain_udp_bytes;
  return query;
}

Reply::Reply(const Query& query, Code code) : query_(query), code_(code) {}

void Reply::add(uint16_t type, std::string_view data) {
  const size_t before = records_.size();
  put16(records_, 0xc000 | header_bytes);  // the question's name
  put16(records_, type);
  put16(records_, class_in);
  put32(records_, ttl_seconds);
  put16(records_, static_cast<uint16_t>(data.size()));
  records_ += data;
  put16(sizes_, static_cast<uint16_t>(records_.size() - before));
}

void Reply::add_address(std::string_view address) {
  add(address.size() == 4 ? type_a : type_aaaa, address);
}

void Reply::add_name(std::string_view name) {
  std::string wire;
  while (!name.empty()) {
    const std::string_view label = take_until(name, '.');
    if (label.empty() || label.size() > label_bytes_max) return;
    wire += static_cast<char>(label.size());
    wire += label;
  }
  wire += '\0';
  if (wire.size() <= name_bytes_max) add(type_ptr, wire);
}

std::string Reply::finish(size_t bytes_max) && {
  std::string edns;
  if (query_.has_edns) put_edns(edns, query_, code_);
  const size_t room =
      bytes_max - std::min(bytes_max, header_bytes + query_.question.size() + edns.size());
  size_t kept_bytes = 0;
  uint16_t kept = 0;
  for (size_t each = 0; each + 2 <= sizes_.size(); each += 2, ++kept) {
    const size_t with_it = kept_bytes + get16(sizes_, each);
    if (with_it > room) break;
    kept_bytes = with_it;
  }
  uint16_t flags =
      static_cast<uint16_t>(flag_response | query_.opcode << 11 | flags_for(query_) |
                            flag_recursion_available | (static_cast<unsigned>(code_) & 15));
  if (kept_bytes < records_.size()) flags |= flag_truncated;
  std::string out;
  put16(out, query_.id);
  put16(out, flags);
  put16(out, query_.question.empty() ? 0 : 1);
  put16(out, kept);
  put16(out, 0);
  put16(out, edns.empty() ? 0 : 1);
  out += query_.question;
  out.append(records_, 0, kept_bytes);
  out += edns;
  return out;
}

std::string error_reply(const Query& query, Code code) {
  return Reply(query, code).finish(tcp_bytes_max);
}

std::string make_upstream_query(const Query& query, uint16_t id) {
  std::string out;
  put16(out, id);
  put16(out, static_cast<uint16_t>(flags_for(query) | (query.authentic_data ? flag_authentic : 0)));
  put16(out, 1);
  put32(out, 0);
  put16(out, query.has_edns ? 1 : 0);
  out += query.question;
  if (query.has_edns) put_edns(out, query, Code::NoError);
  return out;
}

std::optional<UpstreamReply> parse_upstream_reply(std::string_view bytes, const Query& query) {
  if (bytes.size() < header_bytes) return std::nullopt;
  const uint16_t flags = get16(bytes, 2);
  if ((flags & flag_response) == 0 || (flags >> 11 & 15) != 0 || get16(bytes, 4) != 1) {
    return std::nullopt;
  }
  // The name's letters may have become large or small on the way.
  const size_t size = query.question.size();
  if (size < 4 || bytes.size() < header_bytes + size) return std::nullopt;
  const std::string_view theirs = bytes.substr(header_bytes, size);
  const auto same = [](char a, char b) { return lower(a) == lower(b); };
  if (!std::ranges::equal(theirs.substr(0, size - 4),
                          std::string_view(query.question).substr(0, size - 4), same) ||
      theirs.substr(size - 4) != std::string_view(query.question).substr(size - 4)) {
    return std::nullopt;
  }
  size_t at = header_bytes + size;
  const unsigned records =
      unsigned{get16(bytes, 6)} + unsigned{get16(bytes, 8)} + unsigned{get16(bytes, 10)};
  for (unsigned each = 0; each < records; ++each) {
    RecordView record;
    if (!read_record(bytes, at, record)) return std::nullopt;
  }
  if (at != bytes.size()) return std::nullopt;
  return UpstreamReply{.id = get16(bytes, 0), .code = static_cast<Code>(flags & 15)};
}

std::string pass_on(std::string_view upstream_reply, const Query& query, size_t bytes_max) {
  std::string out;
  put16(out, query.id);
  if (upstream_reply.size() <= bytes_max) return out += upstream_reply.substr(2);
  put16(out, static_cast<uint16_t>(get16(upstream_reply, 2) | flag_truncated));
  put16(out, 1);
  put32(out, 0);
  put16(out, query.has_edns ? 1 : 0);
  out += query.question;
  if (query.has_edns) put_edns(out, query, Code::NoError);
  return out;
}

std::string parse_address_bytes(const std::string& text) {
  std::array<char, 16> bytes{};
  if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return {bytes.data(), 4};
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return {bytes.data(), 16};
  return {};
}

std::string parse_reverse_name(std::string_view name) {
  constexpr std::string_view v4_end = ".in-addr.arpa", v6_end = ".ip6.arpa";
  std::string bytes;
  if (name.ends_with(v4_end)) {
    name.remove_suffix(v4_end.size());
    while (!name.empty()) {
      const std::string_view word = take_until(name, '.');
      const auto number = parse_number<uint8_t>(word);
      if (!number || word.size() > 3) return {};
      bytes.insert(bytes.begin(), static_cast<char>(*number));
    }
    return bytes.size() == 4 ? bytes : std::string();
  }
  if (!name.ends_with(v6_end)) return {};
  name.remove_suffix(v6_end.size());
  if (name.size() != 63) return {};
  for (size_t at = 0; at < 63; at += 4) {
    const auto low = parse_number<uint8_t>(name.substr(at, 1), 16);
    const auto high = parse_number<uint8_t>(name.substr(at + 2, 1), 16);
    if (!low || !high || name[at + 1] != '.' || (at + 3 < 63 && name[at + 3] != '.')) return {};
    bytes.insert(bytes.begin(), static_cast<char>(*high << 4 | *low));
  }
  return bytes;
}

}  // namespace nacelle::dns
