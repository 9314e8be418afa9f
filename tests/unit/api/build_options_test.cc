// Options of BuildKit's clients, as a build's request.
#include "api/build_options.h"

#include <gtest/gtest.h>

namespace nacelle::api {
namespace {

TEST(BuildOptions, are_read) {
  const auto request = read_frontend_options({{"filename", "Own"},
                                              {"target", "t"},
                                              {"build-arg:A", "1"},
                                              {"label:l", "2"},
                                              {"no-cache", ""},
                                              {"image-resolve-mode", "pull"},
                                              {"platform", "linux/arm64"},
                                              {"add-hosts", "a=1.2.3.4,b=::1"},
                                              {"ulimit", "nofile=10:20,core=0"},
                                              {"shm-size", "1000"},
                                              {"cgroup-parent", "p"},
                                              {"force-network-mode", "none"},
                                              {"attest:provenance", "mode=min"}});
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(request->dockerfile, "Own");
  EXPECT_EQ(request->target, "t");
  EXPECT_EQ(request->arguments.at("A"), "1");
  EXPECT_EQ(request->labels.at("l"), "2");
  EXPECT_TRUE(request->no_cache);
  EXPECT_TRUE(request->pull);
  EXPECT_EQ(request->platform.architecture, "arm64");
  EXPECT_EQ(request->host.extra_hosts, (std::vector<std::string>{"a:1.2.3.4", "b:::1"}));
  ASSERT_EQ(request->host.ulimits.size(), 2u);
  EXPECT_EQ(request->host.ulimits[0].soft, 10);
  EXPECT_EQ(request->host.ulimits[0].hard, 20);
  EXPECT_EQ(request->host.ulimits[1].hard, 0);
  EXPECT_EQ(request->host.shm_size, 1000);
  EXPECT_EQ(request->host.cgroup_parent, "p");
  EXPECT_EQ(request->host.network_mode, "none");
}

TEST(BuildOptions, contexts_come_from_elsewhere) {
  const auto request = read_frontend_options({{"context", "https://x/y.tar"},
                                              {"context:base", "docker-image://x:1"},
                                              {"context:files", "local:here"},
                                              {"context:page", "http://x/page"}});
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(request->context.url, "https://x/y.tar");
  ASSERT_EQ(request->contexts.size(), 3u);
  EXPECT_EQ(request->contexts.at("base").image, "x:1");
  EXPECT_EQ(request->contexts.at("files").directory, "here");
  EXPECT_EQ(request->contexts.at("page").url, "http://x/page");
  EXPECT_FALSE(read_frontend_options({})->context.is_set());
}

TEST(BuildOptions, what_would_change_the_image_and_is_not_understood_is_refused) {
  for (const FrontendOptions& options :
       {FrontendOptions{{"platform", "linux/amd64,linux/arm64"}},
        FrontendOptions{{"platform", "no platform"}}, FrontendOptions{{"ulimit", "nofile=x"}},
        FrontendOptions{{"shm-size", "big"}}, FrontendOptions{{"force-network-mode", "strange"}},
        FrontendOptions{{"context", "/a/b"}}, FrontendOptions{{"context:base", "input:x"}},
        FrontendOptions{{"context:base", "oci-layout://x"}},
        FrontendOptions{{"requestid", "frontend.lint"}}}) {
    EXPECT_FALSE(read_frontend_options(options)) << options.begin()->first;
  }
}

}  // namespace
}  // namespace nacelle::api
