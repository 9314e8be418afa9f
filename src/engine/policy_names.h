// Which addresses the names in policies have now. Each is asked for again when its TTL is over, by
// a thread, so that no server of names holds the loop up. An address stays for a while after it was
// last seen: who has looked the name up before us may still use it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/addresses.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::engine {

// What a server of names has said, and for how long that is so.
struct NameAnswer {
  std::vector<Address> addresses;
  uint32_t ttl_s = 0;
};
// The addresses in an answer of DNS (RFC 1035), those of names it leads to among them. Pure.
Result<NameAnswer> parse_name_answer(std::string_view message);

class PolicyNames {
 public:
  // `changed`: some name has other addresses than before.
  PolicyNames(ring::Loop& loop, std::function<void()> changed);
  PolicyNames(const PolicyNames&) = delete;
  PolicyNames& operator=(const PolicyNames&) = delete;

  // These are followed from now on, and no others.
  void follow(const std::set<std::string>& names);
  std::vector<Address> addresses_of(const std::string& name) const;
  std::string error_of(const std::string& name) const;  // of the last question; empty: none
  // Until each name has been asked for once.
  ring::Task<> first_answers();
  ring::Task<> close();

 private:
  struct Name {
    std::map<Address, int64_t> until_ns;  // by address, steady clock
    std::string error;
    bool answered = false;
    uint64_t number = 0;  // of its watch
  };
  ring::Task<> watch(std::string name, uint64_t number);
  bool take(Name& name, const NameAnswer& answer) const;

  ring::Loop& loop_;
  std::function<void()> changed_;
  std::map<std::string, Name> names_;
  uint64_t watches_ = 0;
  ring::Notice answered_;
  ring::Scope background_;
};

}  // namespace nacelle::engine
