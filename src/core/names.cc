// Who is called what: into the records, and from there to the names worker, with the sockets by
// which a container asks. Core keeps all of it, so that another worker can be told again; another
// core makes the sockets again.
#include <utility>

#include "base/text.h"
#include "core/server_impl.h"
#include "ring/ops.h"

namespace nacelle::core {
namespace {

// The sockets of a core before this one go with its worker, which is about to see that it is gone.
constexpr int serve_turns_max = 100;
constexpr std::chrono::milliseconds serve_pause{20};

}  // namespace

Result<> Server::check_names(const dns::Member& names) const {
  size_t count = 0;
  for (const dns::Endpoint& each : names.endpoints) count += each.names.size() + each.links.size();
  const bool fits = names.endpoints.size() <= dns::endpoints_max && count <= dns::names_max &&
                    names.upstreams.size() <= dns::upstreams_max &&
                    codec::flat::encode(names).size() <= dns::member_bytes_max;
  if (!fits) return fail(Kind::Exhausted, "too many names for one container");
  return {};
}

void Server::tell_names(const Process& process, bool with_sockets) {
  const Record& record = process.record;
  if (!record.has_names || process.name_sockets.empty()) return;
  const bool is_first = !names_->is_started();
  if (is_first) names_->start();
  dns::SetMember message{.id = record.id, .member = record.names, .has_sockets = with_sockets};
  message.member.forwards = false;
  for (const Interface& interface : record.interfaces) {
    message.member.forwards |= !interface.internal;
    for (dns::Endpoint& endpoint : message.member.endpoints) {
      if (endpoint.network != interface.network) continue;
      endpoint.addresses = {interface.address, interface.address6};
      std::erase(endpoint.addresses, std::string());
    }
  }
  std::vector<int> sockets;
  for (const Fd& each : process.name_sockets) sockets.push_back(each.get());
  if (!with_sockets) sockets.clear();
  (void)names_->send(message, sockets);
}

void Server::drop_names(Process& process) {
  if (process.name_sockets.empty()) return;
  process.name_sockets.clear();
  (void)names_->send(dns::DropMember{process.record.id});
}

// A worker that knows nothing hears of everyone.
void Server::names_started() {
  for (const auto& [key, process] : processes_) tell_names(*process, true);
}

ring::Task<> Server::open_name_sockets(std::shared_ptr<Process> process) {
  co_await names_port_.ensure(tree_, options_.cgroup_root);
  std::vector<Fd> sockets = co_await pool_->serve(process->pidfd);
  // It may have ended meanwhile, or somebody else was as quick.
  if (process->is_running() && process->name_sockets.empty()) {
    process->name_sockets = std::move(sockets);
  }
}

ring::Task<> Server::set_names(std::shared_ptr<Process> process, dns::Member names) {
  const bool has_none = process->name_sockets.empty();
  if (has_none) co_await open_name_sockets(process);
  process->record.has_names = true;
  process->record.names = std::move(names);
  tell_names(*process, has_none);
}

// After a death: by the record alone.
ring::Task<> Server::serve_again(std::shared_ptr<Process> process) {
  for (int turn = 0; process->is_running() && process->name_sockets.empty(); ++turn) {
    const auto opened = co_await as_result(open_name_sockets(process));
    if (opened) break;
    if (turn == serve_turns_max || opened.error().kind() == Kind::Cancelled) co_await opened;
    co_await ring::sleep_for(loop_, serve_pause);
  }
  tell_names(*process, true);
}

ring::Task<Nothing> Server::perform(NamesRequest request, Exchange&) {
  const auto process = co_await find_connectable(request.id);
  co_await check_names(request.names);
  co_await set_names(process, std::move(request.names));
  if (process->is_running()) co_await records_->save(process->record);
  co_return Nothing{};
}

}  // namespace nacelle::core
