// The values of `run`'s options, as Docker's client reads them: pure, each with its complaint.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/model.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// One line of comma-separated values, of which some may be "quoted".
Result<std::vector<std::string>> parse_csv(std::string_view text);
// `KEY=VALUE`, or `KEY` alone.
void add_pair(engine::Labels& to, std::string_view text);

Result<engine::MountRequest> parse_mount(std::string_view text);

// "[IP:][HOST[-HOST]:]PORT[-PORT][/PROTOCOL]", or "target=80,published=8080,protocol=tcp".
Result<> add_published(std::string_view text, engine::Keys& exposed, engine::PortMap& bindings);
Result<> add_exposed(std::string_view text, engine::Keys& exposed);

// "NAME", or "name=NAME,alias=A,ip=1.2.3.4,...".
struct NetworkChoice {
  std::string name;
  engine::Endpoint endpoint;
};
Result<NetworkChoice> parse_network(std::string_view text);

Result<engine::DeviceMapping> parse_device(std::string_view text);
bool is_cdi_device(std::string_view text);  // "vendor.com/class=name"
Result<engine::DeviceRequest> parse_gpus(std::string_view text);
Result<engine::Ulimit> parse_ulimit(std::string_view text);
Result<engine::RestartPolicy> parse_restart(std::string_view text);
Result<engine::WeightDevice> parse_weight_device(std::string_view text);
Result<engine::ThrottleDevice> parse_throttle(std::string_view text, bool bytes);
Result<int64_t> parse_cpus(std::string_view text);  // nanoseconds of a processor's second
Result<std::string> check_added_host(std::string_view text);
Result<std::string> check_mac_address(std::string_view text);

// The lines of a file of variables or labels.
Result<std::vector<std::string>> read_variables(const std::string& path, bool from_environment);
// `KEY` alone is what our environment has.
std::string with_environment(std::string_view text);

}  // namespace nacelle::cli
