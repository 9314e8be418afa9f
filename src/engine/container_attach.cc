// Clients at a container's streams, and its log read back.
#include <fcntl.h>
#include <poll.h>

#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/container_text.h"
#include "logs/options.h"
#include "logs/reader.h"
#include "ring/ops.h"

namespace nacelle::engine {

namespace {

constexpr size_t parked_max = 64;  // clients of one container that has not been started

// A Reader with the directory it borrows.
class OwnReader final : public logs::Reader {
 public:
  OwnReader(std::shared_ptr<Fd> directory, std::shared_ptr<logs::Reader> reader)
      : directory_(std::move(directory)), reader_(std::move(reader)) {}
  ring::Task<std::vector<logs::Entry>> next() override { return reader_->next(); }
  void writer_is_done() override { reader_->writer_is_done(); }

 private:
  std::shared_ptr<Fd> directory_;  // before the reader: goes after it
  std::shared_ptr<logs::Reader> reader_;
};

bool is_closed(const Fd& socket) {
  pollfd state{.fd = socket.get(), .events = POLLRDHUP, .revents = 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

std::string framed(const logs::Entry& entry, bool multiplexed) {
  if (!multiplexed) return entry.text;
  std::string out(8, '\0');
  out[0] = static_cast<char>(entry.stream);
  for (size_t byte = 0; byte < 4; ++byte) {
    out[4 + byte] = static_cast<char>(entry.text.size() >> (8 * (3 - byte)));
  }
  return out += entry.text;
}

}  // namespace

ring::Task<std::unique_ptr<logs::Reader>> Containers::logs(std::string text,
                                                           logs::ReadOptions options) {
  const EntryRef entry = co_await state_->find(std::move(text));
  const Container& container = entry->container;
  const LogSetting& setting = container.host.log_config;
  const logs::Options log = co_await logs::parse_options(setting.type, setting.config);
  const bool follows = options.follow && is_up(container);
  options.follow = follows;
  auto directory = std::make_shared<Fd>(co_await state_->open_directory(*entry));
  std::shared_ptr<logs::Reader> reader =
      co_await logs::Reader::open(state_->loop, *directory, log, options);
  if (follows) {
    std::erase_if(entry->followers, [](const auto& each) { return each.expired(); });
    entry->followers.push_back(reader);
  }
  co_return std::make_unique<OwnReader>(std::move(directory), std::move(reader));
}

ring::Task<Container*> Containers::attach_check(std::string text) {
  const EntryRef entry = co_await state_->find(std::move(text));
  const std::string& id = entry->container.id;
  if (entry->container.state.phase == Phase::Paused) {
    co_await fail(Kind::Conflict,
                  cat("container ", id, " is paused, unpause the container before attach"));
  }
  if (entry->container.state.phase == Phase::Restarting) {
    co_await fail(Kind::Conflict,
                  cat("container ", id, " is restarting, wait until the container is running"));
  }
  if (entry->removing) {
    co_await fail(Kind::Conflict, cat("container ", id, " is marked for removal"));
  }
  co_return &entry->container;
}

ring::Task<> Containers::attach(std::string id, AttachOptions options, ClientConnection client) {
  State& state = *state_;
  const EntryRef entry = co_await state.find(std::move(id));
  (void)co_await parse_detach_keys(options.detach_keys);
  state.publish(*entry, "attach");
  if (options.logs) {
    auto reader = co_await logs(entry->container.id,
                                {.stdout_wanted = options.out, .stderr_wanted = options.err});
    for (;;) {
      const std::vector<logs::Entry> entries = co_await reader->next();
      if (entries.empty()) break;
      std::string bytes;
      for (const logs::Entry& each : entries) bytes += framed(each, options.multiplexed);
      co_await ring::write_all(state.loop, client.socket, bytes);
    }
  }
  if (!options.stream) co_return;
  ParkedClient parked{.options = std::move(options),
                      .socket = std::make_shared<Fd>(std::move(client.socket)),
                      .early_bytes = std::move(client.early_bytes)};
  while (entry->starting) co_await entry->start_over.wait();
  if (is_up(entry->container)) {
    co_await state.give_client(entry, std::move(parked));
    co_return;
  }
  // It is given its client when it starts.
  std::erase_if(entry->parked, [](const ParkedClient& each) { return is_closed(*each.socket); });
  if (entry->parked.size() >= parked_max) {
    co_await fail(Kind::Exhausted, cat("more than ", parked_max, " clients wait for its start"));
  }
  entry->parked.push_back(std::move(parked));
}

void Containers::State::client_left(const core::ClientLeftEvent& event) {
  if (!event.by_keys) return;
  if (const EntryRef entry = entry_of(event.id)) {
    if (event.exec.empty()) {
      publish(*entry, "detach");
    } else {
      publish(*entry, "exec_detach", {{"execID", event.exec}});
    }
  }
}

ring::Task<> Containers::State::give_client(EntryRef entry, ParkedClient client) {
  core::AttachRequest request;
  request.id = entry->container.id;
  request.wants_stdin = client.options.in;
  request.wants_stdout = client.options.out;
  request.wants_stderr = client.options.err;
  request.multiplexed = client.options.multiplexed;
  request.detach_keys = co_await parse_detach_keys(client.options.detach_keys);
  request.early_bytes = std::move(client.early_bytes);
  std::vector<const Fd*> descriptors{client.socket.get()};
  co_await engine.core->call(std::move(request), std::move(descriptors));
  fault_point("attach.given");
}

}  // namespace nacelle::engine
