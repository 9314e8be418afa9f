// The corpus of hostile layers against the worker as it is used: nothing outside the target is
// touched (the fixture's canaries), and what is refused is refused by name.
#include "tests/root/image_worker/fixture.h"
#include "tests/support/hostile_tar.h"

namespace nacelle::test {
namespace {

class HostileTest : public WorkerTest {};

TEST_F(HostileTest, every_layer_of_the_corpus_comes_to_what_it_should) {
  size_t refused = 0;
  const auto layers = hostile_layers();
  for (const HostileLayer& layer : layers) {
    const auto reply = unpack(layer.bytes);
    if (layer.expect == Expect::Contained) {
      EXPECT_TRUE(reply) << layer.name << ": " << reply.error().message();
    } else if (layer.expect == Expect::Refused) {
      EXPECT_FALSE(reply) << layer.name << ": accepted";
    }
    if (!reply) {
      const std::string& message = reply.error().message();
      EXPECT_TRUE(message.starts_with("layer 1 of 1: ")) << layer.name << ": " << message;
      if (layer.expect == Expect::Refused) {
        // A size beyond all bounds is refused before the archive turns out to be shorter.
        const bool too_large = message.find("the files come to more than") != std::string::npos;
        EXPECT_TRUE(too_large || message.find(layer.complaint) != std::string::npos)
            << layer.name << ": '" << message << "' without '" << layer.complaint << "'";
        ++refused;
      }
    }
    EXPECT_EQ(read_file(outer_ + "/canary"), "sings") << layer.name;
    EXPECT_EQ(read_file("/tmp/nacelle-canary"), "sings") << layer.name;
    EXPECT_EQ(run({"ls", "-A", outer_}).out, "canary\ntarget\n") << layer.name;
    EXPECT_EQ(run({"ls", "-A", "/tmp"}).out, "nacelle-canary\nworker-test\n") << layer.name;
    empty_target();
  }
  EXPECT_GE(layers.size(), 200u);
  RecordProperty("refused", static_cast<int>(refused));
}

}  // namespace
}  // namespace nacelle::test
