// The reader's part in what hostile layers come to; the rest is the unpacker's.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "tests/support/hostile_tar.h"
#include "tests/unit/codec_tar/tar_walk.h"

namespace nacelle::codec::tar {
namespace {

using test::Expect;
using test::HostileLayer;

TEST(HostileLayers, are_many_and_have_names_of_their_own) {
  const std::vector<HostileLayer> layers = test::hostile_layers();
  EXPECT_GE(layers.size(), 150u);
  std::set<std::string> names;
  for (const HostileLayer& layer : layers) {
    EXPECT_TRUE(names.insert(layer.name).second) << layer.name;
    EXPECT_EQ(layer.expect == Expect::Refused, !layer.complaint.empty()) << layer.name;
  }
}

// What is to be refused is refused here in these words, or comes through with the entry that the
// unpacker has to name.
TEST(HostileLayers, are_refused_in_the_words_expected_or_handed_on_whole) {
  for (const HostileLayer& layer : test::hostile_layers()) {
    const Archive archive = read_archive(layer.bytes);
    if (layer.expect == Expect::Contained) {
      EXPECT_EQ(archive.error, "") << layer.name;
    } else if (layer.expect == Expect::Refused && !archive.error.empty()) {
      EXPECT_NE(archive.error.find(layer.complaint), std::string::npos)
          << layer.name << ": " << archive.error;
    } else if (layer.expect == Expect::Refused) {
      const bool named = std::ranges::any_of(archive.members, [&](const Member& member) {
        const std::string message = cat("entry '", member.entry.name, "'");
        return message.find(layer.complaint) != std::string::npos;
      });
      EXPECT_TRUE(named) << layer.name << " is for nobody to refuse";
    }
  }
}

TEST(HostileLayers, read_the_same_in_chunks_of_any_size) {
  for (const HostileLayer& layer : test::hostile_layers()) {
    if (layer.bytes.size() > 200'000) continue;
    const Archive whole = read_archive(layer.bytes);
    for (const size_t chunk : {size_t{1}, size_t{7}, size_t{511}, size_t{512}, size_t{513}}) {
      std::string difference;
      EXPECT_TRUE(same(whole, read_archive(layer.bytes, chunk), difference))
          << layer.name << " in chunks of " << chunk << ": " << difference;
    }
  }
}

}  // namespace
}  // namespace nacelle::codec::tar
