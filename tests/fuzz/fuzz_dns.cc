// Any bytes as a question of a container, and as the answer of a name server to one: read within
// the bounds; what is made of them is read again, is an answer, and is not longer than it may be.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "dns/answer.h"
#include "dns/message.h"
#include "dns/table.h"

namespace {

using namespace nacelle::dns;

const Table& table() {
  static const Table all = [] {
    Table made;
    for (int each = 0; each < 100; ++each) {
      Endpoint endpoint;
      endpoint.network = endpoint.network_name = "net";
      endpoint.addresses = {"10.0.0." + std::to_string(each), "fd00::" + std::to_string(each)};
      endpoint.names = {"c" + std::to_string(each), "all"};
      endpoint.links = {{"db", "c1"}};
      Member member;
      member.endpoints = {endpoint};
      made.set(endpoint.names.front(), member);
    }
    return made;
  }();
  return all;
}

void check_reply(const std::string& reply, const Query& query, size_t bytes_max) {
  CHECK(reply.size() >= header_bytes && reply.size() <= bytes_max);
  CHECK(!parse_query(reply));  // it is an answer
  if (!query.question.empty() && query.opcode == 0) CHECK(parse_upstream_reply(reply, query));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  // A question, and behind it what somebody answers.
  const size_t cut = std::min<size_t>(*data, bytes.size());
  const auto query = parse_query(bytes.substr(0, cut));
  if (!query) return 0;
  CHECK(query->name.size() <= name_bytes_max && query->question.size() <= name_bytes_max + 4);
  CHECK(query->udp_bytes >= plain_udp_bytes && query->udp_bytes <= edns_udp_bytes);
  if (const auto reply = answer(table(), *table().find("c1"), *query, query->udp_bytes, *data)) {
    check_reply(*reply, *query, query->udp_bytes);
    return 0;
  }
  const auto again = parse_query(make_upstream_query(*query, 7));
  CHECK(again && again->problem == Code::NoError && again->question == query->question);
  const std::string_view theirs = bytes.substr(cut);
  if (parse_upstream_reply(theirs, *query)) {
    check_reply(pass_on(theirs, *query, query->udp_bytes), *query, query->udp_bytes);
  }
  return 0;
}
