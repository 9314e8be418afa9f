// The server, seen by clients that behave, and by those that do not.
#include "http/server.h"

#include <dirent.h>
#include <sys/un.h>

#include <atomic>
#include <fstream>

#include "tests/unit/http_server/tools.h"

namespace nacelle::http {
namespace {

using namespace test;
using namespace std::chrono_literals;

std::atomic<int> gone{0}, cancelled{0};

Task<> stream(Exchange& http) {
  co_await http.begin(200, "text/plain");
  for (int i = 0; i < 3; ++i) co_await http.write(cat("part", i));
  co_await http.end();
}

Task<> echo(Exchange& http) {
  co_await http.begin(200, "application/octet-stream");
  char buffer[8192];
  for (;;) {
    const size_t count = co_await http.read_body(buffer);
    if (count == 0) break;
    co_await http.write(std::string_view(buffer, count));
  }
  co_await http.end();
}

Task<> take_over(Exchange& http, Loop& loop) {
  const Hijacked taken = co_await http.hijack(!http.request().upgrade.empty(), "raw");
  co_await ring::write_all(loop, taken.socket, cat("early:", taken.early_bytes, "\n"));
  char buffer[100];
  const size_t count = co_await ring::read_some(loop, taken.socket, buffer);
  co_await ring::write_all(loop, taken.socket, std::string_view(buffer, count));
}

Task<> endless(Exchange& http) {
  co_await http.begin(200, "text/plain");
  const Result<> left = co_await as_result(http.client_gone());
  ++(left ? gone : cancelled);
  co_await Result<>(left);
}

Task<> flood(Exchange& http) {
  co_await http.begin(200, "text/plain");
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 64; ++i) co_await http.write(piece);
  co_await http.end();
}

// What the test's clients may ask for. It finds the loop by itself: one server, one thread.
Task<> handle(Exchange& http) {
  const RequestHead& request = http.request();
  if (request.path == "/stream") return stream(http);
  if (request.path == "/echo") return echo(http);
  if (request.path == "/endless") return endless(http);
  if (request.path == "/flood") return flood(http);
  return [](Exchange& it) -> Task<> {
    const std::string& path = it.request().path;
    if (path == "/silent") co_return;
    if (path == "/fails") co_await fail(Kind::Internal, "it went wrong");
    if (path == "/cut") {
      co_await it.begin(200, "text/plain");
      co_await it.write("half");
      co_await fail(Kind::Internal, "it went wrong");
    }
    if (path == "/nothing") co_return co_await it.reply(204, "", "");
    if (path == "/who") {
      co_return co_await it.reply(200, "text/plain", cat(it.peer().uid, ' ', it.peer().pid));
    }
    if (path == "/inject") {
      co_return co_await it.reply(200, "text/plain", "x", {{"X-Bad", "a\r\nX-More: b"}});
    }
    if (path == "/body") {
      const std::string body = co_await it.body(1000);
      co_return co_await it.reply(200, "text/plain", cat(body.size(), ':', it.query("q")));
    }
    co_await it.reply(200, "text/plain", "ok");
  }(http);
}

std::string get(std::string_view path, std::string_view headers = {}) {
  return cat("GET ", path, " HTTP/1.1\r\nHost: h\r\n", headers, "\r\n");
}
constexpr std::string_view close_after = "Connection: close\r\n";

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(Server, AnswersWithItsHeadersAndALength) {
  Running server(handle);
  const std::string answer = server.ask(get("/", close_after));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\nServer: test\r\n")) << answer;
  EXPECT_TRUE(answer.contains("\r\nContent-Length: 2\r\n")) << answer;
  EXPECT_TRUE(answer.contains("\r\nDate: ")) << answer;
  EXPECT_TRUE(answer.contains("\r\nContent-Type: text/plain\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\nok<end>")) << answer;
}

TEST(Server, ManyRequestsShareAConnection) {
  Running server(handle);
  const Fd socket = server.connect();
  for (int i = 0; i < 1000; ++i) {
    say(socket, cat("POST /body?q=", i, " HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"));
    const std::string answer = read_until(socket, cat("\r\n\r\n3:", i));
    ASSERT_TRUE(answer.ends_with(cat("\r\n\r\n3:", i))) << answer;
  }
}

TEST(Server, PipelinedRequestsAreAnsweredInOrder) {
  Running server(handle);
  std::string all;
  for (int i = 0; i < 200; ++i) {
    all += cat("POST /body?q=n", i, " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
  }
  const std::string answers = server.ask(all + get("/", close_after));
  EXPECT_EQ(count_of(answers, "HTTP/1.1 200 OK"), 201u);
  size_t at = 0;
  for (int i = 0; i < 200; ++i) {
    at = answers.find(cat("1:n", i), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

TEST(Server, HeadAnd204HaveNoBody) {
  Running server(handle);
  const std::string head = server.ask("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(head.contains("Content-Length: 2\r\n"));
  EXPECT_TRUE(head.ends_with("\r\n\r\n<end>")) << head;
  const std::string stream =
      server.ask("HEAD /stream HTTP/1.1\r\nHost: h\r\n" + std::string(close_after) + "\r\n");
  EXPECT_TRUE(stream.ends_with("\r\n\r\n<end>")) << stream;
  const std::string none = server.ask(get("/nothing", close_after));
  EXPECT_TRUE(none.starts_with("HTTP/1.1 204 No Content\r\n"));
  EXPECT_FALSE(none.contains("Content-Length"));
}

TEST(Server, StreamsInChunksAndToOldClientsUntilTheEnd) {
  Running server(handle);
  const std::string chunked = server.ask(get("/stream", close_after));
  EXPECT_TRUE(chunked.contains("\r\nTransfer-Encoding: chunked\r\n")) << chunked;
  EXPECT_TRUE(chunked.ends_with("5\r\npart0\r\n5\r\npart1\r\n5\r\npart2\r\n0\r\n\r\n<end>"))
      << chunked;
  const std::string old = server.ask("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_FALSE(old.contains("chunked"));
  EXPECT_TRUE(old.ends_with("\r\n\r\npart0part1part2<end>")) << old;
}

TEST(Server, AHandlersErrorIsAnAnswerOrACutNeverAWholeOne) {
  Running server(handle);
  EXPECT_TRUE(server.ask(get("/fails", close_after)).starts_with("HTTP/1.1 500 "));
  EXPECT_TRUE(server.ask(get("/silent", close_after)).starts_with("HTTP/1.1 500 "));
  const std::string cut = server.ask(get("/cut"));
  EXPECT_TRUE(cut.contains("half"));
  EXPECT_FALSE(cut.contains("\r\n0\r\n")) << cut;
}

TEST(Server, AHeaderCannotHoldAnother) {
  Running server(handle);
  const std::string answer = server.ask(get("/inject", close_after));
  EXPECT_FALSE(answer.contains("X-More")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\nx<end>")) << answer;
}

TEST(Server, BigBodiesPassInChunksBothWays) {
  Running server(handle);
  const Fd socket = server.connect();
  say(socket,
      "POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
  constexpr int count = 200;
  const std::string piece(50'000, 'Q');
  std::thread writer([&] {
    for (int i = 0; i < count; ++i) say(socket, cat("c350\r\n", piece, "\r\n"));
    say(socket, "0\r\n\r\n");
  });
  const std::string answer = read_until(socket, {});
  writer.join();
  EXPECT_EQ(count_of(answer, "Q"), piece.size() * count);
  EXPECT_TRUE(answer.ends_with("\r\n0\r\n\r\n<end>"));
}

TEST(Server, ABodyAboveTheLimitIsNotRead) {
  Running server(handle);
  const std::string announced =
      server.ask("POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", {});
  EXPECT_TRUE(announced.starts_with("HTTP/1.1 500 ")) << announced;  // this handler maps nothing
  EXPECT_TRUE(announced.contains("too large"));
  EXPECT_TRUE(announced.contains("Connection: close"));
  std::string chunked = "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 2000; ++i) chunked += "1\r\nx\r\n";
  EXPECT_TRUE(server.ask(chunked).contains("too large"));
}

TEST(Server, ABodyNobodyReadDoesNotBecomeTheNextRequest) {
  Running server(handle);
  const Fd socket = server.connect();
  const std::string evil = get("/evil");
  say(socket, cat("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ", evil.size(), "\r\n\r\n", evil,
                  get("/who", close_after)));
  EXPECT_EQ(count_of(read_until(socket, {}), "HTTP/1.1 200"), 2u);
}

TEST(Server, AnUnreadFloodEndsTheConnection) {
  Running server(handle);
  const Fd socket = server.connect();
  say(socket, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n");
  const std::string piece(1 << 20, 'x');
  std::thread writer([&] {
    for (int i = 0; i < 20; ++i) say(socket, piece);
  });
  const std::string answer = read_until(socket, {});
  writer.join();
  EXPECT_TRUE(answer.contains("\r\n\r\nok")) << answer;
  EXPECT_FALSE(answer.contains("<timeout>"));
}

TEST(Server, ContinueIsSaidOnlyToWhoWaitsAndIsRead) {
  Running server(handle);
  const std::string head =
      "POST /body HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  const Fd socket = server.connect();
  say(socket, head);
  EXPECT_EQ(read_until(socket, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  say(socket, "abc");
  EXPECT_TRUE(read_until(socket, "3:").ends_with("\r\n\r\n3:"));
  // One whose body nobody wants is answered at once, and cannot go on.
  std::string unread = head;
  unread.replace(unread.find("/body"), 5, "/none");
  const std::string answer = server.ask(unread);
  EXPECT_FALSE(answer.contains("100 Continue"));
  EXPECT_TRUE(answer.contains("Connection: close\r\n")) << answer;
}

TEST(Server, NonsenseIsRefusedAndEndsTheConnection) {
  Running server(handle);
  EXPECT_TRUE(server.ask("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
  const std::string smuggled = server.ask(
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n" +
      get("/"));
  EXPECT_EQ(count_of(smuggled, "HTTP/1.1"), 1u) << smuggled;
  EXPECT_TRUE(smuggled.starts_with("HTTP/1.1 400 "));
  const std::string big = server.ask(get("/", cat("X: ", std::string(70'000, 'x'), "\r\n")));
  EXPECT_TRUE(big.starts_with("HTTP/1.1 431 ")) << big;
}

TEST(Server, NonsenseInABodyIsAnErrorOfTheHandlers) {
  Running server(handle);
  const std::string answer = server.ask(
      "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + get("/"));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << answer;
  EXPECT_EQ(count_of(answer, "HTTP/1.1"), 1u) << answer;
}

TEST(Server, KnowsWhoAsks) {
  Running server(handle);
  EXPECT_TRUE(server.ask(get("/who", close_after))
                  .contains(cat("\r\n\r\n", ::getuid(), ' ', ::getpid(), "<end>")));
}

TEST(Server, AClientThatLeavesIsNoticedWhileAnEndlessAnswerRuns) {
  gone = cancelled = 0;
  Running server(handle);
  {
    const Fd socket = server.connect();
    say(socket, get("/endless"));
    EXPECT_TRUE(read_until(socket, "\r\n\r\n").starts_with("HTTP/1.1 200"));
    EXPECT_EQ(gone, 0);
  }
  for (int i = 0; i < 500 && gone == 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(gone, 1);
  const Fd half = server.connect();  // one that only says that it has nothing more to say
  say(half, get("/endless"));
  ::shutdown(half.get(), SHUT_WR);
  for (int i = 0; i < 500 && gone == 1; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(gone, 2);
}

TEST(Server, TheEndLetsOpenRequestsEndAndEndlessOnesNot) {
  gone = cancelled = 0;
  Running server(handle);
  const Fd idle = server.connect();
  say(idle, get("/"));
  EXPECT_TRUE(read_until(idle, "ok").ends_with("ok"));
  const Fd busy = server.connect();
  say(busy, get("/endless"));
  read_until(busy, "\r\n\r\n");
  const std::string path = server.socket_path();
  const auto before = std::chrono::steady_clock::now();
  server.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 3s);
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(read_until(idle, {}), "<end>");
  EXPECT_EQ(::access(path.c_str(), F_OK), -1);
}

TEST(Server, ASlowHeadHasADeadlineAndHoldsNobodyUp) {
  ServerLimits limits;
  limits.head_deadline = 1s;
  Running server(handle, limits);
  const Fd slow = server.connect();
  const auto before = std::chrono::steady_clock::now();
  std::thread drip([&] {
    for (const char c :
         std::string_view("GET / HTTP/1.1\r\nHost: hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh")) {
      say(slow, std::string_view(&c, 1));
      std::this_thread::sleep_for(50ms);
    }
  });
  EXPECT_TRUE(server.ask(get("/", close_after)).ends_with("ok<end>"));
  EXPECT_EQ(read_until(slow, {}).find("200"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - before, 2500ms);
  drip.join();
}

TEST(Server, AnIdleConnectionHasADeadline) {
  ServerLimits limits;
  limits.idle_deadline = 1s;
  Running server(handle, limits);
  EXPECT_EQ(read_until(server.connect(), {}), "<end>");
}

TEST(Server, AClientThatTakesNothingHasADeadline) {
  ServerLimits limits;
  limits.write_deadline = 1s;
  Running server(handle, limits);
  const Fd socket = server.connect();
  say(socket, get("/flood"));
  std::this_thread::sleep_for(1800ms);
  EXPECT_TRUE(server.ask(get("/", close_after)).ends_with("ok<end>"));
  const std::string got = read_until(socket, {});
  EXPECT_FALSE(got.ends_with("<timeout>"));
  EXPECT_LT(got.size(), size_t{8} << 20);
}

TEST(Server, MoreConnectionsThanAllowedAreToldSo) {
  ServerLimits limits;
  limits.connections_max = 3;
  Running server(handle, limits);
  std::vector<Fd> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(server.connect());
    say(held.back(), get("/"));
    read_until(held.back(), "ok");
  }
  const std::string refused = read_until(server.connect(), {});
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 503 ")) << refused;
  EXPECT_TRUE(refused.ends_with("<end>")) << refused;
  held.pop_back();
  std::string answer;
  for (int i = 0; i < 100 && !answer.starts_with("HTTP/1.1 200"); ++i) {
    std::this_thread::sleep_for(10ms);
    answer = server.ask(get("/", close_after));
  }
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
}

// The loop of the one server that runs, for handlers that need it.
Loop* only_loop = nullptr;

TEST(Server, AConnectionIsTakenOverWithWhatCameEarly) {
  Directory directory;
  const std::string path = directory.path() + "/s";
  std::thread client([&] {
    for (int i = 0; i < 2; ++i) {
      Result<Fd> socket = sys::connect_unix(path);
      for (int n = 0; !socket && n < 500; ++n) {
        std::this_thread::sleep_for(10ms);
        socket = sys::connect_unix(path);
      }
      ASSERT_TRUE(socket.has_value());
      say(*socket, cat("POST / HTTP/1.1\r\nHost: h\r\n",
                       i == 0 ? "Connection: Upgrade\r\nUpgrade: tcp\r\n" : "", "\r\nEARLY"));
      const std::string head = read_until(*socket, "early:EARLY\n");
      if (i == 0) {
        EXPECT_TRUE(head.starts_with("HTTP/1.1 101 UPGRADED\r\n")) << head;
        EXPECT_TRUE(head.contains("Connection: Upgrade\r\nUpgrade: tcp\r\n")) << head;
      } else {
        EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\n")) << head;
        EXPECT_FALSE(head.contains("Content-Length")) << head;
      }
      EXPECT_TRUE(head.contains("Content-Type: raw\r\n"));
      EXPECT_TRUE(head.ends_with("\r\n\r\nearly:EARLY\n")) << head;
      say(*socket, "late");
      EXPECT_EQ(read_until(*socket, {}), "late<end>");
    }
    only_loop = nullptr;
  });
  auto loop = Loop::open();
  ASSERT_TRUE(loop.has_value());
  only_loop = loop->get();
  Server server(**loop, [](Exchange& http) { return take_over(http, *only_loop); }, {});
  ASSERT_TRUE(server.listen_unix(path).has_value());
  const auto serve = [](Loop& on, Server& it, std::thread& until) -> Task<> {
    ring::Scope scope(on, [](const Error&) {});
    scope.start(it.serve(100ms));
    while (only_loop != nullptr) co_await ring::sleep_for(on, 20ms);
    until.join();
    scope.cancel();
    co_await scope.join();
  };
  EXPECT_TRUE((*loop)->run(serve(**loop, server, client)).has_value());
}

// Listening. -----------------------------------------------------------------------------------

Task<> no_answer(Exchange&) { co_return; }

TEST(Listening, AStaleSocketIsReplacedALiveOneIsNot) {
  Directory directory;
  const std::string path = directory.path() + "/s";
  auto loop = Loop::open();
  ASSERT_TRUE(loop.has_value());
  {
    Server first(**loop, no_answer, {});
    ASSERT_TRUE(first.listen_unix(path).has_value());
    Server second(**loop, no_answer, {});
    const auto refused = second.listen_unix(path);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind(), Kind::Conflict);
  }
  Server third(**loop, no_answer, {});
  const auto replaced = third.listen_unix(path);
  EXPECT_TRUE(replaced.has_value()) << replaced.error().message();
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0660u);
}

TEST(Listening, WhatIsNoSocketIsLeftAlone) {
  Directory directory;
  const std::string path = directory.path() + "/file";
  std::ofstream(path) << "precious";
  auto loop = Loop::open();
  Server server(**loop, no_answer, {});
  EXPECT_EQ(server.listen_unix(path).error().kind(), Kind::Conflict);
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  EXPECT_EQ(server.listen_unix("relative").error().kind(), Kind::Invalid);
  EXPECT_EQ(server.listen_unix(cat(directory.path(), '/', std::string(200, 'a'))).error().kind(),
            Kind::Invalid);
  EXPECT_EQ(server.listen_unix(directory.path() + "/s", "no-such-group").error().kind(),
            Kind::NotFound);
}

TEST(Listening, TcpWithoutCertificatesIsDenied) {
  auto loop = Loop::open();
  Server server(**loop, no_answer, {});
  for (const TlsFiles& files :
       {TlsFiles{}, TlsFiles{"/cert", "/key", ""}, TlsFiles{"", "/key", "/ca"}}) {
    const auto refused = server.listen_tcp("127.0.0.1:0", files);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind(), Kind::Denied);
    EXPECT_TRUE(refused.error().message().contains("TLS")) << refused.error().message();
  }
}

TEST(Listening, ASocketHandedOverServes) {
  Directory directory;
  const std::string path = directory.path() + "/handed";
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 10), 0);
  Fd* handed = &listener;
  {
    Running server(handle, {}, [handed](Server& it) { return it.listen_on(std::move(*handed)); });
    auto socket = sys::connect_unix(path);
    ASSERT_TRUE(socket.has_value());
    say(*socket, get("/", close_after));
    EXPECT_TRUE(read_until(*socket, {}).ends_with("ok<end>"));
  }
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);  // whoever made it removes it
}

// Endurance. -----------------------------------------------------------------------------------

size_t open_descriptors() {
  size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

size_t resident_kilobytes() {
  std::ifstream statm("/proc/self/statm");
  size_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * 4;
}

TEST(Endurance, TenThousandConnectionsLeaveNothingBehind) {
  Running server(handle);
  size_t descriptors = 0, kilobytes = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Fd socket = server.connect();
    ASSERT_TRUE(socket);
    switch (i % 4) {
      case 0: say(socket, get("/")); break;    // asks and leaves
      case 1: say(socket, "GET / HT"); break;  // leaves in the middle
      case 2: break;                           // says nothing
      case 3:                                  // stays for the answer
        say(socket, get("/stream", close_after));
        ASSERT_TRUE(read_until(socket, {}).ends_with("<end>"));
        break;
      default: break;
    }
    if (i == 1003) {
      descriptors = open_descriptors();
      kilobytes = resident_kilobytes();
    }
  }
  EXPECT_TRUE(server.ask(get("/", close_after)).ends_with("ok<end>"));
  size_t left = open_descriptors();
  for (int i = 0; i < 200 && left > descriptors + 2; ++i) {
    std::this_thread::sleep_for(10ms);
    left = open_descriptors();
  }
  EXPECT_LE(left, descriptors + 2);
  // Under ASan what is freed stays for a while.
  constexpr size_t slack_kilobytes = __has_feature(address_sanitizer) ? 300'000 : 2048;
  EXPECT_LE(resident_kilobytes(), kilobytes + slack_kilobytes);
}

}  // namespace
}  // namespace nacelle::http
