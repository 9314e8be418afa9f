// What a container has in it is never used by the engine, and what it had in memory is gone with
// it.
#include <sys/inotify.h>
#include <unistd.h>

#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

class OfContainers : public Hardening {};

// CVE-2019-14271, CVE-2026-41567, CVE-2022-1227: libraries, decompressors and helpers that whoever
// enters a container might find there. Method: all of them are watched while files are copied in
// and out in every form, and none is opened.
TEST_F(OfContainers, no_program_or_library_is_used_by_who_copies) {
  const char* const traps[] = {"lib/x86_64-linux-gnu/libnss_files.so.2",
                               "lib64/libnss_files.so.2",
                               "usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
                               "etc/nsswitch.conf",
                               "etc/ld.so.preload",
                               "etc/ld.so.cache",
                               "bin/xz",
                               "bin/unpigz",
                               "bin/gzip",
                               "bin/gunzip",
                               "bin/zstd",
                               "bin/tar",
                               "bin/nsenter",
                               "usr/bin/unpigz",
                               "etc/passwd",
                               "etc/group",
                               "etc/localtime"};
  TarBuilder layer;
  for (const char* each : traps)
    layer.header(TarHeader('0', each).mode(0755).size(4)).content("trap");
  ASSERT_EQ(engine().load_image("traps", layer.finish(), R"({"Env":["PATH=/bin"]})").status, 200);
  const std::string id = engine().run_container({"sleep", "1000"}, "", "", "traps");
  const std::string root = cat("/proc/", engine().pid_of(id), "/root/");
  const Fd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  std::vector<std::string> watched;
  for (const char* each : traps) {
    const int number = ::inotify_add_watch(watch.get(), (root + each).c_str(), IN_OPEN | IN_ACCESS);
    ASSERT_GT(number, 0) << each;
    watched.resize(static_cast<size_t>(number) + 1);
    watched.back() = each;
  }
  const auto opened = [&] {
    std::string names;
    alignas(inotify_event) char buffer[4096];
    ssize_t got = 0;
    while ((got = ::read(watch.get(), buffer, sizeof buffer)) > 0) {
      for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        names += cat(watched[static_cast<size_t>(event->wd)], ' ');
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
    }
    return names;
  };
  // The watch sees what it is for.
  (void)read_file(root + "bin/xz");
  ASSERT_EQ(opened().substr(0, 6), "bin/xz");

  const std::string at = cat("/containers/", id, "/archive?path=");
  TarBuilder plain;
  plain.header(TarHeader('0', "copied").owner(1234, 1234).size(4)).content("text");
  const std::string tar = plain.finish();
  ASSERT_TRUE(write_file("/tmp/plain.tar", tar));
  EXPECT_EQ(engine().call("PUT", at + "/tmp", tar).status, 200);
  EXPECT_EQ(engine().call("PUT", at + "/tmp&copyUIDGID=1", tar).status, 200);
  for (const char* tool : {"gzip", "zstd", "xz"}) {
    const CommandResult packed = run({"/bin/sh", "-c", cat(tool, " -c /tmp/plain.tar")});
    if (!packed.ok()) continue;  // not on this machine
    const int status = engine().call("PUT", at + "/tmp", packed.out).status;
    EXPECT_TRUE(status == 200 || status == 501) << tool << ' ' << status;
  }
  EXPECT_EQ(engine().call("GET", at + "/tmp").status, 200);
  EXPECT_EQ(engine().call("HEAD", at + "/tmp").status, 200);
  EXPECT_EQ(engine().call("GET", cat("/containers/", id, "/changes")).status, 200);
  EXPECT_EQ(engine().call("GET", cat("/containers/", id, "/top")).status, 200);
  EXPECT_EQ(engine().call("GET", cat("/containers/", id, "/stats?stream=0&one-shot=1")).status,
            200);
  EXPECT_EQ(opened(), "");
}

// CVE-2024-3056: shared memory that outlives its container.
TEST_F(OfContainers, shared_memory_is_gone_when_they_have_stopped) {
  constexpr long filled_kib = 192 << 10;
  const auto shared_kib = [] {
    const std::string text = read_file("/proc/meminfo");
    return ::atol(text.c_str() + text.find("Shmem:") + 6);
  };
  const std::string id = engine().run_container(
      {"sh", "-c",
       "dd if=/dev/zero of=/dev/shm/file bs=1M count=192 2>/dev/null; echo done; exec sleep 1000"},
      "", R"("IpcMode":"shareable","ShmSize":268435456)");
  ASSERT_TRUE(eventually([&] { return engine().logs(id).contains("done"); }, 20s));
  const long before = shared_kib();
  ASSERT_GE(before, filled_kib);
  // Stopped, not removed. Others on this machine have shared memory, too: it need not be all.
  EXPECT_EQ(engine().call("POST", cat("/containers/", id, "/stop?t=0")).status, 204);
  EXPECT_TRUE(eventually([&] { return shared_kib() < before - filled_kib / 2; }, 20s))
      << before << ' ' << shared_kib();
}

}  // namespace
}  // namespace nacelle::test
