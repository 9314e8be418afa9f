// What containers leave behind and nobody waits for: the last mount of a writable root, whose end
// makes its file system write out everything it has (a commit of the journal, which holds up
// whoever changes a file meanwhile), and directories to be deleted. It is done in spare time, a
// moment later, for many at once: mounts that end side by side share a commit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::engine {

// A mount that is to end, or is ending.
struct Leaving {
  explicit Leaving(Fd mount_in) : mount(std::move(mount_in)) {}
  Fd mount;
  bool has_ended = false;
  ring::Notice ended;
};

class Janitor {
 public:
  Janitor(ring::Loop& loop, ring::Scope& background) : loop_(loop), background_(background) {}
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;
  // `containers`: where the directories are that it deletes.
  void begin(const Fd& containers) { containers_ = &containers; }

  std::shared_ptr<Leaving> end_mount(Fd mount);
  // The directory `name` of `parent` is off it at once, under a name that means nothing.
  Result<> set_aside(const Fd& parent, const std::string& name);
  // One that has been set aside.
  void remove(std::string name);
  // Somebody waits, after all. None: it has ended.
  ring::Task<> end_now(std::shared_ptr<Leaving> leaving);
  // Mounts and directories that are still there.
  size_t backlog() const { return mounts_.size() + trash_.size() + in_hand_; }

 private:
  struct Batch;
  void work();
  ring::Task<> run();
  ring::Task<> wait_for_much();
  ring::Task<> end_all(std::vector<std::shared_ptr<Leaving>> mounts);
  ring::Task<> end_some(std::shared_ptr<Batch> batch, std::vector<std::shared_ptr<Leaving>> some);
  ring::Task<> remove_all(std::vector<std::string> names);

  ring::Loop& loop_;
  ring::Scope& background_;
  const Fd* containers_ = nullptr;
  std::vector<std::shared_ptr<Leaving>> mounts_;
  std::vector<std::string> trash_;
  size_t in_hand_ = 0;
  ring::Notice much_;
  bool working_ = false;
};

}  // namespace nacelle::engine
