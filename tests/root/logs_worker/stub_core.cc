#include "tests/root/logs_worker/stub_core.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/text.h"
#include "codec/compression.h"
#include "logs/entries.h"
#include "logs/log_file.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::logs {
namespace {

std::pair<Fd, Fd> make_pipe() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

Fd duplicate(const Fd& file) { return Fd(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)); }

}  // namespace

StubCore::StubCore() {
  std::tie(work_read_, work_write_) = make_pipe();
  start_worker();
}

StubCore::~StubCore() { kill_worker(); }

void StubCore::start_worker() {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  control_ = Fd(ends[0]);
  const Fd theirs(ends[1]);
  const Fd program(::open(NACELLE_BUILT_WORKER, O_PATH | O_CLOEXEC));
  sys::SpawnOptions options;
  options.program = &program;
  options.arguments = {"nacelle-worker", "logs"};
  options.descriptors = {&theirs, &work_read_, &work_write_};
  auto spawned = sys::spawn(options);
  ASSERT_TRUE(spawned) << spawned.error().message();
  pidfd_ = *std::move(spawned);
  const auto info = sys::read_file_at(sys::working_directory,
                                      cat("/proc/self/fdinfo/", pidfd_.get()).c_str(), 4096);
  ASSERT_TRUE(info);
  const size_t at = info->find("Pid:");
  pid_ = ::atoi(info->c_str() + at + 4);
}

void StubCore::kill_worker() {
  if (!pidfd_) return;
  (void)sys::kill_process(pidfd_, SIGKILL);
  (void)sys::reap(pidfd_);
  pidfd_ = Fd();
  control_ = Fd();
}

void StubCore::restart_worker() {
  kill_worker();
  start_worker();
  for (const auto& [key, each] : streams_) tell_streams(each);
  for (const auto& [key, each] : streams_) {
    if (each.ended) tell(Ended{.key = key, .linger_ms = 0});
  }
}

Streams& StubCore::add(AddStreams how) {
  Streams& made = streams_[how.key];
  made = Streams();
  made.journal = Fd(::memfd_create("journal", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(made.journal.get(), journal_bytes), 0);
  if (how.terminal) {
    made.stdout_read = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_EQ(::grantpt(made.stdout_read.get()), 0);
    EXPECT_EQ(::unlockpt(made.stdout_read.get()), 0);
    made.stdout_write = Fd(::ioctl(made.stdout_read.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY));
    EXPECT_TRUE(made.stdout_write);
    how.has_stdout = true;
    if (how.has_stdin) made.stdin_write = duplicate(made.stdout_read);
  } else {
    how.has_stdout = how.has_stderr = true;
    std::tie(made.stdout_read, made.stdout_write) = make_pipe();
    std::tie(made.stderr_read, made.stderr_write) = make_pipe();
    if (how.has_stdin) std::tie(made.stdin_read, made.stdin_write) = make_pipe();
  }
  how.has_directory = how.options.driver != Driver::None;
  if (how.has_directory) {
    const std::string path = directory_of(how.key);
    ::mkdir(path.c_str(), 0700);
    made.directory = Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_TRUE(made.directory);
  }
  made.how = std::move(how);
  tell_streams(made);
  return made;
}

void StubCore::tell_streams(const Streams& each) {
  std::vector<const Fd*> descriptors{&each.journal, &each.stdout_read};
  if (each.stderr_read) descriptors.push_back(&each.stderr_read);
  AddStreams how = each.how;
  how.has_stdin = static_cast<bool>(each.stdin_write);
  if (how.has_stdin) descriptors.push_back(&each.stdin_write);
  if (each.directory) descriptors.push_back(&each.directory);
  tell(how, descriptors);
}

void StubCore::end(const std::string& key, uint32_t linger_ms) {
  streams_.at(key).ended = true;
  tell(Ended{.key = key, .linger_ms = linger_ms});
}

void StubCore::close_input(const std::string& key) { tell(CloseInput{.key = key}); }

Fd StubCore::attach(AttachClient how) {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  tell(how, {&theirs});
  return ours;
}

void StubCore::tell_bytes(const std::string& bytes, const std::vector<const Fd*>& descriptors) {
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(8 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = ancillary;
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::vector<int> numbers;
    for (const Fd* each : descriptors) numbers.push_back(each->get());
    std::copy_n(reinterpret_cast<const unsigned char*>(numbers.data()),
                numbers.size() * sizeof(int), CMSG_DATA(head));
  }
  (void)::sendmsg(control_.get(), &message, MSG_NOSIGNAL);
}

std::optional<Said> StubCore::hear(std::chrono::milliseconds limit) {
  pollfd waiting{.fd = control_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(limit.count())) <= 0) return std::nullopt;
  std::string bytes(64 << 10, '\0');
  const ssize_t got = ::recv(control_.get(), bytes.data(), bytes.size(), 0);
  if (got <= 0) return std::nullopt;
  return Said{.code = static_cast<uint8_t>(bytes[0]),
              .bytes = bytes.substr(1, static_cast<size_t>(got) - 1)};
}

std::string directory_of(const std::string& key) {
  std::string name = key;
  std::ranges::replace(name, '/', '_');
  return cat("/tmp/", name);
}

std::string read_text(const std::string& path) {
  return sys::read_file_at(sys::working_directory, path.c_str(), 1u << 30).value_or("");
}

void write_text(const Fd& file, std::string_view text) {
  ASSERT_TRUE(sys::write_all(file, text, "a test's stream"));
}

std::string read_until_end(const Fd& file, size_t bytes) {
  std::string text;
  char block[64 << 10];
  while (text.size() < bytes) {
    pollfd waiting{.fd = file.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10'000) <= 0) {
      ADD_FAILURE() << "nothing came after " << text.size() << " bytes";
      break;
    }
    const ssize_t got = ::read(file.get(), block, std::min(sizeof block, bytes - text.size()));
    if (got <= 0) break;
    text.append(block, static_cast<size_t>(got));
  }
  return text;
}

static std::vector<Entry> entries_in(std::string_view text) {
  std::vector<Entry> entries;
  EXPECT_TRUE(text.empty() || text.ends_with('\n'));
  while (!text.empty()) {
    const std::string_view line = take_until(text, '\n');
    auto entry = decode_json_line(line);
    EXPECT_TRUE(entry) << line.substr(0, 300);
    if (entry) entries.push_back(*std::move(entry));
  }
  return entries;
}

std::vector<Entry> entries_of(const std::string& path) { return entries_in(read_text(path)); }

std::string text_of(const std::string& path) {
  std::string text;
  for (const Entry& each : entries_of(path)) text += each.text;
  return text;
}

std::string text_of_row(const std::string& directory) {
  std::vector<std::string> newest_first;
  newest_first.push_back(read_text(cat(directory, "/container.log")));
  for (uint32_t index = 1; index < 100; ++index) {
    if (const auto packed = read_text(cat(directory, '/', rotated_name(index, true)));
        !packed.empty()) {
      auto decompressor = codec::Decompressor::make(codec::Compression::Gzip);
      std::string plain(1u << 26, '\0');
      const auto step = decompressor->step(packed, plain);
      EXPECT_TRUE(step) << step.error().message();
      EXPECT_TRUE(decompressor->finish());
      plain.resize(step->produced);
      newest_first.push_back(std::move(plain));
    } else {
      newest_first.push_back(read_text(cat(directory, '/', rotated_name(index, false))));
    }
  }
  std::string text;
  for (size_t index = newest_first.size(); index-- > 0;) {
    for (const Entry& each : entries_in(newest_first[index])) text += each.text;
  }
  return text;
}

bool eventually(const std::function<bool()>& condition) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (condition()) return true;
    ::usleep(10'000);
  }
  return false;
}

}  // namespace nacelle::logs
