// What clients send about containers, read from JSON as dockerd reads it: unknown members are
// passed over, `null` is as absent, a value of the wrong type is Invalid and named.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "engine/containers.h"
#include "engine/model.h"
#include "nacelle/result.h"

namespace nacelle::api {

// POST /containers/create, without what the query says.
Result<engine::CreateRequest> read_create_request(std::string_view body);
// POST /containers/{id}/update; "" is as {}.
Result<engine::UpdateRequest> read_update_request(std::string_view body);
// POST /containers/{id}/exec.
Result<engine::ExecConfig> read_exec_config(std::string_view body);

// POST /exec/{id}/start.
struct ExecStart {
  bool detach = false, tty = false;
  std::optional<std::pair<unsigned, unsigned>> console;  // height, width
};
Result<ExecStart> read_exec_start(std::string_view body);

// The container-wide MAC address of older clients becomes that of the endpoint on the main network.
// Says whether there was one.
Result<bool> move_mac_address(engine::CreateRequest& request);

// A size of a terminal: `invalid resize height "x": invalid syntax`.
Result<unsigned> read_console_size(std::string_view text, std::string_view name);
// Go's strconv.Atoi, for parameters that are numbers.
Result<int> read_number(std::string_view text);

}  // namespace nacelle::api
