// Wrong input through the command line: one line that names the place and the reason, exit status
// 1, and nothing made.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "tests/root/runtime/container_test.h"

namespace nacelle::test {
namespace {

using BadInputTest = ContainerTest;

void expect_one_line(const CommandResult& result, std::string_view with, std::string_view what) {
  EXPECT_EQ(result.exit_code, 1) << what << result.text();
  EXPECT_EQ(result.out, "") << what;
  EXPECT_TRUE(result.err.starts_with("nacelle-oci: ")) << what << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << what << result.err.substr(0, 1000);
  EXPECT_TRUE(contains(result.err, with))
      << what << ": no '" << with << "' in: " << result.err.substr(0, 1000);
  EXPECT_LT(result.err.size(), 4096u) << what;
}

struct Broken {
  const char* part;  // top, root, process or linux
  const char* property;
  const char* value;
  const char* named;  // what the message must hold
};

constexpr Broken broken[] = {
    {"top", "ociVersion", "\"\"", "ociVersion"},
    {"top", "ociVersion", "7", "ociVersion"},
    {"top", "ociVersion", "\"2.0.0\"", "ociVersion"},
    {"top", "hostname", "[]", "hostname"},
    {"top", "mounts", "{}", "mounts"},
    {"top", "mounts", R"([{"destination":"/","type":"tmpfs"}])", "mounts[0].destination"},
    {"top", "mounts", R"([{"destination":"/proc/x","type":"tmpfs"}])", "mounts[0].destination"},
    {"top", "mounts", R"([{"type":"tmpfs"}])", "mounts[0].destination"},
    {"top", "mounts", R"([{"destination":"/x"}])", "mounts[0].type"},
    {"top", "mounts", R"([{"destination":"/x","type":"tmpfs","options":"ro"}])",
     "mounts[0].options"},
    {"top", "hooks", R"({"prestart":[{"path":"relative"}]})", "hooks.prestart[0].path"},
    {"top", "hooks", R"({"prestart":[{"path":"/x","timeout":0}]})", "hooks.prestart[0].timeout"},
    {"top", "hooks", R"({"prestart":[{"path":"/x","timeout":-1}]})", "hooks.prestart[0].timeout"},
    {"top", "annotations", R"({"a":1})", "annotations"},
    {"root", "path", "\"\"", "root.path"},
    {"root", "path", "\"nowhere\"", "nowhere"},
    {"root", "readonly", "\"yes\"", "root.readonly"},
    {"process", "args", "[]", "process.args"},
    {"process", "args", "\"sh\"", "process.args"},
    {"process", "args", R"(["a",1])", "process.args[1]"},
    {"process", "cwd", "\"relative\"", "process.cwd"},
    {"process", "cwd", "", "process.cwd"},
    {"process", "env", R"([1])", "process.env[0]"},
    {"process", "user", R"({"uid":-1,"gid":0})", "process.user.uid"},
    {"process", "user", R"({"uid":4294967296,"gid":0})", "process.user.uid"},
    {"process", "user", R"({"uid":99999999999999999999999,"gid":0})", "process.user.uid"},
    {"process", "user", R"({"uid":1.5,"gid":0})", "process.user.uid"},
    {"process", "oomScoreAdj", "1001", "process.oomScoreAdj"},
    {"process", "oomScoreAdj", "-1001", "process.oomScoreAdj"},
    {"process", "rlimits", R"([{"type":"RLIMIT_X","soft":1,"hard":1}])", "process.rlimits[0]"},
    {"process", "rlimits", R"([{"type":"RLIMIT_CORE","soft":2,"hard":1}])", "process.rlimits[0]"},
    {"process", "rlimits",
     R"([{"type":"RLIMIT_CORE","soft":1,"hard":1},{"type":"RLIMIT_CORE","soft":1,"hard":1}])",
     "process.rlimits[1]"},
    {"process", "capabilities", "[]", "process.capabilities"},
    {"process", "ioPriority", R"({"class":"IOPRIO_CLASS_NO","priority":1})", "ioPriority"},
    {"process", "scheduler", R"({"policy":"SCHED_NO"})", "process.scheduler.policy"},
    {"process", "apparmorProfile", "7", "process.apparmorProfile"},
    {"linux", "namespaces", R"([{"type":"moon"}])", "linux.namespaces[0].type"},
    {"linux", "namespaces", R"([{"type":"pid"},{"type":"pid"}])", "linux.namespaces[1]"},
    {"linux", "namespaces", R"([{"type":"mount"},{"type":"pid","path":"relative"}])",
     "linux.namespaces[1].path"},
    {"linux", "uidMappings", R"([{"containerID":0,"hostID":1,"size":1}])", "linux.uidMappings"},
    {"linux", "devices", R"([{"type":"x","path":"/dev/x"}])", "linux.devices[0].type"},
    {"linux", "devices", R"([{"type":"c","path":"dev/x","major":1,"minor":1}])",
     "linux.devices[0].path"},
    {"linux", "devices", R"([{"type":"c","path":"/dev/x"}])", "linux.devices[0]"},
    {"linux", "sysctl", R"({"kernel.hostname":1})", "linux.sysctl"},
    {"linux", "sysctl", R"({"vm.swappiness":"1"})", "vm.swappiness"},
    {"linux", "rootfsPropagation", "\"sideways\"", "linux.rootfsPropagation"},
    {"linux", "personality", R"({"domain":"DOS"})", "linux.personality"},
    {"linux", "seccomp", R"({"defaultAction":"SCMP_ACT_DANCE"})", "linux.seccomp"},
    {"linux", "seccomp", R"({"defaultAction":"SCMP_ACT_NOTIFY"})", "linux.seccomp"},
    {"linux", "cgroupsPath", "7", "linux.cgroupsPath"},
    {"linux", "resources", R"({"memory":{"limit":1048576}})", "linux.resources.memory"},
    {"linux", "resources", R"({"pids":{"limit":"many"}})", "linux.resources.pids.limit"},
    {"linux", "maskedPaths", R"(["relative"])", "linux.maskedPaths[0]"},
    {"linux", "timeOffsets", R"({"boottime":{"secs":1}})", "linux.timeOffsets"},
    {"linux", "memoryPolicy", R"({"mode":"MPOL_NO","nodes":"0"})", "linux.memoryPolicy"},
};

TEST_F(BadInputTest, a_wrong_property_is_named_with_its_path) {
  Bundle bundle(Config::minimal());
  for (const Broken& one : broken) {
    Config config = Config::minimal();
    const std::string_view part = one.part;
    auto& object = part == "top"       ? config.top
                   : part == "root"    ? config.root
                   : part == "process" ? config.process
                                       : config.for_linux;
    object[one.property] = one.value;
    bundle.configure(config);
    expect_one_line(oci({"run", "--bundle", bundle.path(), "bad"}), one.named,
                    cat(one.property, "=", one.value));
    EXPECT_FALSE(contains(oci({"list", "--quiet"}).out, "bad")) << one.property;
  }
}

TEST_F(BadInputTest, a_text_that_is_not_json_is_named) {
  Bundle bundle(Config::minimal());
  const std::string good = Config::minimal().json();
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"),
        std::string("\xff\xfe{}"), good + "x", good.substr(0, good.size() / 2),
        std::string("{\"a\":\"\xff\"}"), std::string("{}\0{}", 5), std::string(200'000, '['),
        std::string("{\"process\":") + std::string(50'000, '{')}) {
    bundle.configure(text);
    expect_one_line(oci({"run", "--bundle", bundle.path(), "bad"}), "config.json",
                    text.substr(0, 20));
  }
}

TEST_F(BadInputTest, a_config_that_is_too_large_is_refused) {
  Bundle bundle(Config::minimal());
  Config config = Config::minimal();
  config.top["annotations"] = cat("{\"big\":", json_string(std::string(17u << 20, 'x')), "}");
  bundle.configure(config);
  expect_one_line(oci({"run", "--bundle", bundle.path(), "bad"}), "config.json", "17 MB");
}

TEST_F(BadInputTest, a_large_config_is_no_reason_to_fail) {
  Config config = Config::minimal().args({"/bin/true"});
  config.top["annotations"] = cat("{\"big\":", json_string(std::string(1u << 20, 'x')), "}");
  EXPECT_TRUE(run_once(config).ok());
}

TEST_F(BadInputTest, a_bundle_that_is_none_is_named) {
  const Bundle bundle(Config::minimal());
  expect_one_line(oci({"run", "--bundle", "/no/such/bundle", "bad"}), "/no/such/bundle", "missing");
  expect_one_line(oci({"run", "--bundle", bundle.path() + "/config.json", "bad"}), "config.json",
                  "a file");
  const std::string config = bundle.path() + "/config.json";
  ::unlink(config.c_str());
  expect_one_line(oci({"run", "--bundle", bundle.path(), "bad"}), "config.json", "no config");
  ::mkdir(config.c_str(), 0755);
  expect_one_line(oci({"run", "--bundle", bundle.path(), "bad"}), "config.json", "a directory");
  ::rmdir(config.c_str());
  ASSERT_EQ(::mkfifo(config.c_str(), 0600), 0);
  CommandOptions options;
  options.deadline = milliseconds(5'000);
  const CommandResult fifo = oci({"run", "--bundle", bundle.path(), "bad"}, options);
  EXPECT_FALSE(fifo.timed_out) << "a fifo as config.json must not make it wait for ever";
  ::unlink(config.c_str());
  ::symlink("config.json", config.c_str());
  expect_one_line(oci({"run", "--bundle", bundle.path(), "bad"}), "config.json", "a loop");
}

TEST_F(BadInputTest, ids_that_could_be_paths_are_refused) {
  const Bundle bundle(Config::minimal());
  for (const std::string& id :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/a"),
        std::string("../a"), std::string("a b"), std::string("a\nb"), std::string("\xff\xfe"),
        std::string("\xc3\xa4"), std::string("@seccomp"), std::string("a*"), std::string(1025, 'a'),
        std::string(300, 'a')}) {
    for (const char* verb : {"run", "create"}) {
      const CommandResult result = oci({verb, "--bundle", bundle.path(), "--", id});
      EXPECT_EQ(result.exit_code, 1) << id << result.text();
      EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    }
    for (const char* verb : {"state", "start", "delete", "kill", "pause", "resume"}) {
      const CommandResult result = oci({verb, "--", id});
      EXPECT_EQ(result.exit_code, 1) << verb << id << result.text();
      EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    }
  }
}

TEST_F(BadInputTest, ids_with_every_allowed_character_work) {
  const Bundle bundle(Config::minimal());
  for (const char* id : {"a", "0", "_", "-x", "A.b-c_d+e", "..."}) {
    EXPECT_TRUE(oci({"run", "--bundle", bundle.path(), "--", id}).ok()) << id;
  }
}

TEST_F(BadInputTest, options_that_are_not_known_or_not_whole_are_refused) {
  const Bundle bundle(Config::minimal());
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"run"},
                                             {"run", "a", "b"},
                                             {"create"},
                                             {"run", "--nonsense", "a"},
                                             {"run", "--bundle"},
                                             {"run", "--preserve-fds", "x", "a"},
                                             {"run", "--preserve-fds", "-1", "a"},
                                             {"state"},
                                             {"state", "a", "b"},
                                             {"delete"},
                                             {"start"},
                                             {"kill"},
                                             {"kill", "a", "b", "c"},
                                             {"list", "--format", "xml"},
                                             {"nonsense"},
                                             {"--nonsense"},
                                             {"--log-format", "xml", "list"},
                                             {"--root"},
                                             {"pause"},
                                             {"resume"},
                                             {"ps"}}) {
    expect_one_line(oci(words), "", words.back());
  }
}

TEST_F(BadInputTest, an_error_goes_to_the_log_as_json) {
  for (const char* format : {"json", "text"}) {
    const CommandResult result =
        oci({"--log", "/tmp/log", "--log-format", format, "state", "nobody \"quoted\""});
    EXPECT_EQ(result.exit_code, 1);
    const std::string log = read_file("/tmp/log");
    EXPECT_EQ(std::ranges::count(log, '\n'), 1) << log;
    if (std::string_view(format) == "json") {
      EXPECT_EQ(run({"jq", "-r", ".level", "/tmp/log"}).out, "error\n");
      EXPECT_CONTAINS(run({"jq", "-r", ".msg", "/tmp/log"}).out, "quoted");
      EXPECT_TRUE(run({"jq", "-e", ".time", "/tmp/log"}).ok());
    } else {
      EXPECT_CONTAINS(log, "level=error msg=\"");
    }
    ::unlink("/tmp/log");
  }
}

// --- what the verbs print -------------------------------------------------------------------

std::string jq(const std::string& json, const std::string& filter) {
  CommandOptions options;
  options.input = json;
  return run({"jq", "-c", filter}, options).out;
}

TEST_F(BadInputTest, state_and_list_say_what_there_is) {
  Config config = Config::minimal().guest({"wait"});
  config.top["annotations"] = R"({"org.test":"a \"b\""})";
  const Bundle bundle(config);
  const Live live(bundle, "shown");
  const std::string state = oci({"state", "shown"}).out;
  EXPECT_EQ(
      jq(state, "[.ociVersion,.id,.status,.bundle,.annotations[\"org.test\"],.pid>0]"),
      cat("[\"1.2.1\",\"shown\",\"running\",\"", bundle.path(), "\",\"a \\\"b\\\"\",true]\n"));
  EXPECT_EQ(jq(oci({"list", "--format", "json"}).out, "[length,.[0].id,.[0].status]"),
            "[1,\"shown\",\"running\"]\n");
  const std::string table = oci({"list"}).out;
  EXPECT_TRUE(table.starts_with("ID ")) << table;
  EXPECT_CONTAINS(table, "shown");
  EXPECT_EQ(oci({"list", "-q"}).out, "shown\n");
  const std::string pid = live.state("pid");
  EXPECT_EQ(oci({"ps", "--format", "json", "shown"}).out, cat("[", pid, "]"));
  const std::string processes = oci({"ps", "shown"}).out;
  EXPECT_CONTAINS(processes, "/guest wait");
  EXPECT_EQ(std::ranges::count(processes, '\n'), 2) << processes;
}

TEST_F(BadInputTest, a_stopped_container_has_no_pid) {
  const Bundle bundle(Config::minimal());
  const Live live(bundle, "shown");
  EXPECT_TRUE(live.becomes("stopped"));
  EXPECT_CONTAINS(oci({"list"}).out, "stopped");
  EXPECT_EQ(jq(oci({"state", "shown"}).out, ".pid // 0"), "0\n");
}

TEST_F(BadInputTest, features_and_spec_are_documents) {
  const std::string features = oci({"features"}).out;
  EXPECT_EQ(jq(features,
               "[.ociVersionMin,(.mountOptions|index(\"rro\")!=null),"
               ".linux.seccomp.enabled,(.linux.namespaces|index(\"time\")!=null)]"),
            "[\"1.0.0\",true,true,true]\n")
      << features;
  ::mkdir("/tmp/fresh", 0755);
  CommandOptions options;
  options.directory = "/tmp/fresh";
  EXPECT_TRUE(oci({"spec"}, options).ok());
  EXPECT_TRUE(run({"jq", "-e", ".process.args", "/tmp/fresh/config.json"}).ok());
  const CommandResult twice = oci({"spec"}, options);
  expect_one_line(twice, "exists", "spec twice");
  run({"rm", "-r", "/tmp/fresh"});
}

TEST_F(BadInputTest, the_config_that_spec_writes_runs) {
  Bundle bundle(Config::minimal());
  ::unlink((bundle.path() + "/config.json").c_str());
  EXPECT_TRUE(oci({"spec", "--bundle", bundle.path()}).ok());
  const std::string config =
      run({"jq", ".process.terminal=false|.process.args=[\"/guest\",\"exit\",\"4\"]",
           bundle.path() + "/config.json"})
          .out;
  bundle.configure(config);
  EXPECT_EQ(run_once(bundle).exit_code, 4);
}

TEST_F(BadInputTest, version_and_help_are_answered) {
  EXPECT_CONTAINS(oci({"--version"}).out, "spec: 1.");
  EXPECT_CONTAINS(oci({"--help"}).out, "usage:");
  EXPECT_EQ(oci({"-v"}).exit_code, 0);
}

}  // namespace
}  // namespace nacelle::test
