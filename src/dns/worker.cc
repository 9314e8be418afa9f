#include "dns/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/text.h"
#include "codec/flat.h"
#include "dns/answer.h"
#include "dns/messages.h"
#include "dns/served.h"
#include "dns/table.h"
#include "dns/way_out.h"
#include "sys/confine.h"

namespace nacelle::dns {
namespace {

constexpr size_t packet_bytes_max = 64u << 10;
constexpr size_t packet_descriptors_max = 8;
constexpr size_t sockets_count = 4;
constexpr size_t events_max = 64;
constexpr std::chrono::milliseconds tick_interval{100};
constexpr rlim_t data_bytes_max = 256u << 20;
constexpr uid_t nobody = 65534;
// As many turns as dockerd takes for one question; with one server alone it is asked twice.
constexpr size_t turns_max = 3, turns_of_one = 2;

class Worker final : public House {
 public:
  Worker(Fd control, Fd epoll, Fd host_udp, Fd host_tcp)
      : control_(std::move(control)),
        epoll_(std::move(epoll)),
        host_(*this, std::move(host_udp), std::move(host_tcp)) {
    control_source_.worker = this;
    watch(control_, EPOLLIN, control_source_);
  }
  int run();

 private:
  struct ControlSource final : Source {
    Worker* worker = nullptr;
    void ready(uint32_t) override { worker->catch_up(); }
  };

  void watch(const Fd& file, uint32_t events, Source& source) override;
  void forget(const Fd& file, Source& source) override;
  void came_back(Pending pending, std::string_view reply) override;
  void catch_up() override;
  void asked(Asked asked) override;

  bool receive(std::string& bytes, std::vector<Fd>& descriptors);
  void obey(std::string_view packet, std::vector<Fd> descriptors);
  void drop(const std::string& id);
  void ask_outside(Asked asked, const Member& member);
  void next_turn(Pending pending);
  void reply(const Asked& asked, std::string_view bytes);
  void tick(Clock::time_point now);
  bool has_deadlines() const;

  Fd control_, epoll_;
  ControlSource control_source_;
  bool is_over_ = false;
  Table table_;
  std::array<epoll_event, events_max> events_{};
  size_t events_count_ = 0;
  WayOut host_;
  std::map<std::string, std::unique_ptr<Served>, std::less<>> served_;
  std::vector<std::unique_ptr<Served>> graveyard_;
  unsigned turn_ = 0;
  Clock::time_point next_tick_{};
};

void Worker::watch(const Fd& file, uint32_t events, Source& source) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &source;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, file.get(), &event) < 0 && errno == EEXIST) {
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, file.get(), &event);
  }
}

void Worker::forget(const Fd& file, Source& source) {
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, file.get(), nullptr);
  for (epoll_event& each : std::span(events_).first(events_count_)) {
    if (each.data.ptr == &source) each.data.ptr = nullptr;
  }
}

// What core says. ---------------------------------------------------------------------------------

// False: nothing is there.
bool Worker::receive(std::string& bytes, std::vector<Fd>& descriptors) {
  bytes.resize(packet_bytes_max);
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(packet_descriptors_max * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = ancillary;
  message.msg_controllen = sizeof ancillary;
  const ssize_t got = ::recvmsg(control_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  for (cmsghdr* each = got < 0 ? nullptr : CMSG_FIRSTHDR(&message); each != nullptr;
       each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < count; ++index) {
      int number = -1;
      std::copy_n(CMSG_DATA(each) + index * sizeof number, sizeof number,
                  reinterpret_cast<unsigned char*>(&number));
      descriptors.emplace_back(number);
    }
  }
  if (got <= 0) {
    is_over_ = true;
    return false;
  }
  bytes.resize((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 ? static_cast<size_t>(got) : 0);
  return true;
}

void Worker::catch_up() {
  std::string bytes;
  for (;;) {
    std::vector<Fd> descriptors;
    if (!receive(bytes, descriptors)) return;
    if (!bytes.empty()) obey(bytes, std::move(descriptors));
  }
}

void Worker::obey(std::string_view packet, std::vector<Fd> descriptors) {
  const auto code = static_cast<uint8_t>(packet[0]);
  packet.remove_prefix(1);
  if (code == DropMember::code) {
    if (const auto message = codec::flat::decode<DropMember>(packet, "names")) drop(message->id);
    return;
  }
  auto message = codec::flat::decode<SetMember>(packet, "names");
  if (code != SetMember::code || !message) return;
  if (message->has_sockets && descriptors.size() == sockets_count) {
    drop(message->id);
    Served::Sockets sockets{std::move(descriptors[0]), std::move(descriptors[1]),
                            std::move(descriptors[2]), std::move(descriptors[3])};
    served_[message->id] = std::make_unique<Served>(*this, message->id, std::move(sockets));
  }
  table_.set(message->id, std::move(message->member));
}

void Worker::drop(const std::string& id) {
  table_.remove(id);
  host_.forget(id);
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  // It may be the one whose turn it is.
  found->second->way_out().forget(id);
  graveyard_.push_back(std::move(found->second));
  served_.erase(found);
}

// Questions. --------------------------------------------------------------------------------------

void Worker::reply(const Asked& asked, std::string_view bytes) {
  const auto found = served_.find(asked.container);
  if (found != served_.end()) found->second->reply(asked, bytes);
}

void Worker::asked(Asked asked) {
  if (asked.by_tcp()) catch_up();
  const Member* member = table_.find(asked.container);
  if (member == nullptr) return;
  const auto known = answer(table_, *member, asked.query, asked.bytes_max(), turn_++);
  if (known) return reply(asked, *known);
  ask_outside(std::move(asked), *member);
}

void Worker::ask_outside(Asked asked, const Member& member) {
  Pending pending;
  for (const Upstream& each : member.upstreams) {
    if (pending.upstreams.size() >= turns_max) break;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_port);
    if (::inet_pton(AF_INET, each.address.c_str(), &address.sin_addr) != 1) continue;
    // We would ask ourselves.
    if (address.sin_addr.s_addr == htonl(server_address) && !each.from_host) continue;
    pending.upstreams.push_back({address, each.from_host});
  }
  // Who is on internal networks alone tells nobody outside anything (CVE-2024-29018).
  if (!member.forwards || pending.upstreams.empty()) {
    return reply(asked, error_reply(asked.query, Code::ServerFailure));
  }
  while (pending.upstreams.size() < turns_of_one) {
    pending.upstreams.push_back(UpstreamAddress(pending.upstreams.front()));
  }
  pending.asked = std::move(asked);
  next_turn(std::move(pending));
}

void Worker::next_turn(Pending pending) {
  const auto found = served_.find(pending.asked.container);
  if (found == served_.end()) return;
  if (pending.turn >= pending.upstreams.size()) {
    return reply(pending.asked, error_reply(pending.asked.query, Code::ServerFailure));
  }
  WayOut& way_out = pending.upstream().from_host ? host_ : found->second->way_out();
  if (!way_out.has_room(pending.asked.container)) {
    return reply(pending.asked, error_reply(pending.asked.query, Code::Refused));
  }
  way_out.ask(std::move(pending));
}

void Worker::came_back(Pending pending, std::string_view upstream_reply) {
  const auto parsed = upstream_reply.empty()
                          ? std::nullopt
                          : parse_upstream_reply(upstream_reply, pending.asked.query);
  // The next one may know better.
  if (!parsed || parsed->code == Code::ServerFailure || parsed->code == Code::Refused) {
    ++pending.turn;
    return next_turn(std::move(pending));
  }
  reply(pending.asked, pass_on(upstream_reply, pending.asked.query, pending.asked.bytes_max()));
}

// Turns. ------------------------------------------------------------------------------------------

bool Worker::has_deadlines() const {
  return host_.under_way() > 0 || std::ranges::any_of(served_, [](const auto& each) {
           return each.second->has_connections() || each.second->way_out().under_way() > 0;
         });
}

void Worker::tick(Clock::time_point now) {
  if (now < next_tick_) return;
  next_tick_ = now + tick_interval;
  host_.tick(now);
  // A reply that cannot be sent ends no container.
  for (const auto& [id, served] : served_) served->tick(now);
}

int Worker::run() {
  while (!is_over_) {
    const int wait_ms = has_deadlines() ? static_cast<int>(tick_interval.count()) : -1;
    const int count =
        ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_max), wait_ms);
    if (count < 0 && errno != EINTR) return 1;
    events_count_ = static_cast<size_t>(std::max(count, 0));
    for (size_t each = 0; each < events_count_; ++each) {
      auto* const source = static_cast<Source*>(events_[each].data.ptr);
      if (source != nullptr) source->ready(events_[each].events);
    }
    events_count_ = 0;
    tick(Clock::now());
    for (const auto& [id, served] : served_) served->clear_over();
    graveyard_.clear();
  }
  return 0;
}

constexpr int allowed_calls[] = {
    SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(connect),
    SCMP_SYS(accept4), SCMP_SYS(close), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_ctl), SCMP_SYS(getrandom),
    // Memory and time.
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
    // The end, with a word about it.
    SCMP_SYS(write), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid),
    SCMP_SYS(tgkill)};

void set_limits() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;  // several for every container
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  const rlimit data{data_bytes_max, data_bytes_max};
  (void)::setrlimit(RLIMIT_DATA, &data);
}

// Capabilities go with it; they are dropped for good behind that.
bool become_nobody() {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(nobody, nobody, nobody) == 0 &&
         ::setresuid(nobody, nobody, nobody) == 0;
}

}  // namespace

int serve(Fd control) {
  ::signal(SIGPIPE, SIG_IGN);
  // Not before core's end of the connection is closed: names are answered while core executes
  // another program.
  (void)::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  set_limits();
  // In the host's network namespace, for name servers that are on its loopback device.
  Fd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  Fd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!udp || !tcp || !epoll) return 1;
  if (::unshare(CLONE_NEWNET) != 0 || !become_nobody()) return 1;
  if (!sys::confine({.calls = allowed_calls, .fcntl_commands = {}, .ioctls = {}})) return 1;
  Worker worker(std::move(control), std::move(epoll), std::move(udp), std::move(tcp));
  return worker.run();
}

}  // namespace nacelle::dns
