// A .dockerignore of any bytes, and the path in its last line: the two ways of asking agree, and no
// list of patterns takes long.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "codec/ignore.h"

namespace {

using namespace nacelle;

// Asks from above, each directory with what its parent's answer was.
bool walk(const codec::IgnoreList& list, std::string_view path) {
  codec::IgnoreList::Matched parent, matched;
  bool ignored = false;
  bool may_be_kept = true;
  for (size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
    const std::string_view part = path.substr(0, slash);
    const bool was_ignored = ignored;
    ignored = list.ignores(part, parent, matched);
    CHECK(ignored == list.ignores(part));
    // Whoever did not enter a directory missed nothing.
    CHECK(may_be_kept || ignored);
    if (ignored && !list.may_keep_below(part)) may_be_kept = false;
    if (!ignored && !was_ignored) may_be_kept = true;
    parent = matched;
    if (slash == path.npos) return ignored;
  }
}

bool is_clean(std::string_view path) {
  return !path.empty() && !path.starts_with('/') && !path.ends_with('/') && !path.contains("//") &&
         path != "." && !path.starts_with("./") && path.size() < 500;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t last = text.rfind('\n');
  const std::string_view path = last == text.npos ? "a/b" : text.substr(last + 1);
  const auto list = codec::parse_ignore(text.substr(0, last));
  if (!list) {
    CHECK(is_utf8(list.error().message()) && list.error().message().size() < 30'000);
    return 0;
  }
  for (const codec::Pattern& pattern : list->patterns()) {
    // Cleaned text is clean. The slash keeps a `!` or a space in front of it from being more, and
    // stands for the context's top, which `.` is and above which there is nothing.
    const std::string& cleaned = pattern.text();
    CHECK(!cleaned.empty());
    const auto again = codec::Pattern::parse(cat("/", cleaned, "/"));
    CHECK(!again || cleaned == "." || cleaned.starts_with("..") || again->text() == cleaned);
  }
  if (is_clean(path)) walk(*list, path);
  return 0;
}
