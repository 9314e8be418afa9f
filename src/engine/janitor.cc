#include "engine/janitor.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "image/disk.h"
#include "ring/blocking.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr ring::Duration pause = std::chrono::seconds(1);
// Beyond this it does not wait for its moment, and beyond the other it takes its turn like
// everybody else: the backlog is bounded, whatever the load is.
constexpr size_t much = 256, too_much = 1024;
constexpr size_t side_by_side_max = 16;

}  // namespace

struct Janitor::Batch {
  size_t left = 0;
  ring::Notice done;
};

std::shared_ptr<Leaving> Janitor::end_mount(Fd mount) {
  if (!mount) return nullptr;
  mounts_.push_back(std::make_shared<Leaving>(std::move(mount)));
  work();
  return mounts_.back();
}

Result<> Janitor::set_aside(const Fd& parent, const std::string& name) {
  std::string trash = cat(image::trash_prefix, image::random_name());
  TRY(image::rename_between(parent, name.c_str(), *containers_, trash.c_str()));
  remove(std::move(trash));
  return {};
}

void Janitor::remove(std::string name) {
  trash_.push_back(std::move(name));
  work();
}

void Janitor::work() {
  if (backlog() >= much) much_.notify_all();
  if (working_) return;
  working_ = true;
  background_.start(run());
}

ring::Task<> Janitor::wait_for_much() {
  while (backlog() < much) co_await much_.wait();
}

ring::Task<> Janitor::run() {
  while (!mounts_.empty() || !trash_.empty()) {
    const auto waited =
        co_await ring::as_result(ring::with_deadline(loop_, wait_for_much(), pause));
    if (!waited && waited.error().kind() == Kind::Cancelled) co_await waited;
    auto mounts = std::exchange(mounts_, {});
    auto names = std::exchange(trash_, {});
    in_hand_ = mounts.size() + names.size();
    co_await end_all(std::move(mounts));
    // What cannot be deleted now is trash to the next engine, too.
    const Result<> removed = co_await ring::as_result(remove_all(std::move(names)));
    if (!removed && removed.error().kind() == Kind::Cancelled) co_await removed;
    in_hand_ = 0;
  }
  working_ = false;
}

ring::Task<> Janitor::end_all(std::vector<std::shared_ptr<Leaving>> mounts) {
  const size_t threads = std::min(mounts.size(), side_by_side_max);
  const auto batch = std::make_shared<Batch>();
  batch->left = threads;
  for (size_t thread = 0; thread < threads; ++thread) {
    std::vector<std::shared_ptr<Leaving>> some;
    for (size_t at = thread; at < mounts.size(); at += threads) some.push_back(mounts[at]);
    background_.start(end_some(batch, std::move(some)));
  }
  while (batch->left > 0) co_await batch->done.wait();
}

ring::Task<> Janitor::end_some(std::shared_ptr<Batch> batch,
                               std::vector<std::shared_ptr<Leaving>> some) {
  std::vector<Fd> mounts;
  for (const auto& each : some) mounts.push_back(std::move(each->mount));
  auto ending = [mounts = std::move(mounts)]() mutable -> Result<> {
    mounts.clear();
    return {};
  };
  const ring::Pace pace = backlog() < too_much ? ring::Pace::SpareTime : ring::Pace::Now;
  const Result<> ended =
      co_await ring::as_result(ring::run_blocking(loop_, std::move(ending), pace));
  for (const auto& each : some) {
    each->has_ended = true;
    each->ended.notify_all();
  }
  --batch->left;
  batch->done.notify_all();
  co_await Result<>(ended);
}

ring::Task<> Janitor::end_now(std::shared_ptr<Leaving> leaving) {
  if (!leaving) co_return;
  if (leaving->mount) {
    auto ending = [mount = std::move(leaving->mount)]() mutable -> Result<> {
      mount = Fd();
      return {};
    };
    co_await ring::run_blocking(loop_, std::move(ending));
    leaving->has_ended = true;
    leaving->ended.notify_all();
  }
  while (!leaving->has_ended) co_await leaving->ended.wait();
}

ring::Task<> Janitor::remove_all(std::vector<std::string> names) {
  if (names.empty()) co_return;
  Fd place = co_await sys::open_at(containers_->get(), ".", O_RDONLY | O_DIRECTORY);
  auto removal = [place = std::move(place), names = std::move(names)]() -> Result<> {
    for (const std::string& name : names) (void)image::remove_tree_now(place, name);
    return {};
  };
  const ring::Pace pace = backlog() < too_much ? ring::Pace::SpareTime : ring::Pace::Now;
  co_await ring::run_blocking(loop_, std::move(removal), pace);
}

}  // namespace nacelle::engine
