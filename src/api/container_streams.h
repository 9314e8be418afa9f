// What is told of a container while it happens: logs, attached streams, its end, its use of
// resources.
#pragma once

#include "api/route.h"
#include "nacelle/task.h"

namespace nacelle::api {

ring::Task<> container_logs(Call& call);
ring::Task<> container_wait(Call& call);
ring::Task<> container_attach(Call& call);
ring::Task<> container_attach_websocket(Call& call);
ring::Task<> container_stats(Call& call);

}  // namespace nacelle::api
