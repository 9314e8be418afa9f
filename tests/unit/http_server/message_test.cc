// The parser: what it understands, and above all what it refuses. Every case is fed whole and byte
// by byte, since where a packet ends must never matter.
#include "http/message.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace nacelle::http {
namespace {

struct Fed {
  Result<> outcome;
  bool head = false, whole = false;
  std::string body, rest;
};

// Feeds at most `piece` bytes at a time, until a message is whole or something is refused.
Fed feed(Parser& parser, std::string_view bytes, size_t piece) {
  Fed fed;
  while (!bytes.empty() && !fed.whole) {
    const auto step = parser.feed(bytes.substr(0, piece), fed.body, 1 << 20);
    if (!step) {
      fed.outcome = std::unexpected(step.error());
      return fed;
    }
    fed.head = fed.head || step->head_done;
    fed.whole = step->message_done;
    bytes.remove_prefix(step->taken);
  }
  fed.rest = bytes;
  return fed;
}

void expect_refused(std::string_view bytes, Parser::Role role = Parser::Role::Requests,
                    Kind kind = Kind::Invalid) {
  for (const size_t piece : {size_t{1}, size_t{7}, bytes.size()}) {
    Parser parser(role);
    const Fed fed = feed(parser, bytes, piece);
    ASSERT_FALSE(fed.outcome.has_value()) << bytes;
    EXPECT_EQ(fed.outcome.error().kind(), kind) << bytes << ": " << fed.outcome.error().message();
  }
}

std::string get(std::string_view headers, std::string_view target = "/") {
  return cat("GET ", target, " HTTP/1.1\r\nHost: h\r\n", headers, "\r\n");
}
std::string post(std::string_view headers, std::string_view body) {
  return cat("POST /x HTTP/1.1\r\nHost: h\r\n", headers, "\r\n", body);
}
std::string chunks(std::string_view body) { return post("Transfer-Encoding: chunked\r\n", body); }

TEST(Message, ARequestIsReadHoweverItsBytesCome) {
  const std::string bytes =
      "POST /v1.51/containers/a%2Fb/x?all=1&f=%7B%22a%22%7D+b&flag HTTP/1.1\r\nHost: h\r\n"
      "X-Two:  spaced \t\r\nx-empty:\r\nContent-Length: 5\r\n\r\nhelloGET";
  for (const size_t piece : {size_t{1}, size_t{3}, bytes.size()}) {
    Parser parser(Parser::Role::Requests);
    const Fed fed = feed(parser, bytes, piece);
    ASSERT_TRUE(fed.outcome.has_value()) << fed.outcome.error().message();
    ASSERT_TRUE(fed.whole);
    const RequestHead& head = parser.request();
    EXPECT_EQ(head.method, "POST");
    EXPECT_EQ(head.path, "/v1.51/containers/a/b/x");
    ASSERT_EQ(head.query.size(), 3u);
    EXPECT_EQ(head.query[1].second, "{\"a\"} b");
    EXPECT_EQ(head.query[2].first, "flag");
    EXPECT_EQ(head.query[2].second, "");
    ASSERT_NE(find_header(head.headers, "x-two"), nullptr);
    EXPECT_EQ(*find_header(head.headers, "x-two"), "spaced");
    ASSERT_NE(find_header(head.headers, "x-empty"), nullptr);
    EXPECT_EQ(*find_header(head.headers, "x-empty"), "");
    EXPECT_EQ(find_header(head.headers, "x-none"), nullptr);
    EXPECT_EQ(head.content_length, 5u);
    EXPECT_TRUE(head.keep_alive);
    EXPECT_EQ(fed.body, "hello");
    EXPECT_EQ(fed.rest, "GET");
  }
}

TEST(Message, MessagesBehindEachOtherAreTakenOneByOne) {
  std::string bytes = get("") + chunks("3\r\nabc\r\n0\r\n\r\n") +
                      post("Content-Length: 0\r\n", "") + get("Connection: close\r\n", "/last");
  for (const size_t piece : {size_t{1}, size_t{5}, bytes.size()}) {
    Parser parser(Parser::Role::Requests);
    std::string_view rest = bytes;
    std::vector<std::string> seen;
    std::string kept;
    while (!rest.empty()) {
      const Fed fed = feed(parser, rest, piece);
      ASSERT_TRUE(fed.outcome.has_value()) << fed.outcome.error().message();
      ASSERT_TRUE(fed.whole);
      seen.push_back(parser.request().method + parser.request().path + fed.body);
      kept = fed.rest;
      rest = std::string_view(bytes).substr(bytes.size() - kept.size());
      EXPECT_EQ(parser.request().keep_alive, !rest.empty());
      parser.next();
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"GET/", "POST/xabc", "POST/x", "GET/last"}));
  }
}

TEST(Message, AMessageThatEndedTakesNothingMore) {
  Parser parser(Parser::Role::Requests);
  std::string body;
  const std::string bytes = get("") + get("");
  ASSERT_TRUE(parser.feed(bytes, body, 0)->message_done);
  const auto more = parser.feed(get(""), body, 100);
  ASSERT_TRUE(more.has_value());
  EXPECT_EQ(more->taken, 0u);
  EXPECT_FALSE(more->head_done);
}

TEST(Message, ABodyIsGivenOnlyWhatThereIsRoomFor) {
  Parser parser(Parser::Role::Requests);
  std::string body;
  const std::string head = post("Content-Length: 10\r\n", "");
  ASSERT_TRUE(parser.feed(head, body, 0)->head_done);
  EXPECT_EQ(parser.feed("0123456789", body, 0)->taken, 0u);
  EXPECT_EQ(parser.feed("0123456789", body, 4)->taken, 4u);
  EXPECT_EQ(body, "0123");
  const auto rest = parser.feed("456789", body, 100);
  EXPECT_TRUE(rest->message_done);
  EXPECT_EQ(body, "0123456789");
}

TEST(Message, ChunksWithTrailersAndExtensionsAreJoined) {
  const std::string bytes =
      chunks("5;name=value\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nnext");
  for (const size_t piece : {size_t{1}, size_t{4}, bytes.size()}) {
    Parser parser(Parser::Role::Requests);
    const Fed fed = feed(parser, bytes, piece);
    ASSERT_TRUE(fed.outcome.has_value()) << fed.outcome.error().message();
    EXPECT_EQ(fed.body, "hello0123456789");
    EXPECT_EQ(fed.rest, "next");
    EXPECT_TRUE(parser.request().chunked);
    EXPECT_EQ(find_header(parser.request().headers, "x-sum"), nullptr);  // a trailer is no header
  }
}

TEST(Message, WhatAConnectionIsToBecomeIsTold) {
  const std::string bytes = get("Connection: Upgrade\r\nUpgrade: TCP\r\n");
  Parser parser(Parser::Role::Requests);
  const Fed fed = feed(parser, bytes + "raw", 4096);
  ASSERT_TRUE(fed.whole);
  EXPECT_EQ(parser.request().upgrade, "tcp");
  EXPECT_EQ(fed.rest, "raw");
  Parser without(Parser::Role::Requests);
  ASSERT_TRUE(feed(without, get("Upgrade: tcp\r\n"), 4096).whole);
  EXPECT_EQ(without.request().upgrade, "");
}

TEST(Message, AnUpgradeWithABodyHasItsBody) {
  const std::string bytes =
      post("Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n", "{}raw");
  Parser parser(Parser::Role::Requests);
  const Fed fed = feed(parser, bytes, 4096);
  ASSERT_TRUE(fed.whole);
  EXPECT_EQ(fed.body, "{}");
  EXPECT_EQ(fed.rest, "raw");
}

TEST(Message, TheOldVersionKeepsNoConnectionUnlessAsked) {
  Parser plain(Parser::Role::Requests);
  ASSERT_TRUE(feed(plain, "GET / HTTP/1.0\r\n\r\n", 100).whole);
  EXPECT_TRUE(plain.request().http_1_0);
  EXPECT_FALSE(plain.request().keep_alive);
  Parser kept(Parser::Role::Requests);
  ASSERT_TRUE(feed(kept, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 100).whole);
  EXPECT_TRUE(kept.request().keep_alive);
}

TEST(Message, TheAbsoluteFormIsAPathToo) {
  Parser parser(Parser::Role::Requests);
  ASSERT_TRUE(feed(parser, get("", "http://docker/_ping?x=1"), 100).whole);
  EXPECT_EQ(parser.request().path, "/_ping");
  Parser bare(Parser::Role::Requests);
  ASSERT_TRUE(feed(bare, get("", "http://docker"), 100).whole);
  EXPECT_EQ(bare.request().path, "/");
}

// Smuggling: what two readers could cut differently. -------------------------------------------

TEST(Message, TwoLengthsAreRefused) {
  expect_refused(post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"));
  expect_refused(post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"));
  expect_refused(post("Content-Length: 3, 3\r\n", "abc"));
  expect_refused(
      post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"));
  expect_refused(
      post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "3\r\nabc\r\n0\r\n\r\n"));
  expect_refused(post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"));
}

TEST(Message, OddLengthsAreRefused) {
  for (const char* length : {"-1", "+3", "0x3", "3 3", "3a", "", " ", "3,", "1e1",
                             "18446744073709551616", "99999999999999999999999"}) {
    expect_refused(post(cat("Content-Length: ", length, "\r\n"), "abc"));
  }
}

TEST(Message, EncodingsThatAreNotChunkedAloneAreRefused) {
  for (const char* encoding : {"gzip, chunked", "chunked, gzip", "identity", "chunked, chunked",
                               "xchunked", "chunkedx", "chunked;q=1",
                               "\x0b"
                               "chunked",
                               "", "chunked,"}) {
    expect_refused(post(cat("Transfer-Encoding: ", encoding, "\r\n"), "0\r\n\r\n"));
  }
  expect_refused(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"));
  expect_refused("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

TEST(Message, OddChunkLinesAreRefused) {
  for (const char* body : {"3\nabc\r\n0\r\n\r\n",
                           "3\r\nabc\n0\r\n\r\n",
                           "3\r\nabc\r\n0\n\r\n",
                           "3\r\nabc\r\n0\r\n\n",
                           "3 \r\nabc\r\n0\r\n\r\n",
                           " 3\r\nabc\r\n0\r\n\r\n",
                           "3\t\r\nabc\r\n0\r\n\r\n",
                           "0x3\r\nabc\r\n0\r\n\r\n",
                           "-3\r\nabc\r\n0\r\n\r\n",
                           "\r\n3\r\nabc\r\n0\r\n\r\n",
                           "g\r\nabc\r\n0\r\n\r\n",
                           "3\r\nabcd\r\n0\r\n\r\n",
                           "3\r\nabc0\r\n\r\n",
                           "3\rabc\r\n0\r\n\r\n",
                           "3\r\nabc\r\r\n0\r\n\r\n",
                           "3;a\nb\r\nabc\r\n0\r\n\r\n",
                           "3;a\rb\r\nabc\r\n0\r\n\r\n",
                           "10000000000000000\r\nabc",
                           "fffffffffffffffff\r\nabc",
                           "3\r\nabc\r\n0\r\nX: 1\n\r\n",
                           "3\r\nabc\r\n0\r\nX: a\r\n folded\r\n\r\n"}) {
    expect_refused(chunks(body));
  }
}

TEST(Message, ChunkExtensionsHaveAnEnd) {
  expect_refused(chunks(cat("3;", std::string(1000, 'a'), "\r\nabc\r\n0\r\n\r\n")));
}

TEST(Message, TrailersHaveAnEnd) {
  expect_refused(chunks(cat("0\r\nX: ", std::string(100'000, 'a'), "\r\n\r\n")));
}

TEST(Message, LinesThatDoNotEndInBothCharactersAreRefused) {
  expect_refused("GET / HTTP/1.1\nHost: h\r\n\r\n");
  expect_refused("GET / HTTP/1.1\r\nHost: h\nX: 1\r\n\r\n");
  expect_refused("GET / HTTP/1.1\r\nHost: h\n\n");
  expect_refused("GET / HTTP/1.1\r\nHost: h\rX: 1\r\n\r\n");
  expect_refused("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n");
  expect_refused("GET / HTTP/1.1\r\nHost: h\r\n\rX");
}

TEST(Message, FoldedLinesAreRefused) {
  expect_refused(get("X: a\r\n b\r\n"));
  expect_refused(get("X: a\r\n\tb\r\n"));
  expect_refused("GET / HTTP/1.1\r\n Host: h\r\n\r\n");
}

TEST(Message, ControlCharactersAreRefused) {
  for (const char c : {'\0', '\x01', '\x0b', '\x0c', '\x1b', '\x7f'}) {
    expect_refused(get(cat("X: a", c, "b\r\n")));
    expect_refused(get(cat("X", c, ": a\r\n")));
    expect_refused(get("", cat("/a", c, "b")));
  }
}

TEST(Message, OddHeaderNamesAreRefused) {
  expect_refused(get("X : a\r\n"));
  expect_refused(get("X\t: a\r\n"));
  expect_refused(get(": a\r\n"));
  expect_refused(get("X y: a\r\n"));
  expect_refused(get("no colon\r\n"));
  expect_refused(get("Content-Length : 0\r\n"));
  expect_refused(get("X(: a\r\n"));
}

TEST(Message, HeadersThatMayStandOnceDo) {
  expect_refused(get("Host: other\r\n"));
  expect_refused(get("Authorization: a\r\nAuthorization: b\r\n"));
  expect_refused(get("X-Registry-Auth: a\r\nx-registry-auth: a\r\n"));
  expect_refused(post("Content-Type: a\r\nContent-Type: b\r\nContent-Length: 0\r\n", ""));
  expect_refused("GET / HTTP/1.1\r\n\r\n");  // nor may Host be missing
}

TEST(Message, OddFirstLinesAreRefused) {
  for (const char* line : {"GET / HTTP/2.0",        "GET / HTTP/0.9",          "GET / HTTP/1.2",
                           "GET / HTTP/1",          "GET / HTTP/1.1 x",        "GET /",
                           "GET  / HTTP/1.1",       "GET / a HTTP/1.1",        "get / HTTP/1.1",
                           "GETX / HTTP/1.1",       "G(T / HTTP/1.1",          " GET / HTTP/1.1",
                           "CONNECT h:1 HTTP/1.1",  "CONNECT / HTTP/1.1",      "GET * HTTP/1.1",
                           "GET relative HTTP/1.1", "GET https://h/ HTTP/1.1", "GET /#a HTTP/1.1",
                           "GET / http/1.1",        "GET / RTSP/1.0",          "GET /\ta HTTP/1.1",
                           "HTTP/1.1 200 OK",       "PRI * HTTP/2.0"}) {
    expect_refused(cat(line, "\r\nHost: h\r\n\r\n"));
  }
}

TEST(Message, BrokenEscapesAreRefused) {
  for (const char* target : {"/%", "/%4", "/%zz", "/a%00b", "/?a=%", "/?%00=1", "/?a=%2"}) {
    expect_refused(get("", target));
  }
}

TEST(Message, ExpectationsNobodyKnowsAreRefused) {
  expect_refused(post("Expect: 200-ok\r\nContent-Length: 1\r\n", "a"));
  Parser parser(Parser::Role::Requests);
  ASSERT_TRUE(feed(parser, post("Expect: 100-Continue\r\nContent-Length: 1\r\n", "a"), 999).whole);
  EXPECT_TRUE(parser.request().expects_continue);
}

// Limits. --------------------------------------------------------------------------------------

TEST(Message, HeadsHaveALimit) {
  const auto role = Parser::Role::Requests;
  expect_refused(get(cat("X: ", std::string(70'000, 'a'), "\r\n")), role, Kind::Exhausted);
  expect_refused(get("", cat("/", std::string(20'000, 'a'))), role, Kind::Exhausted);
  std::string many;
  for (int i = 0; i < 200; ++i) many += cat("X-", i, ": 1\r\n");
  expect_refused(get(many), role, Kind::Exhausted);
  std::string lines;
  for (int i = 0; i < 40'000; ++i) lines += "\r\n";
  expect_refused(lines, role, Kind::Exhausted);
}

TEST(Message, AHeadAtTheLimitIsTakenAndOneByteMoreIsNot) {
  const MessageLimits limits{.head_bytes_max = 100, .headers_max = 2, .target_bytes_max = 10};
  const auto of_size = [](std::string_view target, size_t bytes) {
    std::string text = cat("GET ", target, " HTTP/1.1\r\nHost: h\r\nX: ");
    return text + std::string(bytes - text.size() - 4, 'a') + "\r\n\r\n";
  };
  const auto taken = [&](const std::string& bytes) {
    Parser parser(Parser::Role::Requests, limits);
    return feed(parser, bytes, 100).whole;
  };
  EXPECT_TRUE(taken(of_size("/234567890", 100)));
  EXPECT_FALSE(taken(of_size("/234567890", 101)));
  EXPECT_FALSE(taken(of_size("/2345678901", 100)));
  EXPECT_FALSE(taken("GET / HTTP/1.1\r\nHost: h\r\nX: 1\r\nY: 1\r\n\r\n"));
}

// Responses. -----------------------------------------------------------------------------------

TEST(Message, AResponseIsRead) {
  Parser parser(Parser::Role::Responses);
  const Fed fed = feed(parser, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}HTTP", 5);
  ASSERT_TRUE(fed.whole);
  EXPECT_EQ(parser.response().status, 404);
  EXPECT_EQ(parser.response().reason, "Not Found");
  EXPECT_FALSE(parser.response().until_close);
  EXPECT_EQ(fed.body, "{}");
  EXPECT_EQ(fed.rest, "HTTP");
}

TEST(Message, ResponsesThatNeverHaveABodyHaveNone) {
  for (const char* status :
       {"204 No Content", "304 Not Modified", "100 Continue", "101 UPGRADED"}) {
    Parser parser(Parser::Role::Responses);
    const Fed fed =
        feed(parser, cat("HTTP/1.1 ", status, "\r\nContent-Length: 3\r\n\r\nabc"), 4096);
    ASSERT_TRUE(fed.whole) << status;
    EXPECT_EQ(fed.body, "");
    EXPECT_EQ(fed.rest, "abc");
  }
  Parser parser(Parser::Role::Responses);
  parser.next(/*no_body=*/true);
  const Fed fed = feed(parser, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP", 4096);
  EXPECT_TRUE(fed.whole);
  EXPECT_EQ(fed.rest, "HTTP");
}

TEST(Message, AResponseWithoutALengthGoesOnUntilTheEnd) {
  Parser parser(Parser::Role::Responses);
  const Fed fed = feed(parser, "HTTP/1.1 200 OK\r\n\r\nanything\n\r\0", 3);
  ASSERT_TRUE(fed.outcome.has_value());
  EXPECT_FALSE(fed.whole);
  EXPECT_TRUE(parser.response().until_close);
  EXPECT_FALSE(parser.response().keep_alive);
}

TEST(Message, OddResponsesAreRefused) {
  for (const char* bytes :
       {"HTTP/1.1 99 Low\r\n\r\n", "HTTP/1.1 1000 High\r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\nA: b\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "\x16\x03\x01\x02"}) {
    expect_refused(bytes, Parser::Role::Responses);
  }
}

TEST(Message, PercentDecodingAndEncodingAreInverse) {
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(percent_decode(percent_encode(all), true).value_or("?"), all);
  EXPECT_EQ(percent_encode("aZ0-._~ /+%"), "aZ0-._~%20%2F%2B%25");
  EXPECT_EQ(percent_decode("a+b%20c", true).value_or("?"), "a b c");
  EXPECT_EQ(percent_decode("a+b%20c", false).value_or("?"), "a+b c");
}

}  // namespace
}  // namespace nacelle::http
