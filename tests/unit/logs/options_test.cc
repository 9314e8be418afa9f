#include "logs/options.h"

#include <gtest/gtest.h>

namespace nacelle::logs {
namespace {

using Config = std::map<std::string, std::string>;

std::string complaint(const std::string& type, const Config& config) {
  const auto options = parse_options(type, config);
  return options ? "" : options.error().message();
}

TEST(LogOptions, json_file_is_what_is_meant_by_nothing) {
  const auto options = parse_options("", {});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->driver, Driver::JsonFile);
  EXPECT_EQ(options->file_bytes_max, 0u);
  EXPECT_EQ(options->files_max, 1u);
  EXPECT_FALSE(options->compress);
  EXPECT_FALSE(options->non_blocking);
}

TEST(LogOptions, sizes_of_json_file_are_decimal_and_those_of_local_are_not) {
  EXPECT_EQ(parse_options("json-file", {{"max-size", "10m"}})->file_bytes_max, 10'000'000u);
  EXPECT_EQ(parse_options("json-file", {{"max-size", "1.5k"}})->file_bytes_max, 1'500u);
  EXPECT_EQ(parse_options("json-file", {{"max-size", "77"}})->file_bytes_max, 77u);
  EXPECT_EQ(parse_options("local", {{"max-size", "10m"}})->file_bytes_max, 10u << 20);
}

TEST(LogOptions, local_rotates_and_compresses_unless_told_otherwise) {
  const auto options = parse_options("local", {});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->file_bytes_max, 20u << 20);
  EXPECT_EQ(options->files_max, 5u);
  EXPECT_TRUE(options->compress);
  EXPECT_FALSE(parse_options("local", {{"compress", "false"}})->compress);
}

TEST(LogOptions, what_others_need_is_taken) {
  EXPECT_TRUE(parse_options("json-file", {{"labels", "a,b"},
                                          {"labels-regex", "^x"},
                                          {"env", "c"},
                                          {"env-regex", "d"},
                                          {"tag", "{{.Name}}"},
                                          {"cache-disabled", "true"},
                                          {"mode", "blocking"}}));
  EXPECT_TRUE(parse_options("none", {{"whatever", "1"}}));
  const auto options =
      parse_options("json-file", {{"mode", "non-blocking"}, {"max-buffer-size", "4m"}});
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->non_blocking);
  EXPECT_EQ(options->buffer_bytes_max, 4u << 20);
}

TEST(LogOptions, errors_are_in_dockerds_words) {
  EXPECT_EQ(complaint("json-file", {{"x", "1"}}), "unknown log opt 'x' for json-file log driver");
  EXPECT_EQ(complaint("local", {{"x", "1"}}), "unknown log opt 'x' for log driver local");
  EXPECT_EQ(complaint("syslogd", {}), "logger: no log driver named 'syslogd' is registered");
  EXPECT_EQ(complaint("json-file", {{"mode", "fast"}}), "logger: logging mode not supported: fast");
  EXPECT_EQ(complaint("json-file", {{"max-buffer-size", "1m"}}),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  EXPECT_EQ(complaint("json-file", {{"max-size", "big"}}), "invalid size: 'big'");
  EXPECT_EQ(complaint("json-file", {{"max-size", "-1"}}), "max-size must be a positive number");
  EXPECT_EQ(complaint("json-file", {{"max-size", "0"}}), "max-size must be a positive number");
  EXPECT_EQ(complaint("json-file", {{"max-file", "0"}}), "max-file cannot be less than 1");
  EXPECT_EQ(complaint("json-file", {{"max-file", "many"}}),
            "strconv.Atoi: parsing \"many\": invalid syntax");
  EXPECT_EQ(complaint("json-file", {{"compress", "yes"}}),
            "strconv.ParseBool: parsing \"yes\": invalid syntax");
  EXPECT_EQ(complaint("json-file", {{"compress", "true"}}),
            "compress cannot be true when max-file is less than 2 or max-size is not set");
  EXPECT_EQ(complaint("local", {{"max-file", "1"}}),
            "compression cannot be enabled when max file count is 1");
}

TEST(LogOptions, numbers_too_large_for_anything_are_refused) {
  for (const char* size : {"99999999999999999999", "9999999999p", "1e6", ".5m", "5.", "1 m x", ""})
    EXPECT_NE(complaint("json-file", {{"max-size", size}}), "") << size;
}

}  // namespace
}  // namespace nacelle::logs
