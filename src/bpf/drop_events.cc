#include "bpf/drop_events.h"

#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "bpf/pins.h"
#include "sys/bpf.h"

namespace nacelle::bpf {
namespace {

// A position, or a record's length: the kernel writes them while we read.
template <class Number>
Number load(const char* at) {
  return std::atomic_ref(*reinterpret_cast<Number*>(const_cast<char*>(at)))
      .load(std::memory_order_acquire);
}

}  // namespace

Result<DropEvents> DropEvents::open(const std::string& directory) {
  DropEvents all;
  all.events_ = TRY(open_pin(directory, "events"));
  all.settings_ = TRY(open_pin(directory, "settings"));
  const sys::BpfMapShape shape = TRY(sys::read_map_shape(all.events_));
  const sys::BpfMapShape settings = TRY(sys::read_map_shape(all.settings_));
  if (shape.type != BPF_MAP_TYPE_RINGBUF || settings.value_bytes != sizeof(nacelle_settings)) {
    return fail(Kind::Unsupported, "events of drops: of another version");
  }
  all.page_bytes_ = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  all.ring_bytes_ = shape.rows_max;
  void* consumer =
      ::mmap(nullptr, all.page_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, all.events_.get(), 0);
  if (consumer == MAP_FAILED) return fail_errno(errno, "mmap of events of drops");
  all.consumer_ = static_cast<char*>(consumer);
  void* producer = ::mmap(nullptr, all.page_bytes_ + 2 * all.ring_bytes_, PROT_READ, MAP_SHARED,
                          all.events_.get(), static_cast<off_t>(all.page_bytes_));
  if (producer == MAP_FAILED) return fail_errno(errno, "mmap of events of drops");
  all.producer_ = static_cast<char*>(producer);
  return all;
}

DropEvents::DropEvents(DropEvents&& other) noexcept
    : events_(std::move(other.events_)),
      settings_(std::move(other.settings_)),
      page_bytes_(other.page_bytes_),
      ring_bytes_(other.ring_bytes_),
      consumer_(std::exchange(other.consumer_, nullptr)),
      producer_(std::exchange(other.producer_, nullptr)) {}

DropEvents::~DropEvents() {
  if (consumer_ != nullptr) ::munmap(consumer_, page_bytes_);
  if (producer_ != nullptr) ::munmap(producer_, page_bytes_ + 2 * ring_bytes_);
}

Result<> DropEvents::listen(std::chrono::milliseconds duration) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  nacelle_settings setting{};
  if (duration.count() > 0) {
    setting.listened_until_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 +
                                static_cast<uint64_t>(now.tv_nsec) +
                                static_cast<uint64_t>(duration.count()) * 1'000'000;
  }
  const uint32_t only = 0;
  return sys::put_map_row(settings_, &only, &setting);
}

std::optional<nacelle_drop_event> DropEvents::next() {
  const char* ring = producer_ + page_bytes_;
  auto position = load<unsigned long>(consumer_);
  while (position < load<unsigned long>(producer_)) {
    const char* record = ring + (position & (ring_bytes_ - 1));
    const auto length = load<uint32_t>(record);
    if ((length & BPF_RINGBUF_BUSY_BIT) != 0) return {};
    const uint32_t bytes = length & ~BPF_RINGBUF_DISCARD_BIT;
    nacelle_drop_event event{};
    const bool whole = bytes == sizeof event && bytes == length;
    if (whole) std::memcpy(&event, record + BPF_RINGBUF_HDR_SZ, sizeof event);
    position += (bytes + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
    std::atomic_ref(*reinterpret_cast<unsigned long*>(consumer_))
        .store(position, std::memory_order_release);
    if (whole) return event;
  }
  return {};
}

}  // namespace nacelle::bpf
