// The engine's place on a unix socket, taken by a script: it answers what it is told to, and keeps
// what it was asked. The client is our program, in a process of its own.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace nacelle::cli {

struct Asked {
  std::string method, target, body;
  std::string headers;  // as they came
};

struct Answer {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  std::string headers = {};  // more of them, each with its line's end
  // With a 101: sent behind the head, then the connection ends.
  std::string stream;
  // The connection's answer comes only after this many requests have come on others.
  size_t after_requests = 0;
};

struct Ended {
  int exit_code = -1;
  std::string out, err;
  std::vector<Asked> asked;
};

// Runs `nacelle WORDS`, and answers until it has ended (or killed it after ten seconds).
Ended run_client(const std::vector<std::string>& words,
                 const std::function<Answer(const Asked&)>& answer, const std::string& input = {});

}  // namespace nacelle::cli
