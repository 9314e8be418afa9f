// log_throughput [--smoke] [--rounds N] [--mib N] [--directory DIR] NACELLE_WORKER
//
// Goal: what a container's output costs on its way into a json-file log, beside the least that any
// log can cost: `cat > file` of the same output. Method: a writer of lines of 200 bytes into a
// pipe, its other end at cat or at the log worker, round by round in turn; the time until all of it
// is in the file. Lines come one per write(2), as most programs write them, and in blocks of 64
// KiB, where the reader is all that is measured. The ratio is that of the medians.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "codec/flat.h"
#include "logs/messages.h"
#include "nacelle/fd.h"
#include "sys/file.h"
#include "sys/process.h"

namespace {

using nacelle::cat;
using nacelle::Fd;
namespace logs = nacelle::logs;

constexpr size_t line_bytes = 200;
constexpr size_t block_bytes = 64u << 10;
constexpr double ratio_min = 0.7;

[[noreturn]] void die(std::string_view what) {
  std::fprintf(stderr, "log_throughput: %.*s: %s\n", static_cast<int>(what.size()), what.data(),
               std::strerror(errno));
  std::exit(1);
}

struct Pipe {
  Fd read, write;
};
Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) die("pipe2");
  return {Fd(ends[0]), Fd(ends[1])};
}

struct Setting {
  std::string worker;
  std::string directory = "/var/tmp";
  size_t bytes = 256u << 20;
  int rounds = 9;
  bool line_by_line = true;
};

// The lines, as a program writes them.
pid_t start_writer(const Setting& setting, const Fd& into) {
  const pid_t pid = ::fork();
  if (pid < 0) die("fork");
  if (pid > 0) return pid;
  std::string block;
  for (size_t number = 0; block.size() + line_bytes <= block_bytes; ++number) {
    std::string line = cat("2026-11-24 INFO request ", number, " from 10.0.3.7 took 13 ms: ");
    line.resize(line_bytes - 1, "abcdefghijklmnop"[number % 16]);
    block += line + '\n';
  }
  const size_t step = setting.line_by_line ? line_bytes : block.size();
  for (size_t written = 0; written < setting.bytes;) {
    for (size_t at = 0; at < block.size() && written < setting.bytes; at += step) {
      const ssize_t took = ::write(into.get(), block.data() + at, step);
      if (took != static_cast<ssize_t>(step)) ::_exit(1);
      written += step;
    }
  }
  ::_exit(0);
}

// Its processor time in seconds.
double reap(pid_t pid) {
  int status = 0;
  rusage used{};
  if (::wait4(pid, &status, 0, &used) < 0 || status != 0)
    die("a process that was measured has failed");
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// Of a running process: what the kernel counted, in nanoseconds.
double seconds_used(int pid) {
  const auto text = nacelle::sys::read_file_at(nacelle::sys::working_directory,
                                               cat("/proc/", pid, "/schedstat").c_str(), 256);
  return text ? ::atof(text->c_str()) * 1e-9 : 0;
}
int pid_of(const Fd& pidfd) {
  const auto text = nacelle::sys::read_file_at(
      nacelle::sys::working_directory, cat("/proc/self/fdinfo/", pidfd.get()).c_str(), 4096);
  return text ? ::atoi(text->c_str() + text->find("Pid:") + 4) : 0;
}

// How fast, and how much processor time of the reader for it.
struct Outcome {
  double mib_per_second = 0, cpu_s = 0;
};

using Clock = std::chrono::steady_clock;
double mib_per_second(const Setting& setting, Clock::time_point begun) {
  const std::chrono::duration<double> took = Clock::now() - begun;
  return static_cast<double>(setting.bytes) / (1u << 20) / took.count();
}

Outcome run_cat(const Setting& setting) {
  const std::string path = cat(setting.directory, "/nacelle-bench-cat");
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) die(path);
  Pipe pipe = make_pipe();
  const pid_t reader = ::fork();
  if (reader == 0) {
    ::dup2(pipe.read.get(), 0);
    ::dup2(file.get(), 1);
    ::execlp("cat", "cat", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  pipe.read = Fd();
  ::usleep(20'000);  // it is there
  const auto begun = Clock::now();
  const pid_t writer = start_writer(setting, pipe.write);
  pipe.write = Fd();
  reap(writer);
  const double cpu_s = reap(reader);
  const double speed = mib_per_second(setting, begun);
  ::unlink(path.c_str());
  return {speed, cpu_s};
}

class Worker {
 public:
  explicit Worker(const Setting& setting) : setting_(setting) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) die("socketpair");
    control_ = Fd(ends[0]);
    const Fd theirs(ends[1]);
    const Fd program(::open(setting.worker.c_str(), O_PATH | O_CLOEXEC));
    if (!program) die(setting.worker);
    nacelle::sys::SpawnOptions options;
    options.program = &program;
    options.arguments = {"nacelle-worker", "logs"};
    options.descriptors = {&theirs, &work_.read, &work_.write};
    auto spawned = nacelle::sys::spawn(options);
    if (!spawned) die(spawned.error().message());
    pidfd_ = *std::move(spawned);
    pid_ = pid_of(pidfd_);
  }

  Outcome run(int round) {
    const std::string directory_path = cat(setting_.directory, "/nacelle-bench-log");
    ::mkdir(directory_path.c_str(), 0700);
    const Fd directory(::open(directory_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const Fd journal(::memfd_create("journal", MFD_CLOEXEC));
    if (!directory || ::ftruncate(journal.get(), logs::journal_bytes) < 0) die(directory_path);
    Pipe out = make_pipe(), err = make_pipe();
    const logs::AddStreams how{
        .key = cat("bench-", round), .has_stdout = true, .has_stderr = true, .has_directory = true};
    tell(how, {&journal, &out.read, &err.read, &directory});
    ::usleep(20'000);
    const double used = seconds_used(pid_);
    const auto begun = Clock::now();
    const pid_t writer = start_writer(setting_, out.write);
    out.write = Fd();
    err.write = Fd();
    reap(writer);
    tell(logs::Ended{.key = how.key, .linger_ms = 0}, {});
    char said[4096];
    if (::recv(control_.get(), said, sizeof said, 0) <= 0 || said[0] != logs::Drained::code)
      die("the log worker did not drain");
    const double speed = mib_per_second(setting_, begun);
    const double cpu_s = seconds_used(pid_) - used;
    ::unlinkat(directory.get(), "container.log", 0);
    ::rmdir(directory_path.c_str());
    return {speed, cpu_s};
  }

 private:
  template <class Message>
  void tell(const Message& message, std::vector<const Fd*> descriptors) {
    const std::string bytes =
        static_cast<char>(Message::code) + nacelle::codec::flat::encode(message);
    iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
    alignas(cmsghdr) char ancillary[CMSG_SPACE(8 * sizeof(int))] = {};
    msghdr packet{};
    packet.msg_iov = &part;
    packet.msg_iovlen = 1;
    if (!descriptors.empty()) {
      packet.msg_control = ancillary;
      packet.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
      cmsghdr* const head = CMSG_FIRSTHDR(&packet);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
      auto* into = CMSG_DATA(head);
      for (const Fd* each : descriptors) {
        const int number = each->get();
        std::memcpy(into, &number, sizeof number);
        into += sizeof number;
      }
    }
    if (::sendmsg(control_.get(), &packet, MSG_NOSIGNAL) < 0) die("sendmsg");
  }

  const Setting& setting_;
  Pipe work_ = make_pipe();
  Fd control_, pidfd_;
  int pid_ = 0;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}
double deviation(const std::vector<double>& values) {
  const double middle = median(values);
  std::vector<double> apart;
  for (const double each : values) apart.push_back(each > middle ? each - middle : middle - each);
  return median(apart);
}

double compare(Setting setting, bool line_by_line) {
  setting.line_by_line = line_by_line;
  Worker worker(setting);
  std::vector<double> cats, ours, paired, cats_cpu, ours_cpu;
  for (int round = 0; round < setting.rounds; ++round) {
    // Whoever comes second finds the disk busy with what the first has written.
    Outcome bare, logged;
    if (round % 2 == 0) bare = run_cat(setting);
    logged = worker.run(round);
    if (round % 2 != 0) bare = run_cat(setting);
    cats.push_back(bare.mib_per_second);
    ours.push_back(logged.mib_per_second);
    paired.push_back(logged.mib_per_second / bare.mib_per_second);
    cats_cpu.push_back(bare.cpu_s);
    ours_cpu.push_back(logged.cpu_s);
  }
  const double ratio = median(ours) / median(cats);
  std::printf(
      "%-17s cat %6.0f MiB/s (MAD %.0f, cpu %.3f s)  log %6.0f MiB/s (MAD %.0f, cpu %.3f s)"
      "  ratio %.2f  paired %.2f\n",
      line_by_line ? "a write per line" : "writes of 64 KiB", median(cats), deviation(cats),
      median(cats_cpu), median(ours), deviation(ours), median(ours_cpu), ratio, median(paired));
  return ratio;
}

}  // namespace

int main(int argc, char** argv) {
  Setting setting;
  bool smoke = false, strict = false;
  for (int at = 1; at < argc; ++at) {
    const std::string_view word = argv[at];
    const auto number = [&] {
      const auto value = ++at < argc ? nacelle::parse_number<int>(argv[at]) : std::nullopt;
      if (!value || *value < 1) die("an option wants a number");
      return *value;
    };
    if (word == "--smoke") {
      smoke = true;
    } else if (word == "--strict") {
      strict = true;
    } else if (word == "--rounds") {
      setting.rounds = number();
    } else if (word == "--mib") {
      setting.bytes = static_cast<size_t>(number()) << 20;
    } else if (word == "--directory" && at + 1 < argc) {
      setting.directory = argv[++at];
    } else {
      setting.worker = word;
    }
  }
  if (setting.worker.empty()) die("usage: log_throughput [options] NACELLE_WORKER");
  if (smoke) {
    setting.rounds = 1;
    setting.bytes = 8u << 20;
  }
  setting.bytes -= setting.bytes % (block_bytes / line_bytes * line_bytes);
  std::printf("%zu MiB in lines of %zu bytes, %d rounds, in %s\n", setting.bytes >> 20, line_bytes,
              setting.rounds, setting.directory.c_str());
  const double by_line = compare(setting, true);
  const double by_block = compare(setting, false);
  const bool met = by_line >= ratio_min && by_block >= ratio_min;
  if (!smoke) std::printf("at least %.2f: %s\n", ratio_min, met ? "met" : "missed");
  return strict && !met ? 1 : 0;
}
