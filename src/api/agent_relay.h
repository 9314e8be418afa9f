// A connection to an agent of a build's client, carried over a call to it: what is said at either
// end comes out at the other, both ways at a time, and so do the ends.
#pragma once

#include "http/grpc.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::api {

// Until both ends have said their last, or one of them has failed. Both are borrowed.
ring::Task<> relay_agent(ring::Loop& loop, http::GrpcCall& call, const Fd& connection);

}  // namespace nacelle::api
