#include <gtest/gtest.h>

#include "api/stats_json.h"
#include "api/stream_format.h"
#include "codec/json.h"

namespace nacelle::api {
namespace {

logs::Entry entry(logs::Stream stream, std::string text) {
  return {stream, 1700000000'000000001, std::move(text), {{"a b", "c/d"}, {"e", "f"}}};
}

std::string formatted(const logs::Entry& one, LogFormat format) {
  std::string out;
  append_entry(out, one, format);
  return out;
}

TEST(LogFormat, frames) {
  using logs::Stream;
  EXPECT_EQ(formatted(entry(Stream::Stdout, "hi\n"), {}), std::string("\1\0\0\0\0\0\0\3hi\n", 11));
  EXPECT_EQ(formatted(entry(Stream::Stderr, ""), {}), std::string("\2\0\0\0\0\0\0\0", 8));
  const std::string large = formatted(entry(Stream::Stdout, std::string(0x12345, 'x')), {});
  EXPECT_EQ(large.substr(0, 8), std::string("\1\0\0\0\0\x01\x23\x45", 8));
  EXPECT_EQ(formatted(entry(Stream::Stderr, "hi\n"), {.framed = false}), "hi\n");
  // Each entry has a frame of its own.
  std::string two;
  append_entry(two, entry(Stream::Stdout, "a"), {});
  append_entry(two, entry(Stream::Stderr, "b"), {});
  EXPECT_EQ(two, std::string("\1\0\0\0\0\0\0\1a\2\0\0\0\0\0\0\1b", 18));
}

TEST(LogFormat, timestamps_and_details_stand_before_the_line) {
  const logs::Entry one = entry(logs::Stream::Stdout, "hi\n");
  const std::string time = "2023-11-14T22:13:20.000000001Z ";
  EXPECT_EQ(formatted(one, {.framed = false, .timestamps = true}), time + "hi\n");
  EXPECT_EQ(formatted(one, {.framed = false, .timestamps = true, .details = true}),
            time + "a+b=c%2Fd,e=f hi\n");
  EXPECT_EQ(formatted(one, {.framed = true, .timestamps = true})[7], char(31 + 3));
}

TEST(StatsJson, leaves_out_what_is_not_counted) {
  EXPECT_EQ(
      stats_json("/c1", "id", {}, {}),
      R"({"name":"/c1","id":"id","read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z",)"
      R"("pids_stats":{},"blkio_stats":{"io_service_bytes_recursive":null,)"
      R"("io_serviced_recursive":null,"io_queue_recursive":null,"io_service_time_recursive":null,)"
      R"("io_wait_time_recursive":null,"io_merged_recursive":null,"io_time_recursive":null,)"
      R"("sectors_recursive":null},"num_procs":0,"storage_stats":{},)"
      R"("cpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},)"
      R"("throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},)"
      R"("precpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,)"
      R"("usage_in_usermode":0},)"
      R"("throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},)"
      R"("memory_stats":{}})");
}

TEST(StatsJson, has_what_is) {
  engine::Sample before, now;
  before.time_ns = 1700000000'000000000;
  before.cpu_total = 5;
  now = before;
  now.time_ns += 1'000'000'000;
  now.cpu_total = 7;
  now.system_cpu = 100;
  now.online_cpus = 2;
  now.memory_usage = 4096;
  now.memory_limit = 8192;
  now.memory_stat = {{"anon", 1}};
  now.pids = 3;
  now.pids_limit = ~uint64_t{0};
  now.io_bytes = {{{.major = 8, .minor = 1, .op = "read", .value = 9}}};
  now.networks = {{{"eth0", {.rx_bytes = 1, .tx_dropped = 2}}}};
  const std::string text = stats_json("/c", "id", now, before);
  ASSERT_TRUE(codec::json::Document::parse(text));
  for (const char* part :
       {R"("read":"2023-11-14T22:13:21.000000000Z","preread":"2023-11-14T22:13:20.000000000Z")",
        R"("pids_stats":{"current":3,"limit":18446744073709551615})",
        R"("io_service_bytes_recursive":[{"major":8,"minor":1,"op":"read","value":9}])",
        R"("total_usage":7)", R"("system_cpu_usage":100,"online_cpus":2)",
        R"("precpu_stats":{"cpu_usage":{"total_usage":5)",
        R"("memory_stats":{"usage":4096,"stats":{"anon":1},"limit":8192})",
        R"("networks":{"eth0":{"rx_bytes":1,"rx_packets":0)", R"("tx_dropped":2}})"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

}  // namespace
}  // namespace nacelle::api
