// What an image says of itself is data: paths in it are the image's own, and no word of it controls
// the engine.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

class ImageConfig : public Hardening {
 protected:
  void SetUp() override {
    Hardening::SetUp();
    if (HasFatalFailure()) return;
    for (const char* each : {"/tmp/outside", "/tmp/outside/deep"}) ::mkdir(each, 0777);
    ASSERT_TRUE(write_file("/tmp/outside/canary", "of the host"));
  }
  void TearDown() override {
    // Nothing was made, changed or removed.
    EXPECT_EQ(run({"/bin/sh", "-c", "cd /tmp/outside && find . | sort | tr '\\n' ' '"}).out,
              ". ./canary ./deep ");
    EXPECT_EQ(read_file("/tmp/outside/canary"), "of the host");
    (void)run({"/bin/rm", "-rf", "/tmp/outside"});
    Hardening::TearDown();
  }
  // Links of all kinds that would lead out of the root, were they followed from outside of it.
  static std::string links_layer() {
    TarBuilder layer;
    layer.symlink("absolute", "/tmp/outside");
    layer.symlink("upwards", "../../../../../../../../tmp/outside");
    layer.symlink("magic", "/proc/self/root/tmp/outside");
    layer.symlink("descriptor", "/proc/self/fd/7");
    layer.symlink("missing", "/tmp/outside/made");
    layer.directory("inside/");
    layer.file("inside/file", "of the image");
    layer.symlink("good", "inside");
    return layer.finish();
  }
};

// CVE-2026-55686, CVE-2024-21626 and their like.
TEST_F(ImageConfig, a_working_directory_behind_a_link_is_in_the_image) {
  for (const std::string_view name :
       {"/absolute", "/upwards", "/magic", "/descriptor", "/missing", "/absolute/new/deep",
        "/missing/more", "/proc/self/fd/7", "/proc/1/cwd", "../../tmp/outside", "relative"}) {
    SCOPED_TRACE(name);
    const Answer loaded =
        engine().load_image("odd", links_layer(), cat(R"({"WorkingDir":")", name, R"("})"));
    ASSERT_EQ(loaded.status, 200) << loaded.body;
    const Answer made = create_json(
        R"({"Image":"odd","Cmd":["/bin/sh","-c","/bin/cat canary; /bin/pwd -P; /bin/ls -a"],"HostConfig":{"NetworkMode":"none"}})");
    if (made.status != 201) continue;
    const std::string id = json_member(made.body, "Id");
    if (engine().call("POST", cat("/containers/", id, "/start")).status == 204) {
      (void)engine().wait_container(id);
      const std::string said = engine().logs(id);
      EXPECT_FALSE(said.contains("of the host")) << said;
      EXPECT_FALSE(said.contains("deep")) << said;
      EXPECT_FALSE(said.contains("unreachable")) << said;
    }
    (void)engine().remove_container(id);
  }
  ASSERT_EQ(engine().load_image("odd", links_layer(), R"({"WorkingDir":"/good"})").status, 200);
  EXPECT_EQ(engine().output_of({"/bin/cat", "file"}, "", "", "odd"), "of the image");
}

// CVE-2022-23648: what a volume begins with is what the image has there, not what a link of the
// image leads to on the host.
TEST_F(ImageConfig, a_volume_behind_a_link_begins_with_what_is_in_the_image) {
  for (const std::string_view name : {"/absolute", "/upwards", "/magic", "/descriptor", "/missing",
                                      "/absolute/deep", "/../../tmp/outside", "/proc/self/cwd"}) {
    SCOPED_TRACE(name);
    ASSERT_EQ(engine()
                  .load_image("odd", links_layer(), cat(R"({"Volumes":{")", name, R"(":{}}})"))
                  .status,
              200);
    const Answer made = create_json(cat(R"({"Image":"odd","Cmd":["/bin/sh","-c","/bin/cat )", name,
                                        "/canary; echo x > ", name,
                                        R"(/written"],"HostConfig":{"NetworkMode":"none"}})"));
    if (made.status != 201) continue;
    const std::string id = json_member(made.body, "Id");
    if (engine().call("POST", cat("/containers/", id, "/start")).status == 204) {
      (void)engine().wait_container(id);
      EXPECT_FALSE(engine().logs(id).contains("of the host"));
    }
    (void)engine().remove_container(id);
  }
  const CommandResult found =
      run({"/bin/grep", "-rl", "of the host", engine().data_root() + "/volumes"});
  EXPECT_EQ(found.out, "");
  ASSERT_EQ(engine().load_image("odd", links_layer(), R"({"Volumes":{"/good":{}}})").status, 200);
  EXPECT_EQ(engine().output_of({"/bin/cat", "/good/file"}, "", "", "odd"), "of the image");
}

// An image may have any number of directories where a volume begins, and descriptors are few.
TEST_F(ImageConfig, a_volume_of_many_directories_takes_no_descriptor_for_each) {
  TarBuilder layer;
  layer.directory("many/");
  constexpr int count = 3000;
  for (int i = 0; i < count; ++i) {
    layer.directory(cat("many/", i, "/")).file(cat("many/", i, "/f"), cat("text ", i));
    if (i % 2 == 0) layer.hard_link(cat("many/", i, "/g"), cat("many/", i, "/f"));
  }
  ASSERT_EQ(engine().load_image("odd", layer.finish(), R"({"Volumes":{"/many":{}}})").status, 200);
  const rlimit few{200, 200};
  rlimit before{};
  ASSERT_EQ(::prlimit(engine().pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  const rlimit now{few.rlim_cur, before.rlim_max};
  ASSERT_EQ(::prlimit(engine().pid(), RLIMIT_NOFILE, &now, nullptr), 0);
  EXPECT_EQ(engine().output_of({"/bin/sh", "-c",
                                "cd /many; /bin/ls | /bin/wc -l; /bin/cat 2998/f; echo; "
                                "/bin/cat 1500/g; echo; test 1500/f -ef 1500/g && echo one"},
                               "", "", "odd"),
            "3000\ntext 2998\ntext 1500\none\n");
}

// CVE-2026-53488, GHSA-265r-hfxg-fhmg's neighbours: an image's labels are for people. That one is
// spelled like a setting of an engine, of this or of another, changes nothing.
TEST_F(ImageConfig, labels_of_an_image_control_nothing) {
  ASSERT_TRUE(write_file("/tmp/outside-program", "#!/bin/sh\ntouch /tmp/outside/ran\n", 0755));
  const char* program = "binary:///tmp/outside-program";
  std::string labels;
  for (const char* name : {"io.containerd.runc.v2.logger",
                           "io.containerd.image.labels",
                           "containerd.io/log-uri",
                           "nerdctl/log-uri",
                           "nerdctl/mounts",
                           "io.kubernetes.cri.log-path",
                           "io.nacelle.log",
                           "io.nacelle.runtime",
                           "io.nacelle.network",
                           "nacelle.seccomp",
                           "com.docker.compose.project",
                           "com.docker.security.privileged",
                           "io.containers.capabilities",
                           "run.oci.hooks.stderr",
                           "run.oci.handler",
                           "org.criu.config",
                           "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
                           "org.systemd.property.ExecStopPost",
                           "seccomp",
                           "apparmor",
                           "privileged",
                           "logger",
                           "LogConfig",
                           "HostConfig",
                           "Binds"}) {
    labels += cat(labels.empty() ? "" : ",", json_string(name), ':', json_string(program));
  }
  labels += R"(,"line":"a\nPrivileged\":true,\n","":"nameless")";
  const auto created = [&](std::string_view config) {
    EXPECT_EQ(engine().load_image("odd", TarBuilder().finish(), config).status, 200);
    const std::string id = engine().create(
        {"/bin/sh", "-c", "/bin/cat /proc/self/status /proc/self/mountinfo"}, "", "", "odd");
    std::string inspected = engine().call("GET", cat("/containers/", id, "/json")).body;
    const size_t from = inspected.find("\"HostConfig\"");
    std::string host = inspected.substr(from, inspected.find("\"GraphDriver\"", from) - from);
    engine().start_container(id);
    EXPECT_EQ(engine().wait_container(id), 0);
    EXPECT_NE(engine().logs(id), "");
    const std::string status = engine().logs(id);
    for (const char* key : {"CapEff:", "Seccomp:", "NoNewPrivs:"}) {
      host +=
          status.substr(status.find(key), status.find('\n', status.find(key)) - status.find(key));
    }
    // And it is read back after a restart as it was.
    EXPECT_EQ(engine().end(), 0);
    engine().start();
    EXPECT_TRUE(engine().is_up());
    EXPECT_EQ(containers(), 1u);
    engine().remove_container(id);
    return std::pair(host, inspected);
  };
  const auto [plain, nothing] = created("{}");
  const auto [labelled, inspected] = created(cat(R"({"Labels":{)", labels, "}}"));
  EXPECT_EQ(labelled, plain);
  EXPECT_TRUE(inspected.contains("io.containerd.runc.v2.logger"));  // as a label it is there
  EXPECT_TRUE(plain.contains("LogConfig"));
}

// CVE-2023-26054's and CVE-2022-4318's kind: what an image's configuration could not have asked for
// is left out or refused, and never cut short or spread over two lines.
TEST_F(ImageConfig, words_with_odd_bytes_are_left_out_or_refused) {
  const auto status = [&](std::string_view config) {
    const Answer loaded = engine().load_image("odd", TarBuilder().finish(), config);
    if (loaded.status != 200) return 0;
    return create_json(R"({"Image":"odd","HostConfig":{"NetworkMode":"none"}})").status;
  };
  for (const std::string_view config :
       {R"({"Cmd":["/bin/echo","a\u0000b"]})", R"({"Entrypoint":["/bin/\u0000echo"]})",
        R"({"Cmd":["/bin/echo"],"WorkingDir":"/a\nb"})",
        R"({"Cmd":["/bin/echo"],"WorkingDir":"/a\u0000b"})",
        R"({"Cmd":["/bin/echo"],"User":"root\nevil"})", R"({"Cmd":["/bin/echo"],"Env":["=E"]})",
        R"({"Cmd":["/bin/echo"],"Env":[""]})", R"({"Cmd":["/bin/echo"],"StopSignal":"no\n"})",
        R"({"Cmd":["/bin/echo"],"User":"root\u0000evil"})",
        R"({"Cmd":["/bin/echo"],"Volumes":{"/a\nb":{}}})",
        R"({"Cmd":["/bin/echo"],"Volumes":{"/a\u0000b":{}}})",
        R"({"Cmd":["/bin/echo"],"Volumes":{"/":{}}})"}) {
    const int got = status(config);
    EXPECT_TRUE(got == 400 || got == 0) << config << " " << got;
  }
  EXPECT_EQ(containers(), 0u);
  ASSERT_EQ(
      engine()
          .load_image(
              "odd", TarBuilder().finish(),
              R"({"Env":["A\nB=1","F","G=a\nb","H=h"],)"
              R"("Hostname":"evil\n","Domainname":"evil","StopSignal":"no","OnBuild":["x\ny"],)"
              R"("ExposedPorts":{"80\n":{},"81/tcp":{},"../82":{}}})")
          .status,
      200);
  const std::string said =
      engine().output_of({"/bin/sh", "-c", "/bin/env; /bin/hostname"}, "", "", "odd");
  EXPECT_TRUE(said.contains("H=h\n")) << said;
  EXPECT_TRUE(said.contains("G=a\nb\n")) << said;  // a value may have lines
  for (const std::string_view odd : {"B=1", "evil"}) {
    EXPECT_FALSE(said.contains(odd)) << odd << " in " << said;
  }
}

}  // namespace
}  // namespace nacelle::test
