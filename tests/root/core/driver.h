// A tiny engine for tests of nacelle-core: it makes plans from bundles, starts containers through
// core::Client, and keeps what it hears.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "core/client.h"
#include "nacelle/loop.h"
#include "ring/notice.h"
#include "tests/support/bundle.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::test {

// 64 hexadecimal digits made of a number.
std::string id_of(unsigned number);

struct Plan {
  std::string plan, cgroup_plan;
  bool terminal = false;
};
Plan compile(const Bundle& files);

class Driver {
 public:
  explicit Driver(std::string run_directory);
  ~Driver();

  ring::Loop& loop() { return *loop_; }
  core::Client& client() { return *client_; }
  void connect(std::string program = {});
  void disconnect();
  // Ends core by force; what it left in cgroups and on disk is removed.
  void clean_up();
  int core_pid();

  template <class Request>
  Result<typename Request::Reply> call(Request request, std::vector<const Fd*> descriptors = {}) {
    return loop_->run(client_->call(std::move(request), std::move(descriptors)));
  }

  core::StartRequest request(unsigned number, const Plan& plan);
  // The root, detached; and a directory for logs.
  Fd root(const Bundle& files);
  Result<core::StartRequest::Reply> start(unsigned number, const Bundle& files, const Plan& plan);
  Result<core::StartRequest::Reply> start(core::StartRequest request, const Bundle& files);
  // The event, within some seconds; nothing: it did not come.
  std::optional<core::ExitedEvent> exited(unsigned number, const std::string& exec = {});
  Result<> forget(unsigned number, const std::string& exec = {});
  std::optional<core::ListRequest::Process> find(unsigned number, const std::string& exec = {});
  bool wait_until(const std::function<bool()>& question);

  std::map<std::string, core::ExitedEvent> ends;
  std::vector<std::string> order;  // of events, by name
  std::vector<std::string> freed;  // addresses
  int restarts = 0;
  std::string log_directory;

 private:
  std::string run_directory_;
  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<core::Client> client_;
};

}  // namespace nacelle::test
