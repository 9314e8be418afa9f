// What BuildKit's clients send of their files, well and badly told; and what we send them.
#include "api/file_sync.h"

#include <api/buildkit/session.pb.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/text.h"
#include "codec/tar_writer.h"

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

// To a client. ------------------------------------------------------------------------------------

codec::tar::Entry entry(codec::tar::Type type, std::string name, uint64_t size = 0) {
  codec::tar::Entry entry;
  entry.type = type;
  entry.name = std::move(name);
  entry.size = size;
  entry.mode = 0644;
  entry.modified = {.seconds = 7};
  return entry;
}

// A root with a directory, a file in it, a second name of that, and an empty file.
std::string small_archive() {
  using enum codec::tar::Type;
  codec::tar::Writer writer;
  std::string archive;
  const auto add = [&](const codec::tar::Entry& each, const std::string& content = {}) {
    EXPECT_TRUE(writer.begin_entry(each, archive));
    archive += content;
    writer.end_entry(each.size, archive);
  };
  add(entry(Directory, "."));
  add(entry(Directory, "d"));
  add(entry(File, "d/f", 5), "bytes");
  codec::tar::Entry link = entry(HardLink, "d/g");
  link.link_target = "d/f";
  add(link);
  add(entry(File, "empty"));
  writer.end_archive(archive);
  return archive;
}

// Every packet that is sent, as text.
std::string told(FileSender& sender) {
  std::string all;
  for (const std::string& each : sender.take_packets()) {
    Packet packet;
    EXPECT_TRUE(packet.ParseFromString(each));
    if (packet.has_stat()) {
      all += cat("<", packet.stat().path(), " ", packet.stat().mode() >> 31, " ",
                 packet.stat().size(), " ", packet.stat().linkname(), ">");
    } else if (packet.type() == Packet::DATA) {
      all += cat("{", packet.id(), " ", packet.data(), "}");
    } else {
      all += packet.type() == Packet::FIN ? "FIN" : "ALL";
    }
  }
  return all;
}

// Goal: a client gets each file when it has asked for it, whatever pieces the archive comes in.
TEST(FileSender, content_follows_what_was_asked_for) {
  for (const size_t piece : {1, 100, 512, 1 << 20}) {
    const std::string archive = small_archive();
    FileSender sender;
    size_t at = 0;
    std::string all;
    const auto feed = [&] {
      while (!sender.waits() && at < archive.size()) {
        std::string_view some = std::string_view(archive).substr(at, piece);
        const size_t before = some.size();
        ASSERT_TRUE(sender.take(some));
        at += before - some.size();
        all += told(sender);
      }
    };
    feed();
    EXPECT_EQ(all, "<d 1 0 ><d/f 0 5 >");
    ASSERT_TRUE(sender.answer(of_type(Packet::REQ, 1)));
    all.clear();
    feed();
    EXPECT_TRUE(all.ends_with("{1 }<d/g 0 0 d/f><empty 0 0 >")) << all;
    ASSERT_TRUE(sender.answer(of_type(Packet::REQ, 3)));
    EXPECT_FALSE(sender.end_of_archive());
    all.clear();
    feed();
    EXPECT_EQ(all, "{3 }ALL");
    EXPECT_TRUE(sender.end_of_archive());
    EXPECT_FALSE(sender.finished());
    ASSERT_TRUE(sender.answer(of_type(Packet::FIN)));
    EXPECT_TRUE(sender.finished());
    EXPECT_EQ(told(sender), "FIN");
  }
}

TEST(FileSender, answers_out_of_turn_are_refused) {
  for (const std::string& each :
       {of_type(Packet::REQ, 0), of_type(Packet::REQ, 2), of_type(Packet::FIN),
        of_type(Packet::ERR, 0, "disk full"), of_type(Packet::DATA, 1, "x"), named("x", 0644),
        std::string("\xff\xff")}) {
    const std::string archive = small_archive();
    FileSender sender;
    std::string_view rest = archive;
    ASSERT_TRUE(sender.take(rest));
    ASSERT_TRUE(sender.waits());
    EXPECT_FALSE(sender.answer(each));
  }
}

}  // namespace
}  // namespace nacelle::api
