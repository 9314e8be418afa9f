// What BuildKit's clients send of their files, well and badly told.
#include "api/file_sync.h"

#include <api/buildkit/session.pb.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/text.h"

namespace nacelle::api {
namespace {

using buildkit::session::Packet;

std::string named(const std::string& path, uint32_t mode, int64_t size = 0,
                  const std::string& link = {}) {
  Packet packet;
  packet.set_type(Packet::STAT);
  packet.mutable_stat()->set_path(path);
  packet.mutable_stat()->set_mode(mode);
  packet.mutable_stat()->set_size(size);
  packet.mutable_stat()->set_linkname(link);
  return packet.SerializeAsString();
}
std::string of_type(Packet::Type type, uint32_t id = 0, const std::string& data = {}) {
  Packet packet;
  packet.set_type(type);
  packet.set_id(id);
  packet.set_data(data);
  return packet.SerializeAsString();
}
std::string data(uint32_t id, const std::string& bytes) { return of_type(Packet::DATA, id, bytes); }
const std::string last_name = of_type(Packet::STAT);
constexpr uint32_t directory = 1u << 31 | 0755, symlink = 1u << 27 | 0777, socket = 1u << 24;

// Every packet that is asked back, as text: "REQ 1", "FIN 0".
std::string asked(FileReceiver& receiver) {
  std::string all;
  for (const std::string& each : receiver.take_packets()) {
    Packet packet;
    EXPECT_TRUE(packet.ParseFromString(each));
    all +=
        cat(all.empty() ? "" : ", ", packet.type() == Packet::REQ ? "REQ " : "FIN ", packet.id());
  }
  return all;
}

struct Log final : FileSink {
  std::string text;
  Result<> begin(const codec::tar::Entry& entry) override {
    text += cat('<', entry.name, ' ');
    return {};
  }
  Result<> content(std::string_view bytes) override {
    text += bytes;
    return {};
  }
  void end(const codec::tar::Entry&) override { text += '>'; }
  void end_of_all() override { text += '.'; }
};

TEST(FileSync, files_come_out_in_the_order_of_their_names) {
  Log log;
  FileReceiver receiver(log);
  for (const std::string& each : {named("a", 0644, 3), named("d", directory), named("d/b", 0644, 2),
                                  named("d/c", symlink, 0, "b"), named("e", 0644, 0), last_name}) {
    ASSERT_TRUE(receiver.take(each));
  }
  EXPECT_EQ(asked(receiver), "REQ 0, REQ 2");
  // The second one is there first.
  ASSERT_TRUE(receiver.take(data(2, "bb")));
  ASSERT_TRUE(receiver.take(data(2, "")));
  ASSERT_TRUE(receiver.take(data(0, "a")));
  ASSERT_TRUE(receiver.take(data(0, "aa")));
  EXPECT_FALSE(receiver.finished());
  ASSERT_TRUE(receiver.take(data(0, "")));
  EXPECT_EQ(log.text, "<a aaa><d ><d/b bb><d/c ><e >.");
  EXPECT_EQ(asked(receiver), "FIN 0");
  EXPECT_TRUE(receiver.finished());
  EXPECT_TRUE(receiver.take(of_type(Packet::FIN)));
}

TEST(FileSync, nothing_at_all_is_an_empty_directory) {
  Log log;
  FileReceiver receiver(log);
  ASSERT_TRUE(receiver.take(last_name));
  EXPECT_EQ(log.text, ".");
  EXPECT_EQ(asked(receiver), "FIN 0");
}

TEST(FileSync, no_more_is_asked_for_than_may_be_kept) {
  Log log;
  FileReceiver receiver(log);
  constexpr int64_t large = 6 << 20;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(receiver.take(named(cat("f", i), 0644, large)));
  EXPECT_EQ(asked(receiver), "REQ 0");
  ASSERT_TRUE(receiver.take(data(0, std::string(large, 'x'))));
  EXPECT_EQ(asked(receiver), "");
  ASSERT_TRUE(receiver.take(data(0, "")));
  EXPECT_EQ(asked(receiver), "REQ 1");
}

TEST(FileSync, what_is_badly_told_is_refused) {
  const struct {
    std::vector<std::string> packets;
    const char* complaint;
  } cases[] = {
      {{"\xff\xff\xff"}, "cannot be read"},
      {{named("a", 0644, 1), data(1, "x")}, "content of file 1, which nobody asked for"},
      {{named("a", directory), data(0, "x")}, "nobody asked"},
      {{named("a", 0644, 1), data(0, "xy")}, "'a': changed while it was sent"},
      {{named("a", 0644, 2), data(0, "x"), data(0, "")}, "changed while it was sent"},
      {{named("a", 0644, 2), data(7, "x")}, "content of file 7"},
      {{named("a", 0644, -1)}, "a negative size"},
      {{named("a", socket)}, "sockets cannot be sent"},
      {{named("a", 0644, 1), last_name, named("b", 0644)}, "a name behind the last one"},
      {{of_type(Packet::REQ, 1)}, "not the client's to send"},
      {{of_type(Packet::ERR, 0, "no such directory")}, "no such directory"},
  };
  for (const auto& each : cases) {
    Log log;
    FileReceiver receiver(log);
    Result<> taken;
    for (const std::string& packet : each.packets) {
      if (taken) taken = receiver.take(packet);
    }
    ASSERT_FALSE(taken) << each.complaint;
    EXPECT_NE(taken.error().message().find(each.complaint), std::string::npos)
        << taken.error().message();
  }
}

TEST(FileSync, small_files_are_kept_by_name_up_to_a_bound) {
  SmallFilesSink sink(4);
  FileReceiver receiver(sink);
  ASSERT_TRUE(receiver.take(named("a", 0644, 3)));
  ASSERT_TRUE(receiver.take(data(0, "abc")));
  ASSERT_TRUE(receiver.take(data(0, "")));
  EXPECT_FALSE(receiver.take(named("b", 0644, 2)));
  EXPECT_EQ(sink.take(), (std::map<std::string, std::string>{{"a", "abc"}}));
}

}  // namespace
}  // namespace nacelle::api
