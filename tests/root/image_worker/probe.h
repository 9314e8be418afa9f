// What a test asks worker-probe to do in the sandbox.
#pragma once

#include <cstdint>
#include <string>

namespace nacelle::test {

struct ProbeRequest {
  static constexpr uint8_t code = 200;
  std::string deed;
  template <class Visit>
  void fields(Visit& visit) {
    visit(deed);
  }
  struct Reply {
    std::string seen;
    template <class Visit>
    void fields(Visit& visit) {
      visit(seen);
    }
  };
};

}  // namespace nacelle::test
