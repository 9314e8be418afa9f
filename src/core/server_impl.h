// The inside of nacelle-core, a file per kind of work: server.cc (life, connections, dispatch),
// start.cc, exec.cc, end.cc (exits and forgetting), control.cc (signals, freezing, limits,
// terminals, clients), names.cc (who is called what), adopt.cc (after a death), upgrade.cc
// (re-exec). One thread: between two awaits nothing changes but by what is written there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bpf/groups.h"
#include "codec/flat.h"
#include "container/cgroup.h"
#include "container/launch.h"
#include "core/log_link.h"
#include "core/messages.h"
#include "core/names_port.h"
#include "core/netns_pool.h"
#include "core/packet.h"
#include "core/record.h"
#include "core/server.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "ring/notice.h"
#include "sys/cgroup.h"
#include "sys/clock.h"

namespace nacelle::core {

// One process core has started: a container's own, or an exec's. Held by the table and by the tasks
// that wait for it.
struct Process {
  enum class Stage : uint8_t {
    Starting,
    Running,
    Missing,  // it was gone when this core came; what its pidfd can tell comes with ParkedRequest
    Ended,    // and reaped
    Drained,  // what it wrote is in the log
    Forgotten,
  };
  Record record;
  Stage stage = Stage::Starting;
  bool child = true;  // ours to reap
  bool frozen = false;
  bool close_input = false;  // was asked for
  bool forgetting = false;
  uint64_t group = 0;  // of a container's own, once its traffic is counted
  Fd pidfd, input, output, error, journal, log_directory, network;
  // Its mount namespace, so that its end need not wait until the kernel has taken that apart.
  Fd mounts;
  std::vector<Fd> name_sockets;  // of dns::SetMember; none: nobody is answered there
  ring::Notice drained;

  std::string key() const { return key_of(record.id, record.exec); }
  bool is_running() const { return stage == Stage::Running; }
  // What is parked with the engine, in the order of the protocol.
  std::vector<int> parked() const;
};

struct Connection {
  std::shared_ptr<const Fd> socket;
  std::shared_ptr<Outbox> outbox;
};

// What comes with a request and what goes back with its reply.
struct Exchange {
  std::vector<Fd> descriptors;         // came
  std::vector<int> reply_descriptors;  // borrowed from `keep`
  std::shared_ptr<Process> keep;
  std::function<void()> after;  // once the reply is on its way
  uint64_t received_ns = 0;
  uint64_t request = 0;
};

// A request of a kind that nobody knows.
struct Unknown {
  using Reply = Nothing;
  template <class Visit>
  void fields(Visit&) {}
};

// Whether a predecessor's state can be understood (upgrade.cc).
Result<> check_state(const Fd& state);

class Server {
 public:
  Server(ring::Loop& loop, const ServerOptions& options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Before the loop runs.
  Result<> open(Fd lock, Fd listener);
  Result<> restore(const Fd& state);  // upgrade.cc; instead of open()
  ring::Task<int> run();

 private:
  friend class Starting;
  enum class Life { Serving, Upgrading, Ending };

  // server.cc
  Result<> open_common();
  ring::Task<> load_programs();
  ring::Task<> load_links();
  Result<> forget_unknown_links(const std::string& pins);
  ring::Task<> load_groups();
  ring::Task<> run_loader(std::string cgroup);  // empty: of the programs that watch links
  void count_group(Process& process);
  void forget_unknown_groups();
  ring::Task<> accept_engines();
  ring::Task<> read_requests(std::shared_ptr<Connection> connection);
  ring::Task<> handle(std::shared_ptr<Connection> connection, Packet packet);
  template <class Request>
  ring::Task<std::string> answer(std::string payload, Exchange& exchange);
  ring::Task<std::string> dispatch(uint8_t code, std::string payload, Exchange& exchange);
  ring::Task<Nothing> perform(Unknown request, Exchange& exchange);
  void become_engine(Fd socket);
  template <class Event>
  void send_event(const Event& event);
  void log_started();
  Result<std::shared_ptr<Process>> find(const std::string& id, const std::string& exec) const;
  Result<std::shared_ptr<Process>> find_running(const std::string& id,
                                                const std::string& exec) const;
  std::string absolute(const std::string& cgroup) const;

  // start.cc
  ring::Task<StartRequest::Reply> perform(StartRequest request, Exchange& exchange);
  ring::Task<> settle(container::Launch& launch);
  void add_streams(Process& process);
  Result<> make_streams(Process& process, bool input, int (&stdio)[3], Fd (&theirs)[3]);

  // exec.cc
  ring::Task<ExecRequest::Reply> perform(ExecRequest request, Exchange& exchange);

  // end.cc
  ring::Task<> watch(std::shared_ptr<Process> process);
  ring::Task<> finish(std::shared_ptr<Process> process);
  ring::Task<> watch_memory(std::shared_ptr<Process> process);
  void note_kills(Process& process, const Fd& group);
  void note_end(Process& process);
  ring::Task<Nothing> perform(ForgetRequest request, Exchange& exchange);
  ring::Task<> empty_cgroup(std::shared_ptr<Process> process);
  void drop(Process& process);
  ring::Task<> save_surely(const Record& record);
  ring::Task<> end_mounts(Fd mounts);

  // control.cc
  ring::Task<Nothing> perform(SignalRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(FreezeRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(UpdateRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(ResizeRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(AttachRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(CloseInputRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(PoolRequest request, Exchange& exchange);
  ring::Task<ConnectRequest::Reply> perform(ConnectRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(DisconnectRequest request, Exchange& exchange);
  Result<std::shared_ptr<Process>> find_connectable(const std::string& id) const;
  ring::Task<ListRequest::Reply> perform(ListRequest request, Exchange& exchange);
  ring::Task<StatusRequest::Reply> perform(StatusRequest request, Exchange& exchange);
  ring::Task<Nothing> perform(ShutdownRequest request, Exchange& exchange);
  void end_input(Process& process);

  // names.cc
  ring::Task<Nothing> perform(NamesRequest request, Exchange& exchange);
  Result<> check_names(const dns::Member& names) const;
  // The sockets too, where they are there. From here on others find it, and it is answered.
  void tell_names(const Process& process, bool with_sockets);
  void drop_names(Process& process);
  void names_started();
  // Into the record of one that runs; its sockets are made where it has none.
  ring::Task<> set_names(std::shared_ptr<Process> process, dns::Member names);
  ring::Task<> open_name_sockets(std::shared_ptr<Process> process);
  ring::Task<> serve_again(std::shared_ptr<Process> process);

  // adopt.cc
  Result<> adopt();
  void adopt_one(Record record);
  void end_begun(const Record& record);
  ring::Task<Nothing> perform(ParkedRequest request, Exchange& exchange);
  void give_up_missing();

  // upgrade.cc
  ring::Task<Nothing> perform(UpgradeRequest request, Exchange& exchange);
  ring::Task<> upgrade();
  ring::Task<> check_successor(const Fd& program);
  Result<Fd> write_state(const std::string& error) const;

  ring::Loop& loop_;
  ServerOptions options_;
  sys::CgroupTree tree_;
  std::optional<RecordStore> records_;
  Fd lock_, listener_, stub_, null_, program_;
  Fd bare_mounts_;  // empty: none can be made here, and starts take the longer way
  Fd spare_;        // given up for an end that has to be written down, and taken again
  uint64_t files_limit_[2] = {};
  std::map<std::string, std::shared_ptr<Process>> processes_;
  std::shared_ptr<Connection> engine_;
  std::unique_ptr<NetnsPool> pool_;
  container::DevicePrograms device_programs_;
  std::map<std::string, PoolRequest> pools_;  // as last asked for
  std::optional<bpf::Groups> groups_;
  std::string groups_error_;   // why there are none
  bool groups_known_ = false;  // whether there are
  ring::Notice groups_loaded_;
  std::unique_ptr<LogLink> logs_;
  NamesPort names_port_;
  std::unique_ptr<WorkerLink> names_;  // started for the first that is called anything

  Life life_ = Life::Serving;
  size_t requests_under_way_ = 0;
  ring::Notice life_changed_;
  // An upgrade that is under way: what to execute, whom to answer.
  std::string upgrade_program_;
  uint64_t upgrade_request_ = 0;
  bool going_over_ = false;
  std::optional<Error> upgrade_error_;
  ring::Notice upgrade_over_;
  // Everything that waits. Tasks here may be cancelled at any await and begun again: what they have
  // learned is in the table first.
  std::unique_ptr<ring::Scope> watching_;
  std::unique_ptr<ring::Scope> requests_;
};

// How long writers that outlive a process are waited for.
inline constexpr uint32_t linger_ms = 250;

using sys::monotonic_ns;
int64_t realtime_ns();

template <class Event>
void Server::send_event(const Event& event) {
  if (!engine_) return;
  (void)engine_->outbox->send_packet(PacketKind::Event, Event::code, 0, codec::flat::encode(event));
}

}  // namespace nacelle::core
