// Goal: what is told in Prometheus' format is what was measured, and what was not is absent and
// says so.
#include <gtest/gtest.h>

#include "api/metrics_text.h"
#include "base/text.h"

namespace nacelle::api {
namespace {

engine::Pass one_container() {
  engine::Pass pass;
  engine::Pass::One& one = pass.containers.emplace_back();
  one.id = "abc";
  one.name = "web";
  one.image = "busybox:latest";
  one.started_at = "1970-01-01T00:01:00.5Z";
  one.sample.time_ns = 90'000'000'000;
  return pass;
}
constexpr std::string_view labels = R"({id="abc",name="web",image="busybox:latest"})";

bool has_line(const std::string& text, const std::string& line) {
  return text.starts_with(line + "\n") || text.contains("\n" + line + "\n");
}

TEST(MetricsWriter, labels_are_escaped) {
  MetricsWriter out;
  out.family("a_total", "counter", "Help.");
  out.sample(MetricsWriter::label_text({{"x", "a\"b\\c\nd"}}), {{"y", "\xff"}}, 7);
  EXPECT_EQ(std::move(out).take(),
            "# HELP a_total Help.\n# TYPE a_total counter\n"
            "a_total{x=\"a\\\"b\\\\c\\nd\",y=\"(not UTF-8)\"} 7\n");
}

TEST(MetricsWriter, fractions_are_exact) {
  MetricsWriter out;
  out.family("a", "gauge", "b");
  for (const uint64_t value : {0ul, 1ul, 1'500'000'000ul, 18'446'744'073'709'551'615ul}) {
    out.sample({}, {}, value, 1'000'000'000);
  }
  EXPECT_EQ(std::move(out).take(),
            "# HELP a b\n# TYPE a gauge\na 0\na 0.000000001\na 1.5\na 18446744073.709551615\n");
}

TEST(Metrics, what_was_measured_is_told) {
  engine::Pass pass = one_container();
  engine::Sample& sample = pass.containers[0].sample;
  sample.cpu_total = 2'500'000'000;
  sample.memory_usage = 1000;
  sample.memory_stat = {{"inactive_file", 300}, {"anon", 0}};
  sample.pids = 3;
  sample.pids_limit = ~uint64_t{0};
  sample.io_bytes.emplace().push_back({8, 16, "read", 512});
  sample.networks.emplace()["eth0"].rx_bytes = 77;
  sample.cpu_pressure = engine::Pressure{1'000, std::nullopt};
  const std::string text = metrics_text(pass, {});
  for (const auto& [name, more, value] :
       {std::tuple{"container_cpu_usage_seconds_total", R"(cpu="total")", "2.5"},
        {"container_memory_usage_bytes", "", "1000"},
        {"container_memory_working_set_bytes", "", "700"},
        {"container_memory_rss", "", "0"},  // measured: it is zero
        {"container_threads", "", "3"},
        {"container_start_time_seconds", "", "60.5"},
        {"container_last_seen", "", "90"},
        {"container_fs_reads_bytes_total", R"(device="8:16")", "512"},
        {"container_network_receive_bytes_total", R"(interface="eth0")", "77"},
        {"container_pressure_cpu_waiting_seconds_total", "", "0.001"}}) {
    std::string all(labels);
    if (*more != '\0') all.insert(all.size() - 1, cat(",", std::string_view(more)));
    const std::string line = cat(std::string_view(name), all, " ", std::string_view(value));
    EXPECT_TRUE(has_line(text, line)) << line << "\n" << text;
  }
  // No limit, and nothing that was not measured.
  for (const char* absent : {"container_threads_max", "container_memory_cache",
                             "container_pressure_cpu_stalled", "container_oom_events_total"}) {
    EXPECT_FALSE(text.contains(absent)) << absent;
  }
}

TEST(Metrics, what_is_absent_says_for_how_many_and_why) {
  engine::Pass pass = one_container();
  pass.containers.push_back(pass.containers[0]);
  pass.containers[1].host_network = true;
  EngineFigures figures;
  figures.core_trouble = "is gone";
  const std::string text = metrics_text(pass, figures);
  EXPECT_FALSE(text.contains("container_memory_usage_bytes"));
  EXPECT_TRUE(has_line(text,
                       R"(nacelle_unavailable{what="container_memory",why="the cgroup v2 tree has )"
                       R"(no memory controller for the container"} 2)"))
      << text;
  EXPECT_TRUE(has_line(text,
                       R"(nacelle_unavailable{what="container_network",why="the container is on )"
                       R"(the host's network and has no interface of its own"} 1)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(nacelle_unavailable{what="nacelle_core",why="is gone"} 1)"))
      << text;
  EXPECT_FALSE(text.contains("nacelle_core_processes"));
}

TEST(Metrics, traffic_of_a_group_says_its_layer_or_why_it_is_not_there) {
  engine::Pass pass = one_container();
  pass.traffic_trouble = "no \"pins\"";
  std::string text = metrics_text(pass, {});
  EXPECT_TRUE(has_line(
      text, R"(nacelle_unavailable{what="nacelle_container_traffic",why="no \"pins\""} 1)"))
      << text;
  EXPECT_FALSE(text.contains("nacelle_container_sent_bytes_total"));
  auto& traffic = pass.containers[0].sample.traffic.emplace();
  traffic.sent_bytes = 5;
  traffic.rtt_us_sum = 1'500;
  text = metrics_text(pass, {});
  EXPECT_TRUE(has_line(text, cat("nacelle_container_sent_bytes_total", labels, " 5"))) << text;
  EXPECT_TRUE(has_line(text, cat("nacelle_container_tcp_rtt_seconds_total", labels, " 0.0015")));
  EXPECT_TRUE(text.contains("(layer 3)"));
  EXPECT_FALSE(text.contains(R"(what="nacelle_container_traffic")"));
}

TEST(Metrics, a_joined_network_is_not_counted_twice) {
  engine::Pass pass = one_container();
  pass.containers[0].sample.networks.emplace()["eth0"].rx_bytes = 77;
  pass.containers[0].joined_network = true;
  EXPECT_FALSE(metrics_text(pass, {}).contains("container_network_receive"));
}

TEST(Metrics, starts_are_a_histogram) {
  EngineFigures figures;
  figures.counts.add_start(700);
  figures.counts.add_start(3'000'000);
  const std::string text = metrics_text({}, figures);
  for (const char* line :
       {R"(nacelle_container_start_seconds_bucket{le="0.0005"} 0)",
        R"(nacelle_container_start_seconds_bucket{le="0.001"} 1)",
        R"(nacelle_container_start_seconds_bucket{le="2.5"} 1)",
        R"(nacelle_container_start_seconds_bucket{le="+Inf"} 2)",
        "nacelle_container_start_seconds_sum 3.0007", "nacelle_container_start_seconds_count 2"}) {
    EXPECT_TRUE(has_line(text, line)) << line << "\n" << text;
  }
}

}  // namespace
}  // namespace nacelle::api
