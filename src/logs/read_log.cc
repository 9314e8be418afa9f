#include "logs/read_log.h"

#include <algorithm>
#include <utility>

#include "logs/entries.h"

namespace nacelle::logs {
namespace {

// Longer than any entry we write, attributes included; Docker's are no longer.
constexpr size_t line_bytes_max = 4u << 20;

class JsonParser final : public EntryParser {
 public:
  bool next(std::vector<Entry>& entries) override {
    size_t newline = held_.find('\n', std::max(at_, searched_));
    if (newline == std::string::npos) {
      if (held_bytes() > line_bytes_max) {
        is_passing_over_ = true;
        at_ = held_.size();
      }
      let_go();
      searched_ = held_.size();
      return false;
    }
    const std::string_view line = std::string_view(held_).substr(at_, newline - at_);
    at_ = newline + 1;
    searched_ = at_;
    if (std::exchange(is_passing_over_, false)) return true;
    if (auto entry = decode_json_line(line)) entries.push_back(*std::move(entry));
    return true;
  }
};

class LocalParser final : public EntryParser {
 public:
  bool next(std::vector<Entry>& entries) override {
    while (held_bytes() >= local_head_bytes) {
      const std::string_view rest = std::string_view(held_).substr(at_);
      const auto head = decode_local_head(rest);
      if (!head) {
        ++at_;  // until there is one again
        continue;
      }
      const size_t size = local_head_bytes + head->text_bytes + local_tail_bytes;
      if (rest.size() < size) break;
      const std::string_view text = rest.substr(local_head_bytes, head->text_bytes);
      // The same four bytes as at the beginning.
      if (rest.substr(size - local_tail_bytes, local_tail_bytes) != rest.substr(0, 4)) {
        ++at_;
        continue;
      }
      entries.push_back({.stream = head->stream,
                         .time_ns = head->time_ns,
                         .text = std::string(text),
                         .attributes = {}});
      at_ += size;
      return true;
    }
    let_go();
    return false;
  }
};

}  // namespace

std::unique_ptr<EntryParser> EntryParser::make(Driver driver) {
  if (driver == Driver::Local) return std::make_unique<LocalParser>();
  return std::make_unique<JsonParser>();
}

void EntryParser::reset() {
  held_.clear();
  at_ = 0;
  searched_ = 0;
  is_passing_over_ = false;
}

void EntryParser::let_go() {
  held_.erase(0, at_);
  at_ = 0;
}

TailFinder::TailFinder(Driver driver, uint64_t wanted) : driver_(driver), wanted_(wanted) {}

bool TailFinder::take(uint64_t offset, std::string_view block) {
  return driver_ == Driver::Local ? take_local(offset, block) : take_lines(offset, block);
}

bool TailFinder::take_lines(uint64_t offset, std::string_view block) {
  if (wanted_ == 0) {
    // Behind the last whole line: the rest of one that is being written is still to come.
    const size_t newline = block.rfind('\n');
    if (newline == std::string_view::npos) return true;
    offset_ = offset + newline + 1;
    found_ = true;
    return true;
  }
  for (size_t at = block.size(); at-- > 0;) {
    at = block.rfind('\n', at);
    if (at == std::string_view::npos) return true;
    // The newline that ends the last of them; what stands behind it is no line yet.
    if (!std::exchange(has_begun_, true)) {
      count_ = 1;
      continue;
    }
    if (count_ == wanted_) {
      offset_ = offset + at + 1;
      found_ = true;
      return true;
    }
    ++count_;
  }
  return true;
}

bool TailFinder::take_local(uint64_t offset, std::string_view block) {
  std::string bytes(block);
  bytes += later_;
  size_t end = bytes.size();
  while (true) {
    if (count_ == wanted_) {
      offset_ = offset + end;
      found_ = true;
      return true;
    }
    if (end < local_head_bytes + local_tail_bytes) break;
    uint32_t size = 0;
    for (size_t each = 4; each-- > 0;)
      size = size << 8 | static_cast<unsigned char>(bytes[end - 4 + each]);
    const size_t whole = local_head_bytes + size_t{size} + local_tail_bytes;
    if (size == 0 || size > piece_bytes_max + 1) {
      is_damaged_ = true;
      return false;
    }
    if (end < whole) break;
    const auto head = decode_local_head(std::string_view(bytes).substr(end - whole));
    if (!head || head->text_bytes != size) {
      is_damaged_ = true;
      return false;
    }
    end -= whole;
    ++count_;
  }
  if (offset == 0 && end != 0) {
    is_damaged_ = true;
    return false;
  }
  bytes.resize(end);
  later_ = std::move(bytes);
  return true;
}

}  // namespace nacelle::logs
