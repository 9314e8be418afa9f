// Words of requests that come to stand in files made of lines, in paths or in a program's arguments
// (CVE-2025-4437, CVE-2022-4318, CVE-2026-23953): a newline, a NUL or a colon in them is refused.
#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

class Requests : public Hardening {};

TEST_F(Requests, names_with_odd_bytes_are_refused) {
  const std::string id = engine().create({"true"}, "", "");
  const std::string body = R"({"Image":"busybox","Cmd":["true"]})";
  const std::string_view names[] = {
      "a\nb", std::string_view("a\0b", 3), "a:b", "a/b", "../a", "..", ".", "a b", "a\x7f", "-a",
      "a\rb"};
  for (const std::string_view name : names) {
    SCOPED_TRACE(percent_encoded(name));
    const std::string said = percent_encoded(name);
    EXPECT_EQ(create_json(body, cat("?name=", said)).status, 400);
    EXPECT_GE(engine().call("POST", cat("/containers/", id, "/rename?name=", said)).status, 400);
    const std::string json =
        name == std::string_view("a\0b", 3) ? R"("a\u0000b")" : json_string(name);
    EXPECT_GE(engine().call("POST", "/volumes/create", cat(R"({"Name":)", json, "}")).status, 400);
    // As with dockerd any text of one line is a network's name; its record has another.
    if (name.find_first_of(std::string_view("\0\n\r", 3)) != std::string_view::npos) {
      EXPECT_GE(engine().call("POST", "/networks/create", cat(R"({"Name":)", json, "}")).status,
                400);
    }
    EXPECT_GE(
        create_json(
            cat(R"({"Image":"busybox","Cmd":["true"],"HostConfig":{"Mounts":[{"Type":"volume","Source":)",
                json, R"(,"Target":"/v"}]}})"))
            .status,
        400);
    EXPECT_GE(engine().call("POST", cat("/images/busybox/tag?repo=x&tag=", said)).status, 400);
  }
  EXPECT_EQ(containers(), 1u);
  EXPECT_TRUE(engine().call("GET", "/volumes").body.contains("\"Volumes\":[]"));
}

TEST_F(Requests, words_with_odd_bytes_are_refused) {
  for (const std::string_view member : {
           R"("Hostname":"a\nb")",
           R"("Hostname":"a\u0000b")",
           R"("Hostname":"a b")",
           R"("Hostname":"a/b")",
           R"("Domainname":"a\nb")",
           R"("Domainname":"a\u0000b")",
           R"("User":"root\nevil:x:0:0")",
           R"("User":"a\u0000b")",
           R"("Env":["A=1\u0000B=2"])",
           R"("Env":["A\nB=1"])",
           R"("Env":["=1"])",
           R"("Env":[""])",
           R"("WorkingDir":"/a\nb")",
           R"("WorkingDir":"/a\u0000b")",
           R"("WorkingDir":"a")",
           R"("Cmd":["a\u0000b"])",
           R"("Entrypoint":["a\u0000b"])",
           R"("Volumes":{"/a\nb":{}})",
           R"("HostConfig":{"ExtraHosts":["a\nb:1.2.3.4"]})",
           R"("HostConfig":{"ExtraHosts":["a:1.2.3.4\n5.6.7.8 b"]})",
           R"("HostConfig":{"ExtraHosts":["a b:1.2.3.4"]})",
           R"("HostConfig":{"Dns":["1.1.1.1\nsearch evil"]})",
           R"("HostConfig":{"DnsSearch":["a\nnameserver 6.6.6.6"]})",
           R"("HostConfig":{"DnsOptions":["a\nnameserver 6.6.6.6"]})",
           R"("HostConfig":{"Binds":["/tmp:/a\nb"]})",
           R"("HostConfig":{"Binds":["/tmp:/a\u0000b"]})",
           R"("HostConfig":{"Binds":["/tmp:a"]})",
           R"("HostConfig":{"Tmpfs":{"/a\nb":""}})",
           R"("HostConfig":{"Tmpfs":{"/a":"size=1m\nlowerdir=/"}})",
           R"("HostConfig":{"Sysctls":{"kernel.shm_rmid_forced":"1+kernel.core_pattern=|/x\n"}})",
           R"("HostConfig":{"Sysctls":{"kernel.core_pattern":"|/x"}})",
           R"("HostConfig":{"Sysctls":{"net/../kernel.core_pattern":"|/x"}})",
           R"("HostConfig":{"CgroupParent":"a/../../b"})",
           R"("HostConfig":{"CgroupParent":"a\nb"})",
           R"("HostConfig":{"Devices":[{"PathOnHost":"/dev/null\n","PathInContainer":"/dev/x"}]})",
           R"("HostConfig":{"LogConfig":{"Type":"binary:///bin/sh"}})",
           R"("HostConfig":{"Runtime":"/bin/sh"})",
           R"("HostConfig":{"Runtime":"io.containerd.x"})",
       }) {
    const Answer answer = create_json(cat(R"({"Image":"busybox",)", member, "}"), "?name=odd");
    EXPECT_GE(answer.status, 400) << member << " " << answer.body;
  }
  EXPECT_EQ(containers(), 0u);
}

TEST_F(Requests, of_execs_with_odd_bytes_are_refused) {
  const std::string id = engine().run_container({"sleep", "1000"});
  for (const std::string_view members : {
           R"("Cmd":["echo","a\u0000b"])",
           R"("Cmd":["echo"],"Env":["A=1\u0000B=2"])",
           R"("Cmd":["echo"],"Env":["A\nB=1"])",
           R"("Cmd":["echo"],"WorkingDir":"/a\u0000b")",
           R"("Cmd":["echo"],"WorkingDir":"/a\nb")",
       }) {
    const Answer answer =
        engine().call("POST", cat("/containers/", id, "/exec"), cat("{", members, "}"));
    EXPECT_EQ(answer.status, 400) << members << " " << answer.body;
  }
  for (const std::string_view user : {R"("User":"root\nevil")", R"("User":"ro\u0000ot")"}) {
    const std::string said = engine().exec(id, {"cat", "/proc/self/status"}, user);
    EXPECT_FALSE(said.contains("Uid:")) << said;
  }
  const std::string fine =
      engine().exec(id, {"sh", "-c", "echo $A; pwd"}, R"("Env":["A=b:c"],"WorkingDir":"/tmp")");
  EXPECT_EQ(fine, "b:c\n/tmp\n");
}

// A checkpoint is an archive that would be believed (CVE-2026-53489, CVE-2026-53492,
// CVE-2024-8676): none is taken.
TEST_F(Requests, checkpoints_are_not_taken) {
  const std::string id = engine().create({"true"});
  EXPECT_GE(engine()
                .call("POST", cat("/containers/", id, "/checkpoints"), R"({"CheckpointID":"a"})")
                .status,
            400);
  EXPECT_GE(engine()
                .call("POST", cat("/containers/", id, "/start?checkpoint=a&checkpoint-dir=/tmp"))
                .status,
            400);
  EXPECT_EQ(json_member(engine().call("GET", cat("/containers/", id, "/json")).body, "Running"),
            "false");
}

}  // namespace
}  // namespace nacelle::test
