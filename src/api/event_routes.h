// GET /events: what is kept of what happened, then what happens.
#pragma once

#include "api/route.h"

namespace nacelle::api {

ring::Task<> events(Call& call);

}  // namespace nacelle::api
