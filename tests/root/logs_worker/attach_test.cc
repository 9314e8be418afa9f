#include <sys/socket.h>

#include "base/text.h"
#include "sys/file.h"
#include "tests/root/logs_worker/stub_core.h"

namespace nacelle::logs {
namespace {

AttachClient viewer(const std::string& key, bool multiplexed = true) {
  return {.key = key, .wants_stdout = true, .wants_stderr = true, .multiplexed = multiplexed};
}
AttachClient talker(const std::string& key) {
  AttachClient how = viewer(key, false);
  how.wants_stdin = true;
  return how;
}
Options no_log() {
  Options options;
  options.driver = Driver::None;
  return options;
}

// A client's bytes as what came on each stream.
std::pair<std::string, std::string> unframed(std::string_view bytes) {
  std::string out, err;
  while (bytes.size() >= 8) {
    uint32_t size = 0;
    for (size_t each = 4; each < 8; ++each) size = size << 8 | static_cast<uint8_t>(bytes[each]);
    (bytes[0] == 2 ? err : out) += bytes.substr(8, size);
    bytes.remove_prefix(std::min<size_t>(bytes.size(), 8 + size));
  }
  EXPECT_TRUE(bytes.empty());
  return {out, err};
}

TEST(Attach, a_client_gets_both_streams_in_frames_and_the_end) {
  StubCore core;
  Streams& web = core.add({.key = "framed"});
  const Fd client = core.attach(viewer("framed"));
  write_text(web.stdout_write, "out\n");
  write_text(web.stderr_write, "err\n");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("framed");
  const auto [out, err] = unframed(read_until_end(client));
  EXPECT_EQ(out, "out\n");
  EXPECT_EQ(err, "err\n");
  EXPECT_TRUE(core.hear_of<Drained>());
  EXPECT_EQ(entries_of("/tmp/framed/container.log").size(), 2u);
}

TEST(Attach, a_client_that_reads_slowly_gets_everything_and_holds_up_no_other_container) {
  StubCore core;
  Streams& slow = core.add({.key = "slow", .options = no_log()});
  Streams& other = core.add({.key = "other"});
  const Fd client = core.attach(viewer("slow"));
  std::string all;
  for (int index = 0; index < 100'000; ++index) all += cat("line ", index, " of many\n");
  const pid_t writer = ::fork();
  if (writer == 0) {
    const auto written = sys::write_all(slow.stdout_write, all, "a flood");
    ::_exit(written ? 0 : 1);
  }
  slow.stdout_write = Fd();
  slow.stderr_write = Fd();
  write_text(other.stdout_write, "not held up\n");
  EXPECT_TRUE(eventually([] { return text_of("/tmp/other/container.log") == "not held up\n"; }));
  core.end("slow", 10'000);
  ::usleep(100'000);
  const auto [out, err] = unframed(read_until_end(client));
  EXPECT_TRUE(out == all);
  EXPECT_TRUE(core.hear_of<Drained>());
}

TEST(Attach, input_arrives_and_its_end_ends_standard_input_where_that_is_wanted) {
  StubCore core;
  Streams& cat_ = core.add({.key = "stdin", .has_stdin = true, .stdin_once = true});
  AttachClient how = talker("stdin");
  how.early_bytes = "early ";
  const Fd client = core.attach(how);
  write_text(client, "late\n");
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  ASSERT_TRUE(core.hear_of<InputEnded>());
  cat_.stdin_write = Fd();  // as core does
  EXPECT_EQ(read_until_end(cat_.stdin_read), "early late\n");
  // It goes on to see output.
  write_text(cat_.stdout_write, "seen");
  EXPECT_EQ(read_until_end(client, 4), "seen");
}

TEST(Attach, input_larger_than_any_buffer_arrives_whole) {
  StubCore core;
  Streams& cat_ = core.add({.key = "big", .has_stdin = true, .stdin_once = true});
  const Fd client = core.attach(talker("big"));
  const std::string all(3u << 20, 'i');
  const pid_t writer = ::fork();
  if (writer == 0) {
    const auto written = sys::write_all(client, all, "a flood");
    ::shutdown(client.get(), SHUT_WR);
    ::_exit(written ? 0 : 1);
  }
  EXPECT_EQ(read_until_end(cat_.stdin_read, all.size()).size(), all.size());
  EXPECT_TRUE(core.hear_of<InputEnded>());
}

TEST(Attach, without_stdin_once_the_container_goes_on_listening) {
  StubCore core;
  Streams& web = core.add({.key = "often", .has_stdin = true});
  for (const char* text : {"first\n", "second\n"}) {
    const Fd client = core.attach(talker("often"));
    write_text(client, text);
    EXPECT_EQ(read_until_end(web.stdin_read, std::string_view(text).size()), text);
    ::shutdown(client.get(), SHUT_WR);
    EXPECT_EQ(read_until_end(client), "");
    const auto left = core.hear_of<ClientLeft>();
    ASSERT_TRUE(left);
    EXPECT_FALSE(left->by_keys);
  }
}

TEST(Attach, the_keys_detach_in_pieces_and_are_not_input) {
  StubCore core;
  Streams& web = core.add({.key = "keys", .terminal = true, .has_stdin = true});
  AttachClient how = talker("keys");
  how.detach_keys = "\x10\x11";
  const Fd client = core.attach(how);
  write_text(client, "ab\x10");
  write_text(client, "\x11nothing of this");
  const auto left = core.hear_of<ClientLeft>();
  ASSERT_TRUE(left);
  EXPECT_TRUE(left->by_keys);
  EXPECT_EQ(left->key, "keys");
  // A broken sequence is input like any other.
  const Fd again = core.attach(how);
  write_text(again,
             "\x10"
             "c\n");
  EXPECT_EQ(read_until_end(web.stdout_write, 5),
            "ab\x10"
            "c\n");
}

TEST(Attach, a_client_that_vanishes_is_reported_and_its_container_goes_on) {
  StubCore core;
  Streams& web = core.add({.key = "vanish"});
  {
    const Fd client = core.attach(viewer("vanish"));
    write_text(web.stdout_write, "one\n");
    read_until_end(client, 12);
  }
  EXPECT_TRUE(core.hear_of<ClientLeft>());
  write_text(web.stdout_write, "two\n");
  EXPECT_TRUE(eventually([] { return text_of("/tmp/vanish/container.log") == "one\ntwo\n"; }));
}

TEST(Attach, the_output_of_an_exec_waits_for_its_client_even_beyond_its_end) {
  StubCore core;
  Streams& exec = core.add({.key = "c/exec", .options = no_log(), .hold_for_client = true});
  write_text(exec.stdout_write, "kept\n");
  exec.stdout_write = Fd();
  exec.stderr_write = Fd();
  core.end("c/exec");
  EXPECT_FALSE(core.hear(std::chrono::milliseconds(200)));
  const Fd client = core.attach(viewer("c/exec"));
  EXPECT_EQ(unframed(read_until_end(client)).first, "kept\n");
  EXPECT_TRUE(core.hear_of<Drained>());
}

TEST(Attach, who_comes_too_late_finds_the_end) {
  StubCore core;
  const Fd client = core.attach(viewer("never was"));
  EXPECT_EQ(read_until_end(client), "");
  EXPECT_TRUE(core.hear_of<ClientLeft>());
}

TEST(Attach, ten_thousand_clients_come_and_go_in_flat_memory) {
  StubCore core;
  core.add({.key = "many", .has_stdin = true});
  const auto resident = [&core] {
    const std::string status = read_text(cat("/proc/", core.worker_pid(), "/status"));
    return ::atol(status.c_str() + status.find("VmRSS:") + 6);
  };
  const auto round = [&core](int clients) {
    for (int index = 0; index < clients; ++index) {
      {
        const Fd client = core.attach(talker("many"));
      }
      ASSERT_TRUE(core.hear_of<ClientLeft>());
    }
  };
  round(500);
  const long before = resident();
  round(9'500);
  EXPECT_LT(resident(), before + 512);
  const std::string files = cat("/proc/", core.worker_pid(), "/fd/40");
  EXPECT_EQ(::access(files.c_str(), F_OK), -1);
}

}  // namespace
}  // namespace nacelle::logs
