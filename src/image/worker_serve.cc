// nacelle-worker from its own side: one request after the other.
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "codec/flat.h"
#include "image/channel.h"
#include "image/jobs.h"
#include "image/sandbox.h"

namespace nacelle::image {
namespace {

constexpr int socket_number = 3;
constexpr int root_number = 4;
constexpr auto progress_interval = std::chrono::milliseconds(100);

class ChannelAsker final : public Asker {
 public:
  explicit ChannelAsker(const Fd& socket) : socket_(socket) {}

  void progress(uint64_t done) override {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < progress_interval) return;
    last_ = now;
    done_ = done;
    // Who does not listen now will hear a later number.
    (void)send_packet(socket_, PacketKind::Progress, 0,
                      codec::flat::encode(WireProgress{.done = done}), {}, false);
  }

  void still_here() override { progress(done_); }

  Result<> mark_opaque(const Fd& directory) override {
    const Fd* const all[] = {&directory};
    TRY(send_packet(socket_, PacketKind::Opaque, 0, {}, all));
    const std::optional<Packet> answer = TRY(receive_packet(socket_));
    if (!answer || answer->kind != PacketKind::Answer) {
      return fail(Kind::Internal, "no answer to a request to mark a directory");
    }
    const auto wire =
        TRY(codec::flat::decode<WireError>(answer->payload, "an answer of nacelle-worker's host"));
    if (wire.text.empty()) return {};
    return std::unexpected(decode_error(answer->payload));
  }

 private:
  const Fd& socket_;
  uint64_t done_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// The requests of one worker.
class Server {
 public:
  Server(WorkerKind kind, const Fd& socket, const Fd& root)
      : kind_(kind), root_(root), asker_(socket) {}

  Result<std::string> answer(const Packet& packet) {
    descriptors_ = &packet.descriptors;
    switch (packet.code) {
      case UnpackRequest::code:
        return job<UnpackRequest>(packet, WorkerKind::Unpack, 1, [this](const auto& request) {
          return unpack(request, root_, fd(0), asker_);
        });
      case PackRequest::code:
        return job<PackRequest>(packet, WorkerKind::Pack, 1, [this](const auto& request) {
          return pack(request, root_, fd(0), asker_);
        });
      case LoadRequest::code:
        return job<LoadRequest>(packet, WorkerKind::Bytes, 1, [this](const auto& request) {
          return load(request, root_, fd(0), asker_);
        });
      case CopyLayerRequest::code:
        return job<CopyLayerRequest>(packet, WorkerKind::Bytes, 2, [this](const auto& request) {
          return copy_layer(request, fd(0), fd(1), asker_);
        });
      case ArchiveRequest::code:
        return job<ArchiveRequest>(packet, WorkerKind::Bytes, 1, [this](const auto& request) {
          return archive(request, root_, fd(0), asker_);
        });
      case ParseRequest::code:
        return job<ParseRequest>(packet, WorkerKind::Bytes, 1,
                                 [this](const auto& request) { return parse(request, fd(0)); });
      case MeasureRequest::code:
        return job<MeasureRequest>(packet, WorkerKind::Pack, 0, [this](const auto& request) {
          return measure(request, root_, asker_);
        });
      case StatPathRequest::code:
        return job<StatPathRequest>(packet, WorkerKind::Files, 0, [this](const auto& request) {
          return stat_path(request, root_);
        });
      case ReadPathRequest::code:
        return job<ReadPathRequest>(packet, WorkerKind::Files, 1, [this](const auto& request) {
          return read_path(request, root_, fd(0), asker_);
        });
      case WritePathRequest::code:
        return job<WritePathRequest>(packet, WorkerKind::Files, 1, [this](const auto& request) {
          return write_path(request, root_, fd(0), asker_);
        });
      case ChangesRequest::code:
        return job<ChangesRequest>(packet, WorkerKind::Pack, 1, [this](const auto& request) {
          return find_changes(request, root_, fd(0), asker_);
        });
      case FindSourcesRequest::code:
        return job<FindSourcesRequest>(packet, WorkerKind::Files, 0, [this](const auto& request) {
          return find_sources(request, root_, asker_);
        });
      case CopyFilesRequest::code:
        return job<CopyFilesRequest>(packet, WorkerKind::Files, 1, [this](const auto& request) {
          return copy_files(request, root_, fd(0), asker_);
        });
      case MakeDirectoryRequest::code:
        return job<MakeDirectoryRequest>(packet, WorkerKind::Files, 0, [this](const auto& request) {
          return make_directory(request, root_);
        });
      case HashFileRequest::code:
        return job<HashFileRequest>(packet, WorkerKind::Bytes, 1, [this](const auto& request) {
          return hash_file(request, fd(0), asker_);
        });
      case FetchFileRequest::code:
        return job<FetchFileRequest>(packet, WorkerKind::Registry, 1, [this](const auto& request) {
          return fetch_file(request, fd(0), asker_);
        });
      case RegistryOpenRequest::code:
        return job<RegistryOpenRequest>(packet, WorkerKind::Registry, 0,
                                        [this](const auto& request) { return open(request); });
      default: return answer_registry(packet);
    }
  }

 private:
  Result<std::string> answer_registry(const Packet& packet) {
    if (kind_ == WorkerKind::Registry && registry_ == nullptr) {
      return fail(Kind::Invalid, "nacelle-worker: no registry has been opened");
    }
    constexpr auto kind = WorkerKind::Registry;
    switch (packet.code) {
      case FetchManifestRequest::code:
        return job<FetchManifestRequest>(
            packet, kind, 0, [this](const auto& request) { return registry_->fetch(request); });
      case FetchConfigRequest::code:
        return job<FetchConfigRequest>(
            packet, kind, 0, [this](const auto& request) { return registry_->fetch(request); });
      case FetchBlobRequest::code:
        return job<FetchBlobRequest>(packet, kind, 1, [this](const auto& request) {
          return registry_->fetch(request, fd(0), fd(1), asker_);
        });
      case PushBlobRequest::code:
        return job<PushBlobRequest>(packet, kind, 1, [this](const auto& request) {
          return registry_->push(request, fd(0), asker_);
        });
      case PushManifestRequest::code:
        return job<PushManifestRequest>(
            packet, kind, 0, [this](const auto& request) { return registry_->push(request); });
      case CheckLoginRequest::code:
        return job<CheckLoginRequest>(packet, kind, 0,
                                      [this](const auto&) { return registry_->check_login(); });
      default: return fail(Kind::Invalid, cat("nacelle-worker: no request ", packet.code));
    }
  }

  template <class Request, class Run>
  Result<std::string> job(const Packet& packet, WorkerKind kind, size_t descriptors_needed,
                          const Run& run) {
    if (kind_ != kind) {
      return fail(Kind::Invalid, cat("nacelle-worker: a worker for '", to_string(kind_),
                                     "' takes no request for '", to_string(kind), "'"));
    }
    if (packet.descriptors.size() < descriptors_needed) {
      return fail(Kind::Invalid,
                  cat("nacelle-worker: the request needs ", descriptors_needed, " descriptors"));
    }
    const Request request = TRY(codec::flat::decode<Request>(packet.payload, "a request"));
    return codec::flat::encode(TRY(run(request)));
  }

  Result<RegistryOpenRequest::Reply> open(const RegistryOpenRequest& request) {
    registry_ = TRY(RegistryJob::open(request));
    return RegistryOpenRequest::Reply{};
  }

  const Fd& fd(size_t index) const {
    return index < descriptors_->size() ? (*descriptors_)[index] : none_;
  }

  WorkerKind kind_;
  const Fd& root_;
  ChannelAsker asker_;
  std::unique_ptr<RegistryJob> registry_;
  const std::vector<Fd>* descriptors_ = nullptr;
  const Fd none_;
};

// At once: what a worker holds ends with it, and there is nobody for exit handlers to talk to.
[[noreturn]] void leave(int code) { ::_exit(code); }

int serve_requests(Server& server, const Fd& socket) {
  while (true) {
    const auto packet = receive_packet(socket);
    if (!packet) return 1;
    if (!*packet) return 0;
    if ((*packet)->kind != PacketKind::Request) return 1;
    const Result<std::string> reply = server.answer(**packet);
    const auto sent = reply ? send_packet(socket, PacketKind::Reply, (*packet)->code, *reply)
                            : send_packet(socket, PacketKind::Error, (*packet)->code,
                                          encode_error(reply.error()));
    if (!sent && (!reply || !send_packet(socket, PacketKind::Error, (*packet)->code,
                                         encode_error(sent.error())))) {
      return 1;
    }
  }
}

// Outside the sandbox nothing but the answer is read of a request: that there is one.
int refuse_requests(const Fd& socket, Error error) {
  error.add_context("nacelle-worker: entering the sandbox");
  char any = 0;
  if (::read(socket.get(), &any, 1) <= 0) return 1;
  (void)send_packet(socket, PacketKind::Error, 0, encode_error(error));
  return 1;
}

}  // namespace

namespace {

// What follows the first arguments: of which kind the root is, and mounts, three words each.
bool read_root(int argc, char** argv, SandboxOptions& options) {
  constexpr int kind_at = 4, words_per_mount = 3;
  if (argc <= kind_at) return true;
  const auto kind = parse_number<unsigned>(argv[kind_at]);
  if (!kind || *kind > static_cast<unsigned>(RootIs::ProcessRoot)) return false;
  options.root_is = static_cast<RootIs>(*kind);
  if ((argc - kind_at - 1) % words_per_mount != 0) return false;
  for (int at = kind_at + 1; at < argc; at += words_per_mount) {
    options.mounts.push_back({.source = argv[at],
                              .destination = argv[at + 1],
                              .read_only = std::string_view(argv[at + 2]) == "ro"});
  }
  return true;
}

}  // namespace

int serve(int argc, char** argv) {
  struct stat status;
  const bool is_ours = argc >= 4 && ::fstat(socket_number, &status) == 0 &&
                       S_ISSOCK(status.st_mode) && parse_worker_kind(argv[1]);
  const auto memory = is_ours ? parse_number<uint64_t>(argv[2]) : std::nullopt;
  if (!memory) {
    constexpr std::string_view text = "nacelle-worker is started by nacelle, not by hand\n";
    [[maybe_unused]] const ssize_t written = ::write(2, text.data(), text.size());
    return 2;
  }
  // Before anything else is opened.
  const Fd socket(socket_number);
  SandboxOptions options{.kind = *parse_worker_kind(argv[1]),
                         .root = ::fstat(root_number, &status) == 0 ? Fd(root_number) : Fd(),
                         .root_is = RootIs::Directory,
                         .mounts = {},
                         .read_only_root = std::string_view(argv[3]) == "read-only",
                         .memory_bytes_max = *memory};
  if (!read_root(argc, argv, options)) return 2;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(0);
  arm_faults("NACELLE_WORKER_FAULT");
  // A thread of its own arena would take 64 MiB of address space, which is limited.
  ::mallopt(M_ARENA_MAX, 1);
  std::set_new_handler([] { leave(exit_out_of_memory); });

  const WorkerKind kind = options.kind;
  const auto root = enter_sandbox(std::move(options));
  if (!root) leave(refuse_requests(socket, root.error()));
  Server server(kind, socket, *root);
  leave(serve_requests(server, socket));
}

}  // namespace nacelle::image
