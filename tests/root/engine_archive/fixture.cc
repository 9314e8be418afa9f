#include "fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "codec/tar_reader.h"
#include "codec/tar_writer.h"

namespace nacelle::test {

std::string make_archive(const std::vector<ArchivedFile>& files) {
  codec::tar::Writer writer;
  std::string out;
  for (ArchivedFile file : files) {
    file.entry.size = file.content.size();
    EXPECT_TRUE(writer.begin_entry(file.entry, out)) << file.entry.name;
    out += file.content;
    writer.end_entry(file.content.size(), out);
  }
  writer.end_archive(out);
  return out;
}

std::vector<ArchivedFile> parse_archive(std::string_view bytes) {
  using Event = codec::tar::Reader::Event;
  std::vector<ArchivedFile> files;
  codec::tar::Reader reader;
  while (true) {
    const auto event = reader.next(bytes);
    EXPECT_TRUE(event) << event.error().message();
    if (!event || *event == Event::End || *event == Event::NeedInput) return files;
    if (*event == Event::Entry) files.push_back({reader.entry(), {}});
    if (*event == Event::Data) files.back().content += reader.data();
  }
}

std::vector<std::pair<std::string, std::string>> read_archive_text(std::string_view bytes) {
  std::vector<std::pair<std::string, std::string>> text;
  for (const ArchivedFile& file : parse_archive(bytes)) {
    std::string content = file.content;
    if (file.entry.type == codec::tar::Type::Directory) content = "/";
    if (!file.entry.link_target.empty()) content = "-> " + file.entry.link_target;
    text.emplace_back(file.entry.name, content);
  }
  return text;
}

static ArchivedFile entry_of(codec::tar::Type type, std::string name, uint32_t mode) {
  ArchivedFile file;
  file.entry.type = type;
  file.entry.name = std::move(name);
  file.entry.mode = mode;
  file.entry.modified.seconds = 1'000'000'000;
  return file;
}
ArchivedFile file_entry(std::string name, std::string content, uint32_t mode) {
  ArchivedFile file = entry_of(codec::tar::Type::File, std::move(name), mode);
  file.content = std::move(content);
  return file;
}
ArchivedFile directory_entry(std::string name, uint32_t mode) {
  return entry_of(codec::tar::Type::Directory, std::move(name), mode);
}
ArchivedFile symlink_entry(std::string name, std::string target) {
  ArchivedFile file = entry_of(codec::tar::Type::Symlink, std::move(name), 0777);
  file.entry.link_target = std::move(target);
  return file;
}
ArchivedFile hard_link_entry(std::string name, std::string target) {
  ArchivedFile file = entry_of(codec::tar::Type::HardLink, std::move(name), 0644);
  file.entry.link_target = std::move(target);
  return file;
}

namespace {

// In the child: no test framework here.
void must(bool done, const char* what) {
  if (done) return;
  ::perror(what);
  ::_exit(99);
}

void become_container(const std::string& outer, const std::function<void()>& prepare) {
  must(::unshare(CLONE_NEWNS) == 0, "unshare");
  must(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private");
  const std::string root = outer + "/root";
  must(::mount("tmpfs", root.c_str(), "tmpfs", 0, "mode=755") == 0, "tmpfs");
  for (const char* name : {"/proc", "/etc", "/tmp", "/volume", "/fixed", "/old", "/dev"}) {
    must(::mkdir((root + name).c_str(), 0755) == 0, name);
  }
  must(::mount((outer + "/volume").c_str(), (root + "/volume").c_str(), nullptr, MS_BIND,
               nullptr) == 0,
       "bind");
  must(::mount((outer + "/volume").c_str(), (root + "/fixed").c_str(), nullptr, MS_BIND, nullptr) ==
           0,
       "bind");
  must(::mount(nullptr, (root + "/fixed").c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY,
               nullptr) == 0,
       "remount");
  must(::mount("proc", (root + "/proc").c_str(), "proc", 0, nullptr) == 0, "proc");
  must(::chdir(root.c_str()) == 0, "chdir");
  must(::syscall(SYS_pivot_root, ".", "old") == 0, "pivot_root");
  must(::umount2("/old", MNT_DETACH) == 0, "umount");
  must(::rmdir("/old") == 0, "rmdir");
  must(::chdir("/") == 0, "chdir");
  if (prepare) prepare();
}

}  // namespace

void InsideTest::SetUp() {
  ::setenv("NACELLE_WORKER", NACELLE_BUILT_WORKER, 1);
  before_.emplace(take_census());
  loop_ = *ring::Loop::open();
  run({"rm", "-rf", outer_});
  for (const char* name : {"", "/root", "/volume"}) {
    ASSERT_EQ(::mkdir((outer_ + name).c_str(), 0755), 0);
  }
  ASSERT_TRUE(write_file(outer_ + "/canary", "sings"));
  ASSERT_TRUE(write_file("/tmp/nacelle-canary", "sings"));
  ASSERT_TRUE(write_file(outer_ + "/volume/kept", "of the volume"));
}

void InsideTest::TearDown() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  process_ = Fd();
  EXPECT_EQ(read_file(outer_ + "/canary"), "sings");
  EXPECT_EQ(read_file("/tmp/nacelle-canary"), "sings");
  loop_.reset();
  run({"rm", "-rf", outer_, "/tmp/nacelle-canary"});
  EXPECT_TRUE(nothing_left_since(*before_));
}

void InsideTest::live(const std::function<void()>& prepare, const std::function<void()>& life) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const Fd reader(ready[0]);
  Fd writer(ready[1]);
  // The first process of a pid namespace, as a container's.
  pid_ = static_cast<pid_t>(
      ::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  ASSERT_GE(pid_, 0);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    become_container(outer_, prepare);
    must(::write(writer.get(), "r", 1) == 1, "ready");
    while (true) {
      if (life) {
        life();
      } else {
        ::pause();
      }
    }
  }
  writer = Fd();
  char byte = 0;
  ASSERT_EQ(::read(reader.get(), &byte, 1), 1);
  process_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  ASSERT_TRUE(process_);
}

std::string InsideTest::host_path(std::string_view path) const {
  return cat("/proc/", pid_, "/root", path);
}

image::Worker InsideTest::enter(image::WorkerKind kind, bool read_only, image::RootIs root_is) {
  image::WorkerOptions options;
  options.kind = kind;
  options.root = &process_;
  options.root_is = root_is;
  options.read_only_root = read_only;
  auto worker = image::Worker::start(*loop_, options);
  if (!worker) ADD_FAILURE() << worker.error().message();
  return *std::move(worker);
}

static std::string contents(const Fd& file) {
  std::string text(static_cast<size_t>(::lseek(file.get(), 0, SEEK_END)), '\0');
  EXPECT_EQ(::pread(file.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  return text;
}
static Fd memory(std::string_view bytes) {
  Fd file(::memfd_create("archive", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

Result<image::FileStat> InsideTest::stat(const std::string& path) {
  image::Worker worker = enter(image::WorkerKind::Files, true);
  return run_request(worker, image::StatPathRequest{.path = path}, {});
}

Result<std::string> InsideTest::read(const std::string& path) {
  const Fd output = memory("");
  image::Worker worker = enter(image::WorkerKind::Files, true);
  auto done = run_request(worker, image::ReadPathRequest{.path = path}, {&output});
  if (!done) return std::unexpected(std::move(done).error());
  return contents(output);
}

Result<image::WritePathRequest::Reply> InsideTest::write(const std::string& path,
                                                         std::string_view archive,
                                                         image::WritePathRequest request) {
  const Fd input = memory(archive);
  request.path = path;
  image::Worker worker = enter(image::WorkerKind::Files, false);
  return run_request(worker, std::move(request), {&input});
}

Result<std::string> InsideTest::export_all() {
  const Fd output = memory("");
  image::Worker worker = enter(image::WorkerKind::Pack, true, image::RootIs::ProcessRoot);
  auto done = run_request(worker, image::PackRequest{}, {&output});
  if (!done) return std::unexpected(std::move(done).error());
  return contents(output);
}

}  // namespace nacelle::test
