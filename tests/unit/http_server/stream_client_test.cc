// The blocking client, against our server and against servers that misbehave; and TLS, with
// certificates made here.
#include "http/stream_client.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>
#include <optional>

#include "tests/unit/http_server/tools.h"

namespace nacelle::http {
namespace {

using namespace test;
using Call = StreamClient::Call;

Task<> serve_echo(Exchange& http) {
  co_await http.begin(200, "text/plain", {{"X-Peer", http.peer().name}});
  char buffer[4096];
  for (;;) {
    const size_t count = co_await http.read_body(buffer);
    if (count == 0) break;
    co_await http.write(std::string_view(buffer, count));
  }
  co_await http.end();
}

Task<> serve(Exchange& http) {
  const std::string& path = http.request().path;
  if (path == "/echo") return serve_echo(http);
  return [](Exchange& it) -> Task<> {
    const std::string& wanted = it.request().path;
    if (wanted == "/refused") co_return co_await it.reply(404, "application/json", "{}");
    if (wanted == "/who") co_return co_await it.reply(200, "text/plain", it.peer().name);
    if (wanted == "/large") {
      co_return co_await it.reply(200, "text/plain", std::string(3'000'000, 'L'));
    }
    const std::string body = co_await it.body(1 << 20);
    co_await it.reply(200, "text/plain", cat(it.request().method, ' ', wanted, ' ', body));
  }(http);
}

StreamClient connect(const Running& server) {
  auto client = StreamClient::connect(cat("unix://", server.socket_path()));
  EXPECT_TRUE(client.has_value()) << client.error().message();
  return *std::move(client);
}

TEST(StreamClient, CallsOneAfterTheOtherOnOneConnection) {
  Running server(serve);
  StreamClient client = connect(server);
  const int descriptor = client.descriptor();
  for (int i = 0; i < 100; ++i) {
    Call call{.method = i % 2 == 0 ? "GET" : "POST", .target = "/x?y=1"};
    if (i % 2 == 1) call.body = "b";
    const auto head = client.call(call);
    ASSERT_TRUE(head.has_value()) << head.error().message();
    EXPECT_EQ(head->status, 200);
    EXPECT_EQ(client.read_all(100).value_or("?"), i % 2 == 0 ? "GET /x " : "POST /x b");
    EXPECT_EQ(client.descriptor(), descriptor);
  }
}

TEST(StreamClient, AHeadAnswerHasNoBody) {
  Running server(serve);
  StreamClient client = connect(server);
  const auto head = client.call({.method = "HEAD", .target = "/large"});
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->content_length, 3'000'000u);
  EXPECT_TRUE(client.ready());
  EXPECT_EQ(client.read_all(10).value_or("?"), "");
}

TEST(StreamClient, AnAnswerLeftUnreadIsNotTheNextOne) {
  Running server(serve);
  StreamClient client = connect(server);
  ASSERT_TRUE(client.call({.method = "GET", .target = "/large"}).has_value());
  ASSERT_TRUE(client.call({.method = "GET", .target = "/b"}).has_value());
  EXPECT_EQ(client.read_all(100).value_or("?"), "GET /b ");
}

TEST(StreamClient, TooLongAnAnswerIsAnError) {
  Running server(serve);
  StreamClient client = connect(server);
  ASSERT_TRUE(client.call({.method = "GET", .target = "/large"}).has_value());
  EXPECT_EQ(client.read_all(1000).error().kind(), Kind::Exhausted);
}

TEST(StreamClient, StreamsABodyOfUnknownLength) {
  Running server(serve);
  StreamClient client = connect(server);
  int left = 100;
  std::string sent;
  Call call{.method = "POST", .target = "/echo"};
  call.body_source = [&](std::span<char> into) -> Result<size_t> {
    if (left-- == 0) return 0;
    const size_t count = std::min<size_t>(into.size(), 5000);
    std::fill_n(into.begin(), count, static_cast<char>('a' + left % 26));
    sent.append(into.data(), count);
    return count;
  };
  // The server answers as it reads: much of the answer comes before the last of the body is sent.
  ASSERT_TRUE(client.call(call).has_value());
  EXPECT_EQ(client.read_all(10'000'000).value_or("?"), sent);
  EXPECT_EQ(sent.size(), 500'000u);
  EXPECT_TRUE(client.call({.method = "GET", .target = "/next"}).has_value());
}

TEST(StreamClient, AnErrorOfTheSourceIsTheCallersAnswer) {
  Running server(serve);
  StreamClient client = connect(server);
  Call call{.method = "POST", .target = "/x"};
  call.body_source = [](std::span<char>) -> Result<size_t> {
    return fail(Kind::Denied, "the file is gone");
  };
  const auto head = client.call(call);
  ASSERT_FALSE(head.has_value());
  EXPECT_EQ(head.error().message(), "the file is gone");
  EXPECT_TRUE(client.call({.method = "GET", .target = "/y"}).has_value());  // on a new connection
}

TEST(StreamClient, ARefusalEndsAnEndlessBody) {
  Running server(serve);
  StreamClient client = connect(server);
  Call call{.method = "POST", .target = "/refused"};
  call.body_source = [](std::span<char> into) -> Result<size_t> { return into.size(); };
  const auto head = client.call(call);
  ASSERT_TRUE(head.has_value()) << head.error().message();
  EXPECT_EQ(head->status, 404);
  EXPECT_EQ(client.read_all(100).value_or("?"), "{}");
}

TEST(StreamClient, HeadersCannotHoldOthers) {
  Running server(serve);
  StreamClient client = connect(server);
  const auto head = client.call({.method = "GET", .target = "/", .headers = {{"X", "a\r\nY: b"}}});
  EXPECT_EQ(head.error().kind(), Kind::Invalid);
}

TEST(StreamClient, HostsItCannotSpeakToAreErrors) {
  EXPECT_EQ(StreamClient::connect("unix://").error().kind(), Kind::Invalid);
  EXPECT_EQ(StreamClient::connect("http://x").error().kind(), Kind::Invalid);
  EXPECT_EQ(StreamClient::connect("tcp://host").error().kind(), Kind::Invalid);
  EXPECT_EQ(StreamClient::connect("tcp://127.0.0.1:1").error().kind(), Kind::Denied);
  EXPECT_EQ(StreamClient::connect("unix:///nowhere/at/all").error().kind(), Kind::NotFound);
}

// A server that says these bytes to each connection, and then closes.
class Saying {
 public:
  explicit Saying(std::vector<std::string> answers) : path_(directory_.path() + "/s") {
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 10), 0);
    thread_ = std::thread([this, answers = std::move(answers)] {
      for (const std::string& answer : answers) {
        const Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        (void)read_until(client, "\r\n\r\n");
        say(client, answer);
      }
    });
  }
  ~Saying() { thread_.join(); }
  StreamClient client() const { return *StreamClient::connect(cat("unix://", path_)); }

 private:
  Directory directory_;
  std::string path_;
  Fd listener_;
  std::thread thread_;
};

TEST(StreamClient, AnswersThatAreCutAreErrors) {
  for (const char* answer :
       {"", "HTTP/1.1 200 OK\r\nConten", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n", "SSH-2.0-x\r\n"}) {
    const Saying server({answer});
    StreamClient client = server.client();
    const auto head = client.call({.method = "POST", .target = "/"});
    EXPECT_FALSE(head.has_value() && client.read_all(100).has_value()) << answer;
  }
}

TEST(StreamClient, AnAnswerUntilTheEndAndInterimOnes) {
  const Saying server({"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nall of it"});
  StreamClient client = server.client();
  const auto head = client.call({.method = "GET", .target = "/"});
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(client.read_all(100).value_or("?"), "all of it");
}

TEST(StreamClient, AnIdleConnectionThatWasClosedIsMadeAgain) {
  const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  const Saying server({answer, answer});
  StreamClient client = server.client();
  for (int i = 0; i < 2; ++i) {
    const auto head = client.call({.method = "POST", .target = "/"});
    ASSERT_TRUE(head.has_value()) << head.error().message();
    EXPECT_EQ(client.read_all(10).value_or("?"), "ok");
    ::usleep(50'000);
  }
}

TEST(StreamClient, TakesAConnectionOverWithWhatCameEarly) {
  const Saying server(
      {"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly"});
  StreamClient client = server.client();
  const auto head = client.call({.method = "POST", .target = "/", .upgrade = "tcp"});
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->status, 101);
  auto taken = client.take_over();
  EXPECT_EQ(taken.early_bytes + read_until(taken.socket, {}), "early<end>");
}

// TLS. -----------------------------------------------------------------------------------------

// Certificates of one authority, and one of another, made by openssl(1).
struct Certificates {
  Directory directory;
  bool made = false;

  std::string file(std::string_view name) const { return cat(directory.path(), '/', name); }
  StreamTls client(std::string_view name = "client") const {
    return {file(cat(name, ".pem")), file(cat(name, ".key")), file("ca.pem")};
  }
  TlsFiles server() const { return {file("server.pem"), file("server.key"), file("ca.pem")}; }

  Certificates() {
    std::ofstream(file("make.sh")) << R"sh(set -e
cd "$(dirname "$0")"
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
    -keyout $1.key -out $1.pem
}
certificate() {  # NAME AUTHORITY EXTENSIONS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout $1.key -out $1.csr
  echo "$3" >$1.ext
  openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem
}
authority ca
authority other
certificate server ca "subjectAltName=IP:127.0.0.1,DNS:localhost"
certificate client ca "extendedKeyUsage=clientAuth"
certificate stranger other "extendedKeyUsage=clientAuth"
certificate wrongname ca "subjectAltName=IP:127.0.0.2"
)sh";
    made = std::system(cat("sh '", file("make.sh"), "' >/dev/null 2>&1").c_str()) == 0;
  }
};

// In a network of its own; the test is skipped where there can be none.
bool enter_private_network() {
  if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

class Tls : public ::testing::Test {
 protected:
  static constexpr const char* address = "127.0.0.1:2376";
  static constexpr const char* host = "tcp://127.0.0.1:2376";

  void SetUp() override {
    // The server's thread is made after this, and is in the same network.
    if (!enter_private_network()) GTEST_SKIP() << "no network namespace of its own";
    ASSERT_TRUE(certificates.made) << "openssl could not make certificates";
    server.emplace(serve, ServerLimits{},
                   [this](Server& it) { return it.listen_tcp(address, certificates.server()); });
  }
  Certificates certificates;
  std::optional<Running> server;
};

TEST_F(Tls, ServesWhoShowsACertificateAndKnowsItsName) {
  auto client = StreamClient::connect(host, certificates.client());
  ASSERT_TRUE(client.has_value()) << client.error().message();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(client->call({.method = "GET", .target = "/who"}).has_value());
    EXPECT_EQ(client->read_all(100).value_or("?"), "client");
  }
  ASSERT_TRUE(client->call({.method = "GET", .target = "/large"}).has_value());
  EXPECT_EQ(client->read_all(4'000'000).value_or("").size(), 3'000'000u);
  const std::string body(500'000, 'b');
  ASSERT_TRUE(client->call({.method = "POST", .target = "/b", .body = body}).has_value());
  EXPECT_EQ(client->read_all(1'000'000).value_or("").size(), body.size() + 8);
}

TEST_F(Tls, RefusesWhoShowsNoneOrAStrangersOrSpeaksPlainly) {
  // Under TLS 1.3 a client learns of it when it reads.
  const auto refused = [&](const StreamTls& tls) {
    auto client = StreamClient::connect(host, tls);
    return !client || !client->call({.method = "GET", .target = "/who"});
  };
  EXPECT_TRUE(refused(certificates.client("stranger")));
  EXPECT_FALSE(refused(certificates.client()));
  const std::string by_curl =
      cat("curl -s -m 5 --cacert ", certificates.file("ca.pem"), " https://", address, "/who");
  EXPECT_NE(std::system(cat(by_curl, " >/dev/null").c_str()), 0);
  const std::string old =
      cat("openssl s_client -connect ", address, " -tls1_1 -cert ", certificates.file("client.pem"),
          " -key ", certificates.file("client.key"), " </dev/null >/dev/null 2>&1");
  EXPECT_NE(std::system(old.c_str()), 0);
  Fd plain(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{.sin_family = AF_INET, .sin_port = htons(2376)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(plain.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  say(plain, "GET /who HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_FALSE(read_until(plain, {}).contains("HTTP/1.1 200"));
}

TEST_F(Tls, ManyWhoComeAndGoHoldNobodyUp) {
  std::vector<Fd> mute;
  for (int i = 0; i < 50; ++i) {
    mute.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{.sin_family = AF_INET, .sin_port = htons(2376)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(mute.back().get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    if (i % 2 == 0) say(mute.back(), "\x16\x03\x01");
  }
  auto client = StreamClient::connect(host, certificates.client());
  ASSERT_TRUE(client.has_value()) << client.error().message();
  EXPECT_TRUE(client->call({.method = "GET", .target = "/who"}).has_value());
}

TEST_F(Tls, AClientWantsTheServersName) {
  server.reset();
  server.emplace(serve, ServerLimits{}, [this](Server& it) {
    return it.listen_tcp(address,
                         {certificates.file("wrongname.pem"), certificates.file("wrongname.key"),
                          certificates.file("ca.pem")});
  });
  const auto client = StreamClient::connect(host, certificates.client());
  ASSERT_FALSE(client.has_value());
  EXPECT_EQ(client.error().kind(), Kind::Denied) << client.error().message();
}

TEST(TlsFilesTest, FilesThatAreMissingOrDoNotFitAreErrors) {
  const Certificates certificates;
  ASSERT_TRUE(certificates.made);
  auto loop = Loop::open();
  Server server(**loop, serve, {});
  const auto refused = [&](TlsFiles files) {
    const auto result = server.listen_tcp("127.0.0.1:0", files);
    return !result && result.error().kind() == Kind::Invalid;
  };
  TlsFiles files = certificates.server();
  EXPECT_TRUE(refused({"/none", files.key, files.authority}));
  EXPECT_TRUE(refused({files.certificate, "/none", files.authority}));
  EXPECT_TRUE(refused({files.certificate, files.key, "/none"}));
  EXPECT_TRUE(refused({files.certificate, certificates.file("client.key"), files.authority}));
  EXPECT_TRUE(refused({certificates.file("make.sh"), files.key, files.authority}));
}

}  // namespace
}  // namespace nacelle::http
