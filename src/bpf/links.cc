#include "bpf/links.h"

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "bpf/attach.h"
#include "bpf/map_rows.h"
#include "bpf/pins.h"
#include "sys/bpf.h"

namespace nacelle::bpf {
namespace {

struct Words {
  std::string_view word, meaning;
};
constexpr Words reasons[] = {
#define NACELLE_DROP_WORDS(number, name, word, meaning) {word, meaning},
    NACELLE_DROP_REASONS(NACELLE_DROP_WORDS)
#undef NACELLE_DROP_WORDS
};

nacelle_address mapped(uint32_t address) {
  nacelle_address whole{};
  whole.bytes[10] = whole.bytes[11] = 0xff;
  std::memcpy(whole.bytes + 12, &address, sizeof address);
  return whole;
}

// Under which a link is to be found.
std::vector<nacelle_address> addresses_of(const nacelle_link& row) {
  std::vector<nacelle_address> all;
  if (row.address != 0) all.push_back(mapped(row.address));
  const nacelle_address none{};
  if (std::memcmp(&row.address6, &none, sizeof none) != 0) all.push_back(row.address6);
  return all;
}

nacelle_counters sum(const nacelle_counters* of_cpus, uint32_t count) {
  nacelle_counters all{};
  for (const nacelle_counters* each = of_cpus; each != of_cpus + count; ++each) {
    all.sent_bytes += each->sent_bytes;
    all.sent_packets += each->sent_packets;
    all.received_bytes += each->received_bytes;
    all.received_packets += each->received_packets;
  }
  return all;
}

}  // namespace

// FNV-1a, 64 bits: ids are random, so that two of some thousand networks have one number once in
// 10^12 hosts.
uint64_t network_number(std::string_view id) {
  uint64_t number = 0xcbf29ce484222325;
  for (const char c : id) number = (number ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return number;
}

std::string_view drop_word(unsigned reason) {
  return reason < std::size(reasons) ? reasons[reason].word : "unknown";
}
std::string_view drop_meaning(unsigned reason) {
  return reason < std::size(reasons) ? reasons[reason].meaning : "";
}

Result<Links> Links::open(const std::string& directory) {
  Links links;
  links.ingress_ = TRY(open_pin(directory, "link_ingress"));
  links.egress_ = TRY(open_pin(directory, "link_egress"));
  links.links_ = TRY(open_pinned_map(directory, "links", sizeof(uint32_t), sizeof(nacelle_link)));
  links.endpoints_ = TRY(
      open_pinned_map(directory, "endpoints", sizeof(nacelle_address), sizeof(nacelle_endpoint)));
  links.counters_ =
      TRY(open_pinned_map(directory, "counters", sizeof(uint32_t), sizeof(nacelle_counters)));
  links.drops_ = TRY(open_pinned_map(directory, "drops", sizeof(uint32_t), sizeof(nacelle_drops)));
  links.cpus_ = TRY(sys::count_possible_cpus());
  return links;
}

Result<> Links::add(const nacelle_link& row) {
  using sys::NetworkSide;
  TRY(ensure_attached(row.link, ingress_, NetworkSide::Ingress, "link_ingress"));
  TRY(ensure_attached(row.link, egress_, NetworkSide::Egress, "link_egress"));
  const std::vector<nacelle_counters> zeros(cpus_);
  TRY(sys::put_map_row(counters_, &row.link, zeros.data()));
  const nacelle_drops none{};
  TRY(sys::put_map_row(drops_, &row.link, &none));
  TRY(sys::put_map_row(links_, &row.link, &row));
  const nacelle_endpoint endpoint{.link = row.link};
  for (const nacelle_address& key : addresses_of(row)) {
    TRY(sys::put_map_row(endpoints_, &key, &endpoint));
  }
  return {};
}

Result<> Links::remove(uint32_t link) {
  nacelle_link row{};
  if (TRY(find(link, row))) {
    for (const nacelle_address& key : addresses_of(row)) {
      nacelle_endpoint endpoint{};
      // Somebody else may have the address by now.
      if (TRY(sys::find_map_row(endpoints_, &key, &endpoint)) && endpoint.link == link) {
        TRY(sys::erase_map_row(endpoints_, &key));
      }
    }
    TRY(sys::erase_map_row(links_, &link));
  }
  TRY(sys::erase_map_row(drops_, &link));
  return sys::erase_map_row(counters_, &link);
}

Result<bool> Links::find(uint32_t link, nacelle_link& row) const {
  return sys::find_map_row(links_, &link, &row);
}

Result<> Links::set_policy(uint32_t link, uint32_t policy) {
  nacelle_link row{};
  if (!TRY(find(link, row))) return fail(Kind::NotFound, cat("link ", link, ": has no row"));
  row.policy = policy;
  return sys::put_map_row(links_, &link, &row);
}

std::vector<uint32_t> Links::list() const {
  std::vector<uint32_t> all;
  uint32_t key = 0;
  const void* before = nullptr;
  while (sys::next_map_key(counters_, before, &key).value_or(false)) {
    all.push_back(key);
    before = &key;
  }
  return all;
}

Result<std::map<uint32_t, nacelle_counters>> Links::read_counters() const {
  std::map<uint32_t, nacelle_counters> all;
  TRY((for_each_row<uint32_t, nacelle_counters>(
      counters_, cpus_,
      [&](uint32_t link, const nacelle_counters* values) { all[link] = sum(values, cpus_); })));
  return all;
}

Result<LinkTotals> Links::read_totals(uint32_t link) const {
  LinkTotals totals;
  std::vector<nacelle_counters> values(cpus_);
  if (!TRY(sys::find_map_row(drops_, &link, &totals.drops))) {
    return fail(Kind::NotFound, cat("link ", link, ": has no counters"));
  }
  if (TRY(sys::find_map_row(counters_, &link, values.data()))) {
    totals.counters = sum(values.data(), cpus_);
  }
  return totals;
}

}  // namespace nacelle::bpf
