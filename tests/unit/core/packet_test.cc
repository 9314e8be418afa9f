// Bytes that claim to be packets or records: what is whole comes through, all else is refused with
// words and without harm.
#include "core/packet.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "codec/flat.h"
#include "core/record.h"
#include "sys/file.h"

namespace nacelle::core {
namespace {

Header header_of(uint64_t length) {
  Header header;
  header.kind = static_cast<uint8_t>(PacketKind::Request);
  header.code = 1;
  header.request = 42;
  header.length = length;
  return header;
}

RawPacket raw(const Header& header, std::string_view payload = {}) {
  RawPacket packet;
  packet.bytes.assign(reinterpret_cast<const char*>(&header), sizeof header);
  packet.bytes += payload;
  return packet;
}

Fd sealed(std::string_view bytes) {
  auto file = sys::make_sealed_memory_file("test", bytes, false);
  EXPECT_TRUE(file);
  return *std::move(file);
}

TEST(Packet, a_whole_one_comes_through) {
  uint64_t request = 0;
  const auto packet = parse_packet(raw(header_of(5), "hello"), request);
  ASSERT_TRUE(packet) << packet.error().message();
  EXPECT_EQ(packet->payload, "hello");
  EXPECT_EQ(request, 42u);
}

TEST(Packet, a_long_one_comes_in_sealed_memory) {
  const std::string payload(inline_bytes_max + 1, 'x');
  RawPacket packet = raw(header_of(payload.size()));
  packet.descriptors.push_back(sealed(payload));
  packet.descriptors.push_back(sealed("another"));
  uint64_t request = 0;
  const auto parsed = parse_packet(std::move(packet), request);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(parsed->payload, payload);
  EXPECT_EQ(parsed->descriptors.size(), 1u) << "the payload's own is not among them";
}

TEST(Packet, what_is_not_as_announced_is_refused) {
  const std::string longer(inline_bytes_max + 1, 'x');
  uint64_t request = 0;
  const auto refused = [&](RawPacket packet) { return !parse_packet(std::move(packet), request); };
  EXPECT_TRUE(refused({}));
  for (size_t cut = 0; cut < sizeof(Header); ++cut) {
    RawPacket packet = raw(header_of(0));
    packet.bytes.resize(cut);
    EXPECT_TRUE(refused(std::move(packet))) << cut;
  }
  Header header = header_of(0);
  header.magic ^= 1;
  EXPECT_TRUE(refused(raw(header)));
  header = header_of(0);
  header.version = Header::version_value + 1;
  EXPECT_TRUE(refused(raw(header)));
  EXPECT_EQ(request, 42u) << "it can still be answered";
  EXPECT_TRUE(refused(raw(header_of(4), "hello")));
  EXPECT_TRUE(refused(raw(header_of(6), "hello")));
  EXPECT_TRUE(refused(raw(header_of(payload_bytes_max + 1))));
  EXPECT_TRUE(refused(raw(header_of(~uint64_t{0}))));
  EXPECT_TRUE(refused(raw(header_of(longer.size())))) << "no memory";
  EXPECT_TRUE(refused(raw(header_of(longer.size()), "inline as well")));
}

TEST(Packet, memory_that_could_still_change_is_refused) {
  const std::string longer(inline_bytes_max + 1, 'x');
  uint64_t request = 0;
  const auto with = [&](Fd memory) {
    RawPacket packet = raw(header_of(longer.size()));
    packet.descriptors.push_back(std::move(memory));
    return parse_packet(std::move(packet), request);
  };
  Fd open_memory(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_TRUE(sys::write_all(open_memory, longer, "test"));
  EXPECT_FALSE(with(std::move(open_memory)));
  EXPECT_FALSE(with(sealed(longer.substr(1)))) << "shorter";
  EXPECT_FALSE(with(sealed(longer + "x"))) << "longer";
  EXPECT_FALSE(with(Fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)))) << "no memory at all";
  EXPECT_TRUE(with(sealed(longer)));
}

TEST(Packet, too_many_descriptors_are_refused) {
  RawPacket packet = raw(header_of(0));
  for (size_t i = 0; i <= descriptors_max; ++i) packet.descriptors.push_back(sealed("x"));
  uint64_t request = 0;
  EXPECT_FALSE(parse_packet(std::move(packet), request));
}

// Whoever asked would wait for ever for an answer to request 0.
TEST(Packet, a_request_whose_descriptors_find_no_room_is_refused_by_its_number) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Fd theirs(ends[1]);
  auto loop = *ring::Loop::open();
  ring::Scope scope(*loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  const auto outbox =
      std::make_shared<Outbox>(*loop, scope, std::make_shared<const Fd>(Fd(ends[0])));
  const Fd extra = sealed("extra");
  const int number[] = {extra.get()};
  ASSERT_TRUE(outbox->send_packet(PacketKind::Request, 1, 77, "payload", number));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  auto came = receive_raw(theirs, packet_bytes_max, descriptors_max + 1);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(came && *came);
  uint64_t request = 0;
  const auto packet = parse_packet(std::move(**came), request);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().error_number(), EMFILE);
  EXPECT_EQ(request, 77u);
}

TEST(Packet, errors_keep_their_kind_and_words) {
  const Error error(Kind::Conflict, "it runs");
  const Error back = from_reply(to_reply(error));
  EXPECT_EQ(back.kind(), Kind::Conflict);
  EXPECT_EQ(back.message(), "it runs");
  EXPECT_EQ(from_reply({200, "x"}).kind(), Kind::Internal);
}

ring::Task<> send_and_take(ring::Loop& loop, Fd ours, const Fd& theirs, size_t count,
                           size_t& taken) {
  ring::Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  auto outbox = std::make_shared<Outbox>(loop, scope, std::make_shared<const Fd>(std::move(ours)));
  const std::string payload(inline_bytes_max, 'y');
  const Fd extra = sealed("extra");
  const int number[] = {extra.get()};
  for (size_t i = 0; i < count; ++i) {
    co_await outbox->send_packet(PacketKind::Event, 1, i, payload, number);
  }
  while (taken < count) {
    auto came = co_await receive_raw(theirs, packet_bytes_max, descriptors_max + 1);
    if (!came) {
      co_await ring::sleep_for(loop, std::chrono::milliseconds(1));
      continue;
    }
    uint64_t request = 0;
    const auto packet = co_await parse_packet(std::move(*came), request);
    EXPECT_EQ(packet.header.request, taken) << "in order";
    EXPECT_EQ(packet.descriptors.size(), 1u);
    EXPECT_EQ(packet.payload, payload);
    ++taken;
  }
  outbox.reset();
  co_await scope.join();
}

TEST(Outbox, what_does_not_fit_now_comes_later_in_order) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  auto loop = ring::Loop::open();
  ASSERT_TRUE(loop) << loop.error().message();
  size_t taken = 0;
  const auto done = (*loop)->run(send_and_take(**loop, std::move(ours), theirs, 50, taken));
  EXPECT_TRUE(done) << done.error().message();
  EXPECT_EQ(taken, 50u);
}

ring::Task<> fill(ring::Loop& loop, Fd ours, Result<>& last) {
  ring::Scope scope(loop, [](const Error&) {});
  auto outbox = std::make_shared<Outbox>(loop, scope, std::make_shared<const Fd>(std::move(ours)));
  const std::string payload(inline_bytes_max, 'y');
  for (int i = 0; i < 10'000 && last; ++i) {
    last = outbox->send_packet(PacketKind::Event, 1, 0, payload);
  }
  scope.cancel();
  co_await scope.join();
}

TEST(Outbox, who_never_reads_is_cut_off) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  auto loop = ring::Loop::open();
  ASSERT_TRUE(loop);
  Result<> last;
  ASSERT_TRUE((*loop)->run(fill(**loop, std::move(ours), last)));
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().kind(), Kind::Exhausted);
}

TEST(Record, comes_back_as_it_was_and_damaged_ones_do_not) {
  Record record;
  record.id = std::string(64, 'a');
  record.exec = "e1";
  record.pid = 7;
  record.cgroup = "engine/x";
  record.interfaces.emplace_back().address = "172.17.0.2";
  const std::string bytes = codec::flat::encode(record);
  const auto back = decode_record(bytes);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(codec::flat::encode(*back), bytes);
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode_record(bytes.substr(0, cut)));
  EXPECT_FALSE(decode_record(bytes + "x"));
  record.version = Record::version_value + 1;
  EXPECT_FALSE(decode_record(codec::flat::encode(record)));
  record.version = Record::version_value;
  record.id = "../../etc";
  EXPECT_FALSE(decode_record(codec::flat::encode(record)));
}

TEST(Record, ids_are_what_can_be_no_path) {
  EXPECT_TRUE(check_id(std::string(64, 'f')));
  for (const std::string& id : {std::string(), std::string(63, 'f'), std::string(65, 'f'),
                                std::string(64, 'g'), std::string(64, 'F'), std::string(64, '/')}) {
    EXPECT_FALSE(check_id(id)) << id;
  }
  EXPECT_TRUE(check_exec_id("e_1"));
  for (const std::string& id : {std::string(), std::string("a/b"), std::string(".."),
                                std::string("a-b"), std::string(65, 'a'), std::string("a\0b", 3)}) {
    EXPECT_FALSE(check_exec_id(id)) << id;
  }
}

}  // namespace
}  // namespace nacelle::core
