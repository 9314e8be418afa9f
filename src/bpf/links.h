// The rows of containers' links in the maps of bpf/link.bpf.c, by way of their pins: who is at
// which link, and what passed there. Rows are written by the maker of links alone; anybody may
// read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/abi/link.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::bpf {

// Of a network's id: what its rows know it by.
uint64_t network_number(std::string_view id);

// "spoofed", and "under the address of a container that did not send it".
std::string_view drop_word(unsigned reason);
std::string_view drop_meaning(unsigned reason);

struct LinkTotals {
  nacelle_counters counters{};
  nacelle_drops drops{};
};

class Links {
 public:
  // `directory`: of the pins. NotFound: nothing is pinned there.
  static Result<Links> open(const std::string& directory);

  // Of a host's end that nobody can send by yet: its programs, and then its row.
  Result<> add(const nacelle_link& row);
  // It does not pass packets any more; its counters go as well.
  Result<> remove(uint32_t link);
  Result<bool> find(uint32_t link, nacelle_link& row) const;
  Result<> set_policy(uint32_t link, uint32_t policy);
  // Whatever a row of any kind is about.
  std::vector<uint32_t> list() const;

  // Of all links in one pass; and of one. Link 0: what was dropped at links without a row.
  Result<std::map<uint32_t, nacelle_counters>> read_counters() const;
  Result<LinkTotals> read_totals(uint32_t link) const;

 private:
  Fd ingress_, egress_, links_, endpoints_, counters_, drops_;
  uint32_t cpus_ = 1;
};

}  // namespace nacelle::bpf
