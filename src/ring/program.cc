#include "ring/program.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace nacelle::ring {
namespace {

constexpr size_t words_bytes_max = 4096;

}  // namespace

Task<Ended> run_program(Loop& loop, sys::SpawnOptions options, Duration patience,
                        std::string attempt) {
  const Fd words(::memfd_create("nacelle-words", MFD_CLOEXEC));
  if (!words) co_await fail_errno(errno, "memfd_create");
  options.standard_error = &words;
  const Fd process = co_await sys::spawn(options);
  const Result<int> status = co_await as_result(
      with_deadline(loop, wait_process(loop, process), patience, std::move(attempt)));
  if (!status) {
    (void)sys::kill_process(process, SIGKILL);
    (void)sys::reap(process);
  }
  Ended ended{.status = co_await Result<int>(status), .words = std::string(words_bytes_max, '\0')};
  const ssize_t length = ::pread(words.get(), ended.words.data(), ended.words.size(), 0);
  ended.words.resize(length > 0 ? static_cast<size_t>(length) : 0);
  while (ended.words.ends_with('\n')) ended.words.pop_back();
  co_return ended;
}

}  // namespace nacelle::ring
