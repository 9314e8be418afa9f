// What the files of this room share; private to them and to engine.cc. The rules:
//   * An Entry is held by shared_ptr wherever an await comes between: a removal may take it off
//     the list meanwhile (`gone`).
//   * Starts, stops, removals, renames and updates of one container take turns (Turn). Ends do
//     not: they are told by nacelle-core at any time, and are taken note of without an await.
//   * What a client asked for goes on when the client has left (shielded()).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/client.h"
#include "core/messages.h"
#include "engine/containers.h"
#include "engine/engine.h"
#include "engine/janitor.h"
#include "engine/model.h"
#include "engine/record.h"
#include "engine/restart_policy.h"
#include "engine/spare_roots.h"
#include "engine/spec_builder.h"
#include "image/images.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::engine {

// In a container's directory from before its anonymous volumes are made: their names, a line each.
inline constexpr const char* made_volumes_file = "volumes";

// What waits look at; outlives its container.
struct Pulse {
  ring::Notice changed;
  uint64_t exits = 0;
  int exit_code = 0;
  bool removed = false;
  std::string error;
};

// A client that has attached before the start.
struct ParkedClient {
  AttachOptions options;
  std::shared_ptr<Fd> socket;
  std::string early_bytes;
};

struct Entry;
// What --link named, as it was found at the last start.
struct Link {
  std::weak_ptr<Entry> container;
  std::string alias;
};

// "name", "name:alias", or "/name:/other/alias", which is how Docker shows one.
struct LinkName {
  std::string name, alias;
};
Result<LinkName> parse_link(const std::string& text);

struct Entry {
  Container container;
  std::vector<MountPlan> mounts;
  bool removing = false, remove_volumes = false;  // both are in the record
  bool gone = false;                              // no longer listed

  bool in_turn = false;
  ring::Notice turn_free;
  std::shared_ptr<Pulse> pulse = std::make_shared<Pulse>();

  uint64_t run = 0;          // counts starts: what belongs to an earlier run sees so
  bool core_has_it = false;  // from before the start until core has forgotten it
  bool starting = false;     // core was asked and its answer has not been taken note of
  ring::Notice start_over;
  std::optional<core::ExitedEvent> early_exit;  // that came meanwhile
  ring::Notice forgotten;
  bool ending = false;  // its stop was asked for: no restart
  bool auto_removing = false;
  int64_t started_ns = 0;  // steady enough: for how long it ran
  std::unique_ptr<Compiled> compiled;
  Fd ready_root;  // of what never ran: its root, mounted ahead
  Fd mount;  // of its root while it runs: its last close, which may wait for a disk, is then ours
  std::shared_ptr<Leaving> left_mount;  // of its last run, and not to be there in the next one
  std::vector<ParkedClient> parked;
  std::vector<std::weak_ptr<logs::Reader>> followers;  // told when nothing more will be written
  std::vector<Link> links;
  std::vector<std::weak_ptr<Entry>> linked_from;  // whose hosts file has our address
  bool had_execs = false;
  // The networks it has interfaces of, in core's order: the first that leads out is its way out.
  std::vector<std::string> attached;
  RestartBackoff backoff;
  ring::Notice health_stop;
  bool dirty = false;    // the record is not known to be on disk
  bool unsaved = false;  // it is not even written
};
using EntryRef = std::shared_ptr<Entry>;

struct ExecEntry {
  Exec exec;
  uint64_t number = 0;  // in the order they were made
  EntryRef container;
  bool core_has_it = false;
  ring::Notice ended;
  std::vector<std::string> environment;
};
using ExecRef = std::shared_ptr<ExecEntry>;

// Given back when it goes.
class Turn {
 public:
  explicit Turn(EntryRef entry) : entry_(std::move(entry)) { entry_->in_turn = true; }
  Turn(Turn&&) noexcept = default;
  Turn& operator=(Turn&&) = delete;
  ~Turn() {
    if (!entry_) return;
    entry_->in_turn = false;
    entry_->turn_free.notify_one();
  }

 private:
  EntryRef entry_;
};

// An image as starts need it again and again.
struct KnownImage {
  image::Details details;
  std::string chains;  // a line each: containers/<id>/image
  Fd root;             // a read-only mount, once somebody had to look into it
};

struct Containers::State {
  explicit State(Engine& engine_in);

  Engine& engine;
  ring::Loop& loop;
  Fd directory;  // <data root>/containers
  std::string directory_path;
  std::map<std::string, EntryRef, std::less<>> entries;
  std::set<std::string, std::less<>> unloaded;         // ids whose records have not been read
  std::unordered_map<std::string, std::string> names;  // -> id; also of those being made
  std::map<std::string, ExecRef, std::less<>> execs;
  uint64_t execs_made = 0;
  std::deque<EntryRef> graveyard;  // removed a moment ago: others may still look at them
  ContainerCounts counts;
  bool recovered = false, loaded = false;
  ring::Notice progress;          // of the two above
  std::deque<EntryRef> compiled;  // who has a plan ready, oldest first
  std::deque<EntryRef> dirty;
  bool flushing = false;
  ring::Scope background;

  // Images, by what they were asked for. Thrown away when the store's index has changed.
  std::map<std::string, std::shared_ptr<KnownImage>, std::less<>> images;
  std::map<std::string, Trees, std::less<>> trees;  // by chains
  std::string index_stamp;
  Janitor janitor;
  SpareRoots spares;
  struct HostFile {
    const char* path;
    std::string text = {}, stamp = {};
  };
  HostFile hosts_resolv_conf{.path = "/etc/resolv.conf"}, resolv_behind{.path = resolv_conf_behind};

  // container_find.cc
  ring::Task<> ready();  // until recover() has taken up what runs
  ring::Task<> all_loaded();
  ring::Task<EntryRef> find(std::string text);
  EntryRef entry_of(const std::string& id);  // listed, or null
  ring::Task<Turn> take_turn(EntryRef entry);
  void list(EntryRef entry);
  void unlist(const EntryRef& entry);
  bool is_taken(const std::string& name) const { return names.contains(name); }
  std::unexpected<Error> name_conflict(const std::string& name) const;

  // container_create.cc
  // `image`: what the request's name stands for, with its root, where it is not in the store.
  ring::Task<Created> create(CreateRequest request, std::shared_ptr<KnownImage> image = {});
  ring::Task<std::shared_ptr<KnownImage>> find_image(std::string name);
  std::string stamp_of_index() const;
  Result<Trees> trees_of(const std::string& chains);
  void wish_for_spare(const RootKind& kind);
  void drop_spare(SpareRoot spare);
  void discard_spare(const std::string& name);
  void drop_ready_root(Entry& entry);
  ring::Task<> prepare_root(std::shared_ptr<KnownImage> image);
  // `mounted`: the container's root, where there is one already; else the image is looked into.
  ring::Task<> compile(EntryRef entry, const CreateRequest& request, const Fd* mounted);
  ring::Task<> copy_up(EntryRef entry, std::shared_ptr<KnownImage> image);  // container_copy_up.cc
  // container_image_mounts.cc: into `plans`; returns their manifests, each after a new line.
  ring::Task<std::string> find_mounted_images(std::vector<MountPlan>* plans);
  Result<VolumeMount> mount_of_image(const MountPlan& plan) const;
  void keep_compiled(const EntryRef& entry);
  std::string cgroup_path(const HostConfig& host, const std::string& id) const;
  const std::string& text_of(HostFile& file) const;  // as it is now
  std::string resolv_conf_for(const HostConfig& host, bool embedded);

  // container_start.cc
  ring::Task<Changed> start(EntryRef entry, std::shared_ptr<StartTrace> trace);
  // In the container's turn; `trace`: none, or what is filled.
  ring::Task<> launch(EntryRef entry, std::shared_ptr<StartTrace> trace);
  ring::Task<> launch_or_note(EntryRef entry, std::shared_ptr<StartTrace> trace);
  ring::Task<Fd> mount_root(EntryRef entry);
  Result<core::StartRequest> plan_start(Entry& entry, bool traced);
  Result<Networks::Joined> join(const Container& container, const std::string& network,
                                const Endpoint& wish, unsigned index);
  Result<> write_hosts(Entry& entry);
  void start_failed(const EntryRef& entry, const Error& error);
  void leave_networks(Entry& entry);
  void started(const EntryRef& entry, const core::StartRequest::Reply& reply);
  ring::Task<> give_client(EntryRef entry, ParkedClient client);

  // container_links.cc
  ring::Task<std::vector<Link>> find_links(const HostConfig& host);
  ring::Task<> take_links(EntryRef entry);  // into the entry
  Result<> check_links(const Entry& entry) const;
  ring::Task<> wait_for_links(EntryRef entry);  // until they run, for a while
  // Address and names of each, for the hosts file.
  std::vector<std::pair<std::string, std::string>> linked_addresses(const Entry& entry) const;
  void tell_linked(const Entry& entry);  // it may have another address now
  // container_network.cc
  Result<> take_ports(Entry& entry);  // of the host, before the start
  void publish_ports(Entry& entry);   // once its addresses are known
  ring::Task<> connect_running(EntryRef entry, Network network, Endpoint wish, Turn turn);
  ring::Task<> disconnect_running(EntryRef entry, Network network, Turn turn);
  ring::Task<> move_ports(EntryRef entry);
  std::optional<Network> way_out_of(const Entry& entry, bool v6) const;
  std::vector<std::string> default_addresses(const Entry& entry) const;
  Result<> check_port_families(const Entry& entry) const;

  // container_names.cc
  using Endpoints = std::map<std::string, Endpoint>;
  bool is_answered(const Endpoints& endpoints) const;  // at 127.0.0.11
  // What core is told of it.
  dns::Member names_of(const Container& container, const Endpoints& endpoints);
  void name_endpoints(Container& container) const;  // each as it is called now
  ring::Task<> tell_names(EntryRef entry);          // as they are now, if it runs
  Result<> write_resolv_conf(Entry& entry);
  // It was given a network, or has lost one, while it runs.
  void change_files(Entry& entry, bool was_answered, const Endpoint& endpoint, bool is_there);
  void members_changed(const Container& container);

  // container_exit.cc
  void exited(const core::ExitedEvent& event);
  void oom(const core::OomEvent& event);
  void client_left(const core::ClientLeftEvent& event);
  void exit_of(const EntryRef& entry, const core::ExitedEvent& event);
  ring::Task<> forget(EntryRef entry, uint64_t run);
  ring::Task<> after_exit(EntryRef entry, uint64_t run, bool restart, ring::Duration pause);

  // container_stop.cc
  ring::Task<Changed> stop(EntryRef entry, std::optional<std::string> signal,
                           std::optional<int> timeout_s);
  ring::Task<> stop_in_turn(EntryRef entry, int signal, int timeout_s);
  ring::Task<> restart(EntryRef entry, std::optional<std::string> signal,
                       std::optional<int> timeout_s);
  ring::Task<> kill(EntryRef entry, int signal);
  ring::Task<> freeze(EntryRef entry, bool frozen);
  ring::Task<bool> wait_exit(EntryRef entry, uint64_t run, std::optional<ring::Duration> limit);

  // container_remove.cc
  ring::Task<> remove(EntryRef entry, bool force, bool volumes);
  ring::Task<> remove_in_turn(EntryRef entry, bool volumes);
  ring::Task<> auto_remove(EntryRef entry);
  ring::Task<uint64_t> written_bytes(EntryRef entry);

  // container_change.cc
  ring::Task<> rename(EntryRef entry, std::string name);
  ring::Task<std::vector<std::string>> update(EntryRef entry, UpdateRequest request);

  // exec.cc
  ring::Task<std::string> exec_create(EntryRef entry, ExecConfig config);
  ring::Task<core::ExecRequest> plan_exec(ExecRef exec);
  ring::Task<> exec_run(ExecRef exec, std::optional<std::pair<unsigned, unsigned>> console,
                        bool has_client);
  void exec_exited(const ExecRef& exec, const core::ExitedEvent& event);
  void end_execs(Entry& entry);
  void drop_execs(Entry& entry);
  void make_room_for_execs();
  ring::Task<> forget_exec(std::string id, std::string exec);

  // health.cc
  void start_health(const EntryRef& entry);
  void stop_health(Entry& entry);
  ring::Task<> watch_health(EntryRef entry, uint64_t run);

  // container_recover.cc
  ring::Task<> recover();
  ring::Task<> take_up(core::ListRequest::Reply list, bool first);
  ring::Task<> load_rest();
  void take_in(Record record);  // a record that was read
  ring::Task<> discard_unknown(std::string id);
  ring::Task<> discard_unfinished(std::string id);
  Result<EntryRef> load(const std::string& id);
  void core_restarted();
  ring::Task<> after_core_restart();
  ring::Task<> restart_after_boot(EntryRef entry);

  // containers.cc
  Result<Fd> open_directory(const Entry& entry) const;
  void save(const EntryRef& entry);           // the record; on disk a moment later
  ring::Task<> save_unsaved(EntryRef entry);  // behind the reply that waits for us
  void flush_later(const EntryRef& entry);
  ring::Task<> flush();
  void publish(const Entry& entry, std::string action,
               std::map<std::string, std::string> more = {});
};

namespace detail {
template <class T>
struct Shielded {
  ring::Notice done;
  std::optional<Result<T>> result;
};
template <class T>
ring::Task<> run_shielded(std::shared_ptr<Shielded<T>> shield, ring::Task<T> task) {
  Result<T> result = co_await ring::as_result(std::move(task));
  shield->result.emplace(std::move(result));
  shield->done.notify_all();
}
}  // namespace detail

// Runs `task` in `scope`: it goes on when the one who awaits this is cancelled.
template <class T>
ring::Task<T> shielded(ring::Scope& scope, ring::Task<T> task) {
  auto shield = std::make_shared<detail::Shielded<T>>();
  scope.start(detail::run_shielded<T>(shield, std::move(task)));
  while (!shield->result) co_await shield->done.wait();
  if constexpr (std::is_void_v<T>) {
    co_await std::move(*shield->result);
  } else {
    co_return std::move(*shield->result);
  }
}

bool is_up(const Container& container);  // running or paused
// What it is called on a network of one's own, its name first; in its own /etc/hosts.
std::vector<std::string> dns_names_of(const Container& container, const Endpoint& endpoint);
std::string own_host_names(const Container& container);
// The first process, held so that its number cannot be another's: what is read of that number
// while it is alive is said of it.
Result<Fd> open_first_process(const Container& container);
// Its root directory, by way of that process.
Result<Fd> open_root(const Container& container);

}  // namespace nacelle::engine
