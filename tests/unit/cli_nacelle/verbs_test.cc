// What verbs ask of an engine and make of its answers. A scripted peer has the engine's place; what
// Docker's client asks in the same situation is tests/conform/nacelle_cli.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "peer.h"

namespace nacelle::cli {
namespace {

using namespace std::string_literals;
using Words = std::vector<std::string>;

std::string frame(char stream, std::string_view bytes) {
  std::string text{stream, 0, 0, 0, 0, 0, 0, static_cast<char>(bytes.size())};
  return text += bytes;
}

Words lines_of(const Ended& ended) {
  Words lines;
  for (const Asked& each : ended.asked) lines.push_back(each.method + " " + each.target);
  return lines;
}

// One container that writes and ends with `code`.
struct Script {
  int code = 0;
  std::string stream = frame(1, "out\n") + frame(2, "err\n");
  std::string type = "application/vnd.docker.multiplexed-stream";
  bool lacks_image = false;
  std::string start_complaint;

  Answer operator()(const Asked& asked) {
    const std::string& target = asked.target;
    if (target.starts_with("/containers/create")) {
      if (lacks_image) {
        lacks_image = false;
        return {.status = 404, .body = R"({"message":"No such image: busybox:latest"})"};
      }
      return {.status = 201, .body = R"({"Id":"c1","Warnings":["careful"]})"};
    }
    if (target.starts_with("/images/create")) {
      return {
          .body =
              "{\"status\":\"Pulling from library/busybox\",\"id\":\"latest\"}\n"
              "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":2},\"id\":"
              "\"aaa\"}\n{\"status\":\"Status: Downloaded newer image\"}\n"};
    }
    if (target.contains("/attach"))
      return {.status = 101, .type = type, .stream = stream, .after_requests = 4};
    if (target.contains("/wait")) {
      return {.body = "{\"StatusCode\":" + std::to_string(code) + "}", .after_requests = 4};
    }
    if (target.contains("/start") && !start_complaint.empty()) {
      return {.status = 500, .body = "{\"message\":\"" + start_complaint + "\"}"};
    }
    if (target.contains("/start")) return {.status = 204};
    return {.status = 404, .body = R"({"message":"No such container: nobody"})"};
  }
};

TEST(Run, attaches_and_waits_before_it_starts) {
  const Ended ended = run_client({"run", "busybox", "true"}, Script{.code = 7});
  EXPECT_EQ(
      lines_of(ended),
      (Words{"POST /containers/create", "POST /containers/c1/attach?stream=1&stdout=1&stderr=1",
             "POST /containers/c1/wait?condition=next-exit", "POST /containers/c1/start"}));
  EXPECT_EQ(ended.exit_code, 7);
  EXPECT_EQ(ended.out, "out\n");
  EXPECT_EQ(ended.err, "WARNING: careful\nerr\n");
}

TEST(Run, of_a_container_that_goes_waits_until_it_has_gone) {
  const Ended ended = run_client({"run", "--rm", "-i", "busybox"}, Script{}, "input");
  ASSERT_EQ(ended.asked.size(), 4u);
  EXPECT_EQ(ended.asked[1].target, "/containers/c1/attach?stream=1&stdin=1&stdout=1&stderr=1");
  EXPECT_EQ(ended.asked[2].target, "/containers/c1/wait?condition=removed");
  EXPECT_EQ(ended.exit_code, 0);
}

TEST(Run, with_a_terminal_takes_the_stream_as_it_is) {
  const Ended ended =
      run_client({"run", "-t", "busybox"},
                 Script{.stream = "raw\r\n", .type = "application/vnd.docker.raw-stream"});
  EXPECT_EQ(ended.out, "raw\r\n");
  EXPECT_EQ(ended.exit_code, 0);
}

TEST(Run, in_the_background_prints_the_id) {
  const Ended ended = run_client({"run", "-d", "--name", "web", "busybox"}, Script{});
  EXPECT_EQ(lines_of(ended),
            (Words{"POST /containers/create?name=web", "POST /containers/c1/start"}));
  EXPECT_EQ(ended.out, "c1\n");
}

TEST(Run, pulls_what_is_missing_and_creates_again) {
  const Ended ended = run_client({"run", "-d", "busybox"}, Script{.lacks_image = true});
  EXPECT_EQ(lines_of(ended),
            (Words{"POST /containers/create", "POST /images/create?fromImage=busybox&tag=latest",
                   "POST /containers/create", "POST /containers/c1/start"}));
  EXPECT_EQ(ended.out, "c1\n");
  EXPECT_NE(ended.err.find("Unable to find image 'busybox:latest' locally"), std::string::npos);
  const Ended never =
      run_client({"run", "--pull", "never", "busybox"}, Script{.lacks_image = true});
  EXPECT_EQ(never.exit_code, 125);
  EXPECT_EQ(never.asked.size(), 1u);
}

TEST(Run, ends_with_125_to_127_where_there_was_no_program) {
  const struct {
    const char* complaint;
    int code;
  } cases[] = {{"exec: no-such: executable file not found in $PATH", 127},
               {"exec /x: permission denied", 126},
               {"cannot make the cgroup", 125}};
  for (const auto& [complaint, code] : cases) {
    const Ended ended = run_client({"run", "busybox", "x"}, Script{.start_complaint = complaint});
    EXPECT_EQ(ended.exit_code, code) << complaint;
    EXPECT_NE(ended.err.find(complaint), std::string::npos);
  }
  EXPECT_EQ(run_client({"run", "--nonsense"}, Script{}).exit_code, 125);
  EXPECT_EQ(run_client({"run"}, Script{}).exit_code, 125);
}

// Goal: what the timeline shows is what the engine measured, and no answer of an engine makes a
// container that runs look like one that does not.
TEST(Run, shows_the_phases_the_engine_told) {
  const auto traced = [](const std::string& headers) {
    return run_client({"run", "-d", "--trace", "busybox"}, [&](const Asked& asked) -> Answer {
      if (asked.target.contains("/create")) return {.status = 201, .body = R"({"Id":"c1"})"};
      return {.status = 204, .headers = headers};
    });
  };
  const Ended ended = traced("X-Nacelle-Phases: root=100000,mounts=350000,new-one=400499\r\n");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_NE(ended.asked[1].headers.find("X-Nacelle-Trace: 1"), std::string::npos)
      << ended.asked[1].headers;
  EXPECT_EQ(ended.err,
            "the start, in microseconds since the engine was asked:\n"
            "  root            100  |######                    |  mount the image's layers\n"
            "  mounts          250  |      ################    |  mount everything\n"
            "  new-one          50  |                      ####|\n"
            "  sum             400\n");
  for (const char* headers : {"", "X-Nacelle-Phases: \r\n", "X-Nacelle-Phases: root=x\r\n"}) {
    const Ended odd = traced(headers);
    EXPECT_EQ(odd.exit_code, 0) << headers;
    EXPECT_EQ(odd.out, "c1\n") << headers;
    EXPECT_NE(odd.err.find("phases of the start"), std::string::npos) << odd.err;
  }
}

TEST(Exec, ends_as_the_command_did) {
  const Ended ended =
      run_client({"exec", "-e", "A=b", "web", "sh", "-c", "x"}, [](const Asked& asked) -> Answer {
        if (asked.target == "/containers/web/exec")
          return {.status = 201, .body = R"({"Id":"e1"})"};
        if (asked.target == "/exec/e1/start") {
          return {.status = 101,
                  .type = "application/vnd.docker.multiplexed-stream",
                  .stream = frame(1, "hi")};
        }
        return {.body = R"({"ExitCode":42,"Running":false})"};
      });
  EXPECT_EQ(ended.exit_code, 42);
  EXPECT_EQ(ended.out, "hi");
  ASSERT_EQ(ended.asked.size(), 3u);
  EXPECT_NE(ended.asked[0].body.find(R"("Cmd":["sh","-c","x"])"), std::string::npos);
  EXPECT_EQ(ended.asked[1].body, R"({"Detach":false,"Tty":false})");
}

TEST(Verbs, go_on_after_a_failure_and_end_with_1) {
  const Ended ended = run_client({"rm", "-f", "a", "b"}, [](const Asked& asked) -> Answer {
    if (asked.target.starts_with("/containers/a")) {
      return {.status = 404, .body = R"({"message":"No such container: a"})"};
    }
    return {.status = 204};
  });
  EXPECT_EQ(lines_of(ended),
            (Words{"DELETE /containers/a?force=1", "DELETE /containers/b?force=1"}));
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_EQ(ended.out, "b\n");
  EXPECT_EQ(ended.err, "nacelle: No such container: a\n");
}

TEST(Ps, shows_what_docker_shows) {
  const Ended ended = run_client({"ps"}, [](const Asked&) -> Answer {
    return {.body = R"([{"Id":"0123456789abcdef","Names":["/web","/other/link"],"Image":"busybox",
      "Command":"sleep a very long time indeed","Created":1,"State":"running","Status":"Up 2 hours",
      "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
               {"IP":"0.0.0.0","PrivatePort":90,"PublicPort":90,"Type":"tcp"},
               {"IP":"0.0.0.0","PrivatePort":91,"PublicPort":91,"Type":"tcp"},
               {"PrivatePort":53,"Type":"udp"}]}])"};
  });
  EXPECT_NE(ended.out.find("CONTAINER ID   IMAGE     COMMAND"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find("0123456789ab   busybox   \"sleep a very long t…\""), std::string::npos)
      << ended.out;
  EXPECT_NE(ended.out.find("53/udp, 0.0.0.0:90-91->90-91/tcp, 0.0.0.0:8080->80/tcp   web\n"),
            std::string::npos)
      << ended.out;
}

TEST(Logs, both_streams_go_where_they_belong) {
  const Ended ended = run_client({"logs", "--tail", "5", "web"}, [](const Asked& asked) -> Answer {
    if (asked.target.ends_with("/json")) return {.body = R"({"Id":"c1","Config":{"Tty":false}})"};
    return {.body = frame(1, "one\n") + frame(2, "two\n"), .type = "application/octet-stream"};
  });
  EXPECT_EQ(ended.out, "one\n");
  EXPECT_EQ(ended.err, "two\n");
  EXPECT_EQ(ended.asked[1].target, "/containers/c1/logs?stdout=1&stderr=1&tail=5");
}

TEST(Inspect, templates_and_kinds) {
  const auto engine = [](const Asked& asked) -> Answer {
    if (asked.target.starts_with("/volumes/data"))
      return {.body = R"({"Name":"data","Driver":"local"})"};
    return {.status = 404, .body = R"({"message":"not here"})"};
  };
  EXPECT_EQ(run_client({"inspect", "-f", "{{.Name}} {{upper .Driver}}", "data"}, engine).out,
            "data LOCAL\n");
  const Ended none = run_client({"inspect", "nobody"}, engine);
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_EQ(none.out, "[]\n");
  EXPECT_NE(none.err.find("no such object: nobody"), std::string::npos);
}

TEST(Events, a_line_each) {
  const Ended ended = run_client({"events", "--until", "1"}, [](const Asked&) -> Answer {
    return {
        .body =
            R"({"Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":{"name":"web","image":"b"}},)"
            R"("timeNano":1700000000123456789})"
            "\n"};
  });
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out,
            "2023-11-14T22:13:20.123456789+00:00 container start c1 (image=b, name=web)\n");
}

TEST(Client, tells_when_nobody_answers) {
  const Ended ended =
      run_client({"-H", "unix:///nowhere/at/all", "ps"}, [](const Asked&) { return Answer{}; });
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(
      ended.err.find("cannot connect to the engine at unix:///nowhere/at/all. Is it running?"),
      std::string::npos)
      << ended.err;
}

TEST(Client, completes_words_from_its_own_tables) {
  const auto nobody = [](const Asked&) { return Answer{}; };
  EXPECT_NE(run_client({"__complete", "ru"}, nobody).out.find("run\t"), std::string::npos);
  EXPECT_NE(run_client({"__complete", "volume", "cr"}, nobody).out.find("create\t"),
            std::string::npos);
  EXPECT_NE(run_client({"__complete", "run", "--memory-s"}, nobody).out.find("--memory-swap\t"),
            std::string::npos);
  EXPECT_EQ(run_client({"completion", "tcsh"}, nobody).exit_code, 1);
  EXPECT_NE(run_client({"completion", "bash"}, nobody).out.find("-F _nacelle nacelle"),
            std::string::npos);
}

}  // namespace
}  // namespace nacelle::cli
