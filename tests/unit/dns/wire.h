// Messages put together by hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nacelle::dns {

using namespace std::literals;

inline std::string number16(unsigned number) {
  return {static_cast<char>(number >> 8 & 0xff), static_cast<char>(number & 0xff)};
}
inline std::string wire_name(std::string_view name) {
  std::string wire;
  while (!name.empty()) {
    const size_t end = std::min(name.find('.'), name.size());
    wire += static_cast<char>(end);
    wire += name.substr(0, end);
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return wire + '\0';
}
struct Counts {
  unsigned questions = 1, answers = 0, authorities = 0, extras = 0;
};
inline std::string head(unsigned flags, Counts counts = {}) {
  return "\x12\x34" + number16(flags) + number16(counts.questions) + number16(counts.answers) +
         number16(counts.authorities) + number16(counts.extras);
}
inline std::string question(std::string_view name, unsigned type = 1) {
  return wire_name(name) + number16(type) + number16(1);
}
inline std::string record(std::string_view name, unsigned type, std::string_view data) {
  return std::string(name) + number16(type) + number16(1) + number16(0) + number16(60) +
         number16(static_cast<unsigned>(data.size())) + std::string(data);
}
inline std::string opt(unsigned size, unsigned version = 0, unsigned flags = 0) {
  return "\0"s + number16(41) + number16(size) + number16(version) + number16(flags) + number16(0);
}

}  // namespace nacelle::dns
