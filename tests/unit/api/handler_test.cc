// Goal: what is answered before any room of the engine is asked. Method: the whole handler, with an
// Exchange that keeps what was said, and an engine without rooms.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <span>

#include "api/api.h"
#include "api/build_control.h"
#include "api/route.h"
#include "codec/json.h"
#include "engine/engine.h"

namespace nacelle::api {
namespace {

class Said final : public http::Exchange {
 public:
  http::RequestHead head;
  http::Peer who;
  std::string sent_body;  // of the request

  int status = 0;
  std::string content_type, content;

  const http::RequestHead& request() const override { return head; }
  const http::Peer& peer() const override { return who; }
  ring::Task<std::string> body(size_t) override { co_return sent_body; }
  ring::Task<size_t> read_body(std::span<char>) override { co_return 0; }
  ring::Task<> reply(int status_in, std::string_view type, std::string_view text,
                     http::Headers) override {
    EXPECT_EQ(status, 0) << "two answers";
    status = status_in;
    content_type = type;
    content = text;
    co_return;
  }
  ring::Task<> begin(int status_in, std::string_view, http::Headers,
                     std::optional<uint64_t>) override {
    status = status_in;
    co_return;
  }
  ring::Task<> write(std::string_view) override { co_return; }
  ring::Task<> end() override { co_return; }
  bool begun() const override { return status != 0; }
  ring::Task<http::Hijacked> hijack(bool, std::string_view) override {
    co_await fail(Kind::Internal, "not here");
    co_return http::Hijacked();
  }
  ring::Task<> client_gone() override { co_return; }
};

struct Sent {
  std::string method, path, body = {}, content_type = {};
  std::vector<std::pair<std::string, std::string>> query = {};
};

class HandlerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Said> ask(const Sent& sent) {
    auto said = std::make_unique<Said>();
    said->head.method = sent.method;
    said->head.path = sent.path;
    said->head.query = sent.query;
    said->head.content_length = sent.body.size();
    if (!sent.content_type.empty()) said->head.headers = {{"content-type", sent.content_type}};
    said->sent_body = sent.body;
    const Result<> done = loop_->run(handler_(*said));
    EXPECT_TRUE(done) << sent.path;
    return said;
  }
  std::unique_ptr<ring::Loop> loop_ = *ring::Loop::open();
  engine::Engine engine_{*loop_};
  http::Handler handler_ = make_handler(engine_);
};

TEST_F(HandlerTest, pages_that_are_not_there) {
  for (const Sent& sent :
       {Sent{"GET", "/nope"}, Sent{"POST", "/v1.51/containers/json"}, Sent{"DELETE", "/_ping"},
        Sent{"PATCH", "/info"}, Sent{"HEAD", "/containers/json"}, Sent{"GET", "/v1.51"},
        Sent{"GET", "/v1.51/"}, Sent{"GET", "/v1.23/nope"}, Sent{"GET", "/vx/info"},
        Sent{"GET", "/containers/json/"}, Sent{"GET", "/"}}) {
    const auto said = ask(sent);
    EXPECT_EQ(said->status, 404) << sent.method << ' ' << sent.path;
    EXPECT_EQ(said->content, "{\"message\":\"page not found\"}\n");
    EXPECT_EQ(said->content_type, "application/json");
  }
  EXPECT_EQ(ask({"OPTIONS", "/info"})->status, 200);
}

TEST_F(HandlerTest, versions_we_do_not_speak) {
  const auto old = ask({"GET", "/v1.23/containers/json"});
  EXPECT_EQ(old->status, 400);
  EXPECT_EQ(old->content_type, "text/plain; charset=utf-8");
  EXPECT_EQ(old->content,
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade "
            "your client to a newer version\n");
  const auto young = ask({"GET", "/v1.52/containers/json"});
  EXPECT_EQ(young->status, 400);
  EXPECT_EQ(young->content,
            "{\"message\":\"client version 1.52 is too new. Maximum supported API version is "
            "1.51\"}\n");
}

TEST_F(HandlerTest, what_is_wrong_in_itself_asks_nobody) {
  struct Case {
    Sent sent;
    int status;
    const char* message;
  };
  const std::string json = "application/json";
  const Case cases[] = {
      {{"POST", "/containers/create", "", json},
       400,
       "invalid JSON: got EOF while reading request body"},
      {{"POST", "/containers/create", "null", json},
       400,
       "config cannot be empty in order to create a container"},
      {{"POST", "/containers/create", "{\"Image\":\"a\"}", ""},
       400,
       "malformed Content-Type header (): mime: no media type"},
      {{"POST", "/containers/create", "{\"Image\":\"a\"}", "text/plain"},
       400,
       "unsupported Content-Type header (text/plain): must be 'application/json'"},
      {{"POST", "/containers/create", "{\"Image\":\"a\"}", json, {{"platform", "a/b/c/d"}}},
       400,
       "\"a/b/c/d\": cannot parse platform specifier: invalid argument"},
      {{"POST", "/containers/x/start", "{\"HostConfig\":{}}", json},
       400,
       "starting container with non-empty request body was deprecated since API v1.22 and removed "
       "in v1.24"},
      {{"POST", "/containers/x/start", "", "", {{"checkpoint", "c"}}},
       400,
       "checkpoint is only supported in experimental mode"},
      {{"POST", "/containers/x/stop", "", "", {{"t", "abc"}}},
       400,
       "strconv.Atoi: parsing \"abc\": invalid syntax"},
      {{"POST", "/containers/x/restart", "", "", {{"t", "1s"}}},
       400,
       "strconv.Atoi: parsing \"1s\": invalid syntax"},
      {{"POST", "/containers/x/rename"}, 400, "Neither old nor new names may be empty"},
      {{"POST", "/containers/x/wait", "", "", {{"condition", "bogus"}}},
       400,
       "invalid condition: \"bogus\""},
      {{"POST", "/containers/x/resize", "", "", {{"h", "x"}, {"w", "1"}}},
       400,
       "invalid resize height \"x\": invalid syntax"},
      {{"POST", "/containers/x/update", "{\"Memory\":\"x\"}", json},
       400,
       "invalid JSON: Memory: expected an integer"},
      {{"POST", "/containers/prune", "", "", {{"filters", "x"}}}, 400, "invalid filter"},
      {{"GET", "/containers/json", "", "", {{"filters", "{\"x\":[]}"}}}, 400, "invalid filter 'x'"},
      {{"GET", "/containers/json", "", "", {{"limit", "x"}}},
       400,
       "strconv.Atoi: parsing \"x\": invalid syntax"},
      {{"GET", "/containers/x/logs"}, 400, "Bad parameters: you must choose at least one stream"},
      {{"GET", "/containers/x/logs", "", "", {{"stdout", "1"}, {"since", "x"}}},
       400,
       "failed to parse value as time or duration: \"x\""},
      {{"GET", "/containers/x/stats", "", "", {{"one-shot", "1"}}},
       400,
       "cannot have stream=true and one-shot=true"},
      {{"GET", "/containers/x/archive"}, 400, "bad parameter: path cannot be empty"},
      {{"PUT", "/containers/x/archive"}, 400, "bad parameter: path cannot be empty"},
      {{"POST", "/containers/x/exec", "{}", json}, 400, "No exec command specified"},
      {{"POST", "/exec/x/start", "[]", json}, 400, "invalid JSON: expected an object"},
      {{"GET", "/containers/x/checkpoints"},
       501,
       "This experimental feature is disabled by default. Start the Docker daemon in experimental "
       "mode in order to enable it."},
  };
  for (const Case& each : cases) {
    const auto said = ask(each.sent);
    EXPECT_EQ(said->status, each.status) << each.sent.path;
    const auto document = codec::json::Document::parse(said->content);
    ASSERT_TRUE(document) << said->content;
    std::string message;
    ASSERT_TRUE(document->root().object()->need("message", message));
    EXPECT_EQ(message, each.message) << each.sent.path;
  }
}

TEST_F(HandlerTest, flags_are_read_as_docker_reads_them) {
  Said said;
  BuildControl builds(engine_);
  Call call{engine_, builds, said, 51, {}};
  for (const char* no : {"", "0", "no", "false", "none", "False", "NONE", " 0 "}) {
    said.head.query = {{"x", no}};
    EXPECT_FALSE(call.flag("x")) << no;
  }
  for (const char* yes : {"1", "true", "yes", "2", "x", "-1", "null"}) {
    said.head.query = {{"x", yes}};
    EXPECT_TRUE(call.flag("x")) << yes;
  }
  EXPECT_FALSE(call.flag("y"));
  EXPECT_TRUE(call.flag("y", true));
  EXPECT_TRUE(call.has("x"));
  EXPECT_FALSE(call.has("X"));
}

}  // namespace
}  // namespace nacelle::api
