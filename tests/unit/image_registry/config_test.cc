#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "image/registry_config.h"
#include "image/registry_credentials.h"

namespace nacelle::image {
namespace {

// A home directory of its own for each test, and nothing of the caller's environment.
class RegistryConfig : public testing::Test {
 protected:
  RegistryConfig() {
    char name[] = "/tmp/nacelle-registry-config.XXXXXX";
    home_ = ::mkdtemp(name);
    for (const char* variable :
         {"DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HTTP_PROXY", "http_proxy",
          "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}) {
      ::unsetenv(variable);
    }
    ::setenv("HOME", home_.c_str(), 1);
    path_ = ::getenv("PATH");
    ::setenv("PATH", (home_ + "/bin:" + path_).c_str(), 1);
    write("bundle.pem", pem("system"));
    ::setenv("SSL_CERT_FILE", (home_ + "/bundle.pem").c_str(), 1);
    options_.certificate_directories = {home_ + "/certs"};
  }
  ~RegistryConfig() override {
    ::setenv("PATH", path_.c_str(), 1);
    EXPECT_EQ(::system(("rm -rf " + home_).c_str()), 0);
  }

  static std::string pem(const std::string& what) {
    return "-----BEGIN CERTIFICATE-----\n" + what + "\n-----END CERTIFICATE-----\n";
  }
  void write(const std::string& name, const std::string& text, mode_t mode = 0600) {
    const std::string path = home_ + "/" + name;
    for (size_t at = path.find('/', 5); at != std::string::npos; at = path.find('/', at + 1)) {
      ::mkdir(path.substr(0, at).c_str(), 0700);
    }
    std::ofstream(path, std::ios::trunc) << text;
    ::chmod(path.c_str(), mode);
  }
  Result<RegistryOpenRequest> open(const std::string& name, RegistryUse use = RegistryUse::Pull) {
    return registry_open_request(*oci::parse_reference(name), use, options_);
  }
  Credentials find(const std::string& registry, const std::string& repository = "a/b") {
    const auto found = find_credentials(credential_files(), registry, repository);
    EXPECT_TRUE(found) << found.error().message();
    return found ? *found : Credentials();
  }

  std::string home_, path_;
  RegistryOptions options_;
};

TEST_F(RegistryConfig, of_a_machine_that_knows_nothing_is_tls_and_nobody) {
  const auto request = open("registry.example/team/app");
  ASSERT_TRUE(request) << request.error().message();
  ASSERT_EQ(request->endpoints.size(), 1u);
  EXPECT_EQ(request->endpoints[0].url, "https://registry.example");
  EXPECT_FALSE(request->endpoints[0].skip_verify);
  EXPECT_EQ(request->endpoints[0].username, "");
  EXPECT_EQ(request->repository, "team/app");
  EXPECT_EQ(request->system_ca_pem, pem("system"));
  EXPECT_FALSE(request->push);
}

TEST_F(RegistryConfig, of_a_registry_on_this_machine_goes_without_tls_if_it_must) {
  for (const char* name : {"localhost:5000/a", "127.0.0.1:5000/a", "127.1.2.3/a", "[::1]:5000/a"}) {
    const auto request = open(name, RegistryUse::Push);
    ASSERT_TRUE(request) << request.error().message();
    ASSERT_EQ(request->endpoints.size(), 2u) << name;
    EXPECT_TRUE(request->endpoints[0].url.starts_with("https://") &&
                request->endpoints[0].skip_verify);
    EXPECT_TRUE(request->endpoints[1].url.starts_with("http://")) << name;
    EXPECT_TRUE(request->push);
  }
}

TEST_F(RegistryConfig, names_insecure_registries_one_by_one_or_by_network) {
  options_.insecure_registries = {"Registry.example:5000", "10.1.0.0/16", "fd00::/9",
                                  "10.2.3.4/32"};
  for (const char* name : {"registry.example:5000/a", "10.1.255.1/a", "10.1.0.1:80/a",
                           "[fd7f::1]:5000/a", "10.2.3.4/a"}) {
    EXPECT_EQ(open(name)->endpoints.size(), 2u) << name;
  }
  for (const char* name : {"registry.example/a", "registry.example:5001/a", "10.2.0.1/a",
                           "10.2.3.5/a", "[fd80::1]:5000/a", "a.registry.example:5000/a"}) {
    EXPECT_EQ(open(name)->endpoints.size(), 1u) << name;
  }
  for (const char* entry : {"10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/", "10.0.0.0/-1", "/8"}) {
    options_.insecure_registries = {entry};
    EXPECT_FALSE(open("registry.example/a")) << entry;
  }
}

TEST_F(RegistryConfig, asks_mirrors_for_what_is_docker_hubs_and_only_to_pull) {
  options_.mirrors = {"https://mirror.example/hub", "http://localhost:5000"};
  write(".docker/config.json", R"({"auths":{"mirror.example":{"auth":"bTpw"}}})");
  const auto request = open("busybox");
  ASSERT_TRUE(request) << request.error().message();
  ASSERT_EQ(request->endpoints.size(), 3u);
  EXPECT_EQ(request->endpoints[0].url, "https://mirror.example/hub");
  EXPECT_EQ(request->endpoints[0].username, "m");
  EXPECT_EQ(request->endpoints[1].url, "http://localhost:5000/");
  EXPECT_EQ(request->endpoints[2].url, "https://registry-1.docker.io");
  EXPECT_EQ(request->endpoints[2].username, "");
  EXPECT_EQ(open("busybox", RegistryUse::Push)->endpoints.size(), 1u);
  EXPECT_EQ(open("registry.example/a")->endpoints.size(), 1u);
  options_.mirrors = {"mirror.example"};
  EXPECT_FALSE(open("busybox"));
}

TEST_F(RegistryConfig, takes_proxies_from_the_environment) {
  ::setenv("http_proxy", "http://one:1", 1);
  ::setenv("HTTPS_PROXY", "http://two:2", 1);
  ::setenv("https_proxy", "http://three:3", 1);
  ::setenv("NO_PROXY", "a,b", 1);
  const auto request = open("registry.example/a");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->http_proxy, "http://one:1");
  EXPECT_EQ(request->https_proxy, "http://two:2");
  EXPECT_EQ(request->no_proxy, "a,b");
}

TEST_F(RegistryConfig, finds_certificates_where_docker_does) {
  write("certs/registry.example:5000/b.crt", pem("b"));
  write("certs/registry.example:5000/a.crt", pem("a"));
  write("certs/registry.example:5000/client.cert", pem("cert"));
  write("certs/registry.example:5000/client.key", pem("key"));
  write("certs/registry.example:5000/README", "x");
  const auto endpoint = open("registry.example:5000/a")->endpoints[0];
  EXPECT_EQ(endpoint.ca_pem, pem("a") + pem("b"));
  EXPECT_EQ(endpoint.client_certificate_pem, pem("cert"));
  EXPECT_EQ(endpoint.client_key_pem, pem("key"));
  EXPECT_EQ(open("registry.example/a")->endpoints[0].ca_pem, "");
}

TEST_F(RegistryConfig, refuses_certificates_that_are_none) {
  write("certs/one.example/ca.crt", "not a certificate");
  write("certs/two.example/client.cert", pem("cert"));
  EXPECT_FALSE(open("one.example/a"));
  const auto without_key = open("two.example/a");
  ASSERT_FALSE(without_key);
  EXPECT_TRUE(without_key.error().message().contains("client.key"))
      << without_key.error().message();
  ::setenv("SSL_CERT_FILE", (home_ + "/absent").c_str(), 1);
  EXPECT_FALSE(open("registry.example/a"));
}

TEST_F(RegistryConfig, finds_credentials_under_every_name_a_registry_has) {
  // user:pass, u:p:q
  write(".docker/config.json", R"({"auths":{
      "https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"},
      "http://plain.example:5000/v2/":{"auth":"dTpwOnE"},
      "Upper.Example":{"username":"n","password":"w"},
      "quay.example":{"auth":"dXNlcjpwYXNz"},
      "quay.example/team":{"username":"team","password":"t"},
      "token.example":{"auth":"dXNlcjpwYXNz","identitytoken":"abc"},
      "empty.example":{}}})");
  EXPECT_EQ(find("docker.io").password, "pass");
  EXPECT_EQ(find("plain.example:5000").username, "u");
  EXPECT_EQ(find("plain.example:5000").password, "p:q");
  EXPECT_EQ(find("upper.example").username, "n");
  EXPECT_EQ(find("quay.example", "other/x").username, "user");
  EXPECT_EQ(find("quay.example", "team/x").username, "team");
  EXPECT_EQ(find("quay.example", "teams/x").username, "user");
  EXPECT_EQ(find("token.example").identity_token, "abc");
  for (const char* nobody :
       {"empty.example", "plain.example", "example", "xquay.example", "quay.example:1"}) {
    EXPECT_TRUE(find(nobody).empty()) << nobody;
  }
}

TEST_F(RegistryConfig, looks_into_files_in_their_order) {
  write(".config/containers/auth.json",
        R"({"auths":{"a.example":{"auth":"MTox"},"b.example":{"auth":"MTox"}}})");
  write(".docker/config.json", R"({"auths":{"a.example":{"auth":"Mjoy"}}})");
  EXPECT_EQ(find("a.example").username, "2");
  EXPECT_EQ(find("b.example").username, "1");
  write("elsewhere/config.json", R"({"auths":{"a.example":{"auth":"Mzoz"}}})");
  ::setenv("DOCKER_CONFIG", (home_ + "/elsewhere").c_str(), 1);
  EXPECT_EQ(find("a.example").username, "3");
  write("own.json", R"({"auths":{"a.example":{"auth":"NDo0"}}})");
  ::setenv("REGISTRY_AUTH_FILE", (home_ + "/own.json").c_str(), 1);
  EXPECT_EQ(find("a.example").username, "4");
}

TEST_F(RegistryConfig, names_the_file_that_is_broken_and_none_of_its_secrets) {
  const std::string cases[] = {
      "",
      "{",
      "[]",
      R"({"auths":[]})",
      R"({"auths":{"a.example":7}})",
      R"({"auths":{"a.example":{"auth":"c2VjcmV0"}}})",
      R"({"auths":{"a.example":{"auth":"OnNlY3JldA=="}}})",
      R"({"auths":{"a.example":{"auth":"secret!"}}})",
      R"({"auths":{"a.example":{"auth":{}}}})",
      R"({"credHelpers":7})",
      R"({"credHelpers":{"a.example":{}}})",
      R"({"credsStore":"../x"})",
      R"({"credsStore":"a b"})",
      R"({"credsStore":"a/b"})",
      R"({"credsStore":"nobody-has-this"})",
      std::string(credential_file_bytes_max + 1, ' '),
  };
  for (const std::string& text : cases) {
    write(".docker/config.json", text);
    const auto found = find_credentials(credential_files(), "a.example", "a/b");
    ASSERT_FALSE(found) << text.substr(0, 80);
    EXPECT_TRUE(found.error().message().contains("config.json")) << found.error().message();
    EXPECT_FALSE(found.error().message().contains("secret")) << found.error().message();
  }
}

TEST_F(RegistryConfig, asks_the_helper_that_is_named) {
  write("bin/docker-credential-test",
        "#!/bin/sh\n[ \"$1\" = get ] || exit 9\nread server\n"
        "case $server in\n"
        "  absent*) echo 'credentials not found in native keychain'; exit 1;;\n"
        "  token*) echo '{\"ServerURL\":\"x\",\"Username\":\"<token>\",\"Secret\":\"t\"}';;\n"
        "  *) echo \"{\\\"Username\\\":\\\"u\\\",\\\"Secret\\\":\\\"$server\\\"}\";;\nesac\n",
        0700);
  write(".docker/config.json",
        R"({"credsStore":"test","credHelpers":{"broken.example":"absent-helper"},
      "auths":{"absent.example":{"auth":"dXNlcjpwYXNz"}}})");
  EXPECT_EQ(find("docker.io").password, "https://index.docker.io/v1/");
  EXPECT_EQ(find("a.example:5000").password, "a.example:5000");
  EXPECT_EQ(find("token.example").identity_token, "t");
  EXPECT_EQ(find("token.example").username, "");
  EXPECT_EQ(find("absent.example").username, "user");  // the file knows what the keychain does not
  EXPECT_FALSE(find_credentials(credential_files(), "broken.example", "a"));
}

TEST_F(RegistryConfig, gives_up_a_helper_that_misbehaves) {
  write("bin/docker-credential-fails", "#!/bin/sh\nprintf 'no \\033[31mway\\n'; exit 1\n", 0700);
  write("bin/docker-credential-hangs", "#!/bin/sh\nsleep 60\n", 0700);
  write("bin/docker-credential-shuts", "#!/bin/sh\nexec >&-\nsleep 60\n", 0700);
  write("bin/docker-credential-talks", "#!/bin/sh\nyes\n", 0700);
  write("bin/docker-credential-rambles", "#!/bin/sh\necho hello\n", 0700);
  write("bin/docker-credential-closes", "#!/bin/sh\nexec <&-\necho '{}'\n", 0700);
  const struct {
    const char* name;
    const char* words;
  } cases[] = {{"fails", "fails: no  [31mway"},
               {"hangs", "no answer in time"},
               {"shuts", "does not end in time"},
               {"talks", "longer than"},
               {"rambles", "docker-credential-rambles"}};
  for (const auto& each : cases) {
    const auto found =
        ask_credential_helper(each.name, "a.example", std::chrono::milliseconds(500));
    ASSERT_FALSE(found) << each.name;
    EXPECT_TRUE(found.error().message().contains(each.words)) << found.error().message();
    EXPECT_FALSE(found.error().message().contains('\x1b'));
  }
  EXPECT_TRUE(ask_credential_helper("closes", "a.example"));
}

}  // namespace
}  // namespace nacelle::image
