// Who is called what on which network, and what a container may know of that: names of networks it
// is on, and of no other. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dns/messages.h"

namespace nacelle::dns {

class Table {
 public:
  // In the place of what was known of it.
  void set(const std::string& id, Member member);
  void remove(const std::string& id);
  const Member* find(const std::string& id) const;

  // As Docker resolves: "a.b" is a name on any network of the asker's, or "a" on a network "b".
  // Addresses as bytes; none: nobody is called that. `name` is in small letters.
  std::vector<std::string_view> resolve(const Member& asker, std::string_view name) const;
  // "name.network" of an address on a network of the asker's; or nothing.
  std::string name_of(const Member& asker, std::string_view address) const;

 private:
  // So that a name can be looked up without a copy of it.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Holder {
    const Member* member = nullptr;
    std::string address;  // bytes
  };
  struct Network {
    std::string name;
    std::unordered_map<std::string, std::vector<Holder>, Hash, std::equal_to<>> names;
    std::unordered_map<std::string, std::vector<std::pair<const Member*, std::string>>, Hash,
                       std::equal_to<>>
        addresses;
  };
  std::vector<std::string_view> look(const Member& asker, std::string_view name,
                                     std::string_view network_name) const;
  void add(const Member& member, const Endpoint& endpoint);
  void take_out(const Member& member);

  std::map<std::string, Member, std::less<>> members_;
  std::unordered_map<std::string, Network, Hash, std::equal_to<>> networks_;
};

}  // namespace nacelle::dns
