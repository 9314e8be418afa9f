#include "oci/documents.h"

#include <gtest/gtest.h>

#include "codec/json.h"
#include "oci/spec_parse.h"

namespace nacelle::oci {
namespace {

TEST(OciDocuments, the_starter_configuration_is_valid) {
  for (const bool rootless : {false, true}) {
    const std::string text = default_spec(rootless, 1000, 1001);
    const auto spec = parse_spec(text);
    ASSERT_TRUE(spec) << spec.error().message();
    EXPECT_TRUE(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n"));
    EXPECT_EQ(spec->linux_->uid_mappings.empty(), !rootless);
    if (rootless) EXPECT_EQ(spec->linux_->gid_mappings[0].host_id, 1001u);
  }
}

TEST(OciDocuments, a_state_survives_being_written_and_read) {
  State state;
  state.id = "a\"b";
  state.status = Status::Running;
  state.pid = 42;
  state.bundle = "/b";
  state.rootfs = "/b/rootfs";
  state.created = "2026-01-02T03:04:05.678Z";
  state.owner = "";
  state.annotations = {{"k.x/y", "v\n"}};
  for (const std::string& text : {state_document(state), state_document_indented(state)}) {
    const auto read = parse_state(text);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(state_document(*read), state_document(state));
  }
  EXPECT_EQ(state_document({.id = "x", .status = Status::Stopped, .bundle = "/b"}),
            R"({"ociVersion":"1.3.0","id":"x","pid":0,"status":"stopped","bundle":"/b"})");
}

TEST(OciDocuments, a_broken_state_names_the_path_at_fault) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"id":"x","status":"running","bundle":"/"})", "ociVersion: missing"},
      {R"({"ociVersion":"1","status":"running","bundle":"/"})", "id: missing"},
      {R"({"ociVersion":"1","id":"x","bundle":"/"})", "status: missing"},
      {R"({"ociVersion":"1","id":"x","status":"running"})", "bundle: missing"},
      {R"({"ociVersion":"1","id":"x","status":"asleep","bundle":"/"})",
       "status: unknown status 'asleep'"},
      {R"({"ociVersion":"1","id":"x","status":"running","bundle":"/","pid":"7"})",
       "pid: expected an integer"},
  };
  for (const auto& [text, complaint] : cases) {
    const auto state = parse_state(text);
    ASSERT_FALSE(state) << text;
    EXPECT_EQ(state.error().message(), complaint);
  }
}

TEST(OciDocuments, what_a_seccomp_listener_is_told) {
  ContainerProcessState process;
  process.pid = 7;
  process.metadata = "m";
  process.state.id = "x";
  process.state.bundle = "/b";
  EXPECT_EQ(container_process_state_document(process),
            R"({"ociVersion":"1.3.0","fds":["seccompFd"],"pid":7,"metadata":"m","state":)"
            R"({"ociVersion":"1.3.0","id":"x","pid":0,"status":"creating","bundle":"/b"}})");
}

TEST(OciDocuments, features_list_what_the_parser_knows) {
  const std::string text =
      features_document({.mount_options = {"ro"}, .annotations = {{"a", "b"}}});
  const auto document = codec::json::Document::parse(text);
  ASSERT_TRUE(document) << document.error().message();
  const auto root = document->root().object();
  std::string version;
  ASSERT_TRUE(root->need("ociVersionMax", version));
  EXPECT_EQ(version, "1.3.0");
  const auto linux_ = root->need("linux")->object();
  std::vector<std::string> names;
  ASSERT_TRUE(linux_->need("namespaces", names));
  EXPECT_EQ(names, (std::vector<std::string>{"cgroup", "ipc", "mount", "network", "pid", "time",
                                             "user", "uts"}));
  ASSERT_TRUE(linux_->need("capabilities", names));
  EXPECT_EQ(names.size(), 41u);
}

}  // namespace
}  // namespace nacelle::oci
