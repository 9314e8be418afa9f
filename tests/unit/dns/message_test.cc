#include "dns/message.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "wire.h"

namespace nacelle::dns {
namespace {

TEST(DnsQuery, is_read) {
  const auto query = parse_query(head(0x0130) + question("Www.Example", 28));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->problem, Code::NoError);
  EXPECT_EQ(query->id, 0x1234);
  EXPECT_EQ(query->name, "www.example");
  EXPECT_EQ(query->type, type_aaaa);
  EXPECT_EQ(query->klass, class_in);
  EXPECT_TRUE(query->recursion_desired && query->checking_disabled && query->authentic_data);
  EXPECT_TRUE(query->is_plain);
  EXPECT_FALSE(query->has_edns);
  EXPECT_EQ(query->udp_bytes, 512u);
  EXPECT_EQ(query->question, question("Www.Example", 28));
}

TEST(DnsQuery, has_the_size_that_edns_says_within_bounds) {
  const auto size = [](unsigned said) {
    const auto query = parse_query(head(0x0100, {.extras = 1}) + question("a") + opt(said));
    return query && query->has_edns ? query->udp_bytes : 0;
  };
  EXPECT_EQ(size(1232), 1232u);
  EXPECT_EQ(size(0), 512u);
  EXPECT_EQ(size(65535), 4096u);
  const auto later = parse_query(head(0x0100, {.extras = 1}) + question("a") + opt(1232, 1));
  ASSERT_TRUE(later);
  EXPECT_EQ(later->problem, Code::BadVersion);
  // Sixteen is more than the header has bits for.
  const std::string refused = error_reply(*later, Code::BadVersion);
  EXPECT_EQ(refused[3] & 15, 0);
  EXPECT_EQ(refused.substr(refused.size() - 6), "\x01\0\0\0\0\0"s);
}

TEST(DnsQuery, with_a_byte_in_a_label_that_text_cannot_have_is_not_a_name_of_ours) {
  const auto with = [](std::string_view label) {
    const auto query =
        parse_query(head(0x0100) + wire_name("x").substr(0, 0) + static_cast<char>(label.size()) +
                    std::string(label) + "\0"s + number16(1) + number16(1));
    return query && query->problem == Code::NoError && query->is_plain;
  };
  EXPECT_TRUE(with("a_b-c"));
  EXPECT_FALSE(with("a.b"));
  EXPECT_FALSE(with("a\0b"sv));
  EXPECT_FALSE(with("a b"));
  EXPECT_FALSE(with("\xc3\xa9"));
}

TEST(DnsQuery, is_not_answered_at_all) {
  EXPECT_FALSE(parse_query(""));
  EXPECT_FALSE(parse_query(head(0x0100).substr(0, 11)));
  EXPECT_FALSE(parse_query(head(0x8100) + question("a")));  // an answer
}

TEST(DnsQuery, that_is_wrong_is_told_so) {
  const std::string label(63, 'a');
  const std::string longest =
      question(label + "." + label + "." + label + "." + label.substr(0, 61));
  ASSERT_EQ(parse_query(head(0x0100) + longest)->problem, Code::NoError);
  const std::string cases[] = {
      head(0x0100),
      head(0x0100, {.questions = 0}),
      head(0x0100, {.questions = 2}) + question("a") + question("a"),
      head(0x0100, {.answers = 1}) + question("a"),
      head(0x0100, {.authorities = 1}) + question("a"),
      head(0x0100, {.extras = 9}) + question("a"),
      head(0x0100, {.extras = 65535}) + question("a") + opt(512),
      head(0x0100, {.extras = 2}) + question("a") + opt(512) + opt(512),
      head(0x0100, {.extras = 1}) + question("a") + record(wire_name("x"), 41, ""),
      head(0x0100, {.extras = 1}) + question("a") + record("\xc0\x17"s, 16, ""),  // to itself
      head(0x0100, {.extras = 1}) + question("a") + record("\xff\xff"s, 16, ""),  // forwards
      head(0x0100, {.extras = 1}) + question("a") + opt(512).substr(0, 10),
      head(0x0100) + question("a") + "x",
      head(0x0100) + question("a").substr(0, 6),
      head(0x0100) + "\xc0\x0c"s + number16(1) + number16(1),
      head(0x0100) + "\x40"s + std::string(64, 'a') + "\0"s + number16(1) + number16(1),
      head(0x0100) + "\x05"s + "ab",
      head(0x0100) + question(label + "." + label + "." + label + "." + label.substr(0, 62)),
  };
  for (const std::string& each : cases) {
    const auto query = parse_query(each);
    ASSERT_TRUE(query);
    EXPECT_EQ(query->problem, Code::FormatError) << testing::PrintToString(each);
    EXPECT_EQ(error_reply(*query, query->problem), head(0x8181, {.questions = 0}));
  }
  const auto update = parse_query(head(0x2800) + question("a"));
  ASSERT_TRUE(update);
  EXPECT_EQ(update->problem, Code::NotImplemented);
}

TEST(DnsReply, has_the_questions_name_and_our_ttl) {
  const auto query = parse_query(head(0x0100) + question("Ax"));
  Reply reply(*query);
  reply.add_address("\x0a\0\0\x02"s);
  EXPECT_EQ(std::move(reply).finish(512),
            head(0x8180, {.answers = 1}) + question("Ax") +
                "\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04\x0a\0\0\x02"s);
}

TEST(DnsReply, leaves_out_what_is_too_much_and_says_so) {
  const auto query = parse_query(head(0x0100, {.extras = 1}) + question("a") + opt(512));
  Reply reply(*query);
  for (int each = 0; each < 100; ++each) reply.add_address("\x0a\0\0\x02"s);
  const std::string bytes = std::move(reply).finish(512);
  EXPECT_LE(bytes.size(), 512u);
  EXPECT_GT(bytes.size(), 512u - 16u);
  EXPECT_EQ(bytes[2] & 2, 2);
  EXPECT_EQ(bytes.substr(bytes.size() - 11), opt(4096));
}

TEST(DnsReply, to_an_address_has_no_name_that_does_not_fit) {
  const auto query = parse_query(head(0x0100) + question("2.0.0.10.in-addr.arpa", 12));
  const auto counts = [&](std::string_view name) {
    Reply reply(*query);
    reply.add_name(name);
    return std::move(reply).finish(512)[7];
  };
  EXPECT_EQ(counts("web.net"), 1);
  EXPECT_EQ(counts(std::string(64, 'a')), 0);
  EXPECT_EQ(counts("a..b"), 0);
}

TEST(DnsUpstream, is_asked_the_same_under_another_id) {
  const auto query =
      parse_query(head(0x0120, {.extras = 1}) + question("A.b", 28) + opt(1232, 0, 0x8000));
  EXPECT_EQ(make_upstream_query(*query, 0xabcd), "\xab\xcd"s +
                                                     head(0x0120, {.extras = 1}).substr(2) +
                                                     question("A.b", 28) + opt(4096, 0, 0x8000));
}

TEST(DnsUpstream, is_believed_what_it_says_of_this_question) {
  const auto query = parse_query(head(0x0100) + question("a.B"));
  const std::string answer = record("\xc0\x0c"s, 1, "abcd");
  const std::string good = head(0x8183, {.answers = 1}) + question("A.b") + answer;
  const auto reply = parse_upstream_reply(good, *query);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->id, 0x1234);
  EXPECT_EQ(reply->code, Code::NameError);
  const std::string cases[] = {
      "",
      good.substr(0, 11),
      good.substr(0, good.size() - 1),
      good + "x",
      head(0x0180, {.answers = 1}) + question("a.b") + answer,
      head(0xa980, {.answers = 1}) + question("a.b") + answer,
      head(0x8180, {.questions = 0}),
      head(0x8180, {.questions = 2}) + question("a.b") + question("a.b"),
      head(0x8180) + question("a.c"),
      head(0x8180) + question("a.b", 28),
      head(0x8180, {.answers = 65535}) + question("a.b") + answer,
      head(0x8180, {.answers = 1}) + question("a.b") + record("\xc0\x15"s, 1, "abcd"),
      head(0x8180, {.answers = 1}) + question("a.b") + record("\xc0\x00"s, 1, "abcd"),
      head(0x8180, {.answers = 1}) + question("a.b") + "\xc0"s,
  };
  for (const std::string& each : cases) {
    EXPECT_FALSE(parse_upstream_reply(each, *query)) << testing::PrintToString(each);
  }
}

TEST(DnsUpstream, is_passed_on_whole_or_not_at_all) {
  auto query = parse_query(head(0x0100) + question("a"));
  query->id = 7;
  const std::string answer =
      head(0x8180, {.answers = 1}) + question("a") + record("\xc0\x0c"s, 16, std::string(600, 'x'));
  EXPECT_EQ(pass_on(answer, *query, 4096), number16(7) + answer.substr(2));
  EXPECT_EQ(pass_on(answer, *query, 512), number16(7) + head(0x8380).substr(2) + question("a"));
}

TEST(DnsNames, of_addresses_are_read) {
  EXPECT_EQ(parse_reverse_name("2.0.81.10.in-addr.arpa"), "\x0a\x51\0\x02"s);
  std::string long_name;
  for (int each = 0; each < 31; ++each) long_name += "0.";
  for (const size_t wrong : {60u, 56u, 59u}) {
    EXPECT_EQ(parse_reverse_name("2." + long_name.substr(0, wrong) + "d.f.ip6.arpa"), "") << wrong;
  }
  EXPECT_EQ(parse_reverse_name("1." + long_name.substr(0, 56) + "0.d.f.ip6.arpa"),
            "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"s);
  for (const char* each :
       {"", "in-addr.arpa", ".in-addr.arpa", "1.2.3.in-addr.arpa", "1.2.3.4.5.in-addr.arpa",
        "256.2.3.4.in-addr.arpa", "a.2.3.4.in-addr.arpa", "-1.2.3.4.in-addr.arpa", "1.ip6.arpa"}) {
    EXPECT_EQ(parse_reverse_name(each), "") << each;
  }
}

}  // namespace
}  // namespace nacelle::dns
