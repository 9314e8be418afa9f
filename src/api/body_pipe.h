// Bytes of a request's body into a worker, and out of one into an answer: by a pipe, whose other
// end the worker reads or writes.
#pragma once

#include "api/route.h"
#include "nacelle/fd.h"

namespace nacelle::api {

struct Pipe {
  Fd read_end, write_end;
};
Result<Pipe> open_pipe();

// All of `bytes`, waiting for room. False: whoever reads the pipe has gone.
ring::Task<bool> write_into_pipe(ring::Loop* loop, const Fd* pipe, std::string bytes);
// The whole body; ends when whoever reads the pipe has gone, too. Closes it.
ring::Task<> body_into_pipe(Call* call, Fd pipe);
// Runs a body into a pipe beside `use`, which reads it. What `use` says is what counts.
ring::Task<> with_body(Call* call, Fd write_end, ring::Task<> use);
// All that comes as a streamed answer, which begins with the first byte: an error before it can
// still be told.
ring::Task<> pipe_into_answer(Call* call, Fd pipe, std::string content_type);

}  // namespace nacelle::api
