#include "api/file_sync.h"

#include <api/buildkit/session.pb.h>
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::api {
namespace {

using buildkit::session::Packet;
using buildkit::session::Stat;

constexpr uint64_t asked_bytes_max = 8u << 20;  // on their way at a time, but for one large file
constexpr uint32_t asked_files_max = 512;
constexpr uint64_t named_bytes_max = 512u << 20;
constexpr int64_t ns_per_s = 1'000'000'000;

// Go's os.FileMode.
constexpr uint32_t mode_directory = 1u << 31, mode_symlink = 1u << 27, mode_device = 1u << 26,
                   mode_fifo = 1u << 25, mode_socket = 1u << 24, mode_setuid = 1u << 23,
                   mode_setgid = 1u << 22, mode_character = 1u << 21, mode_sticky = 1u << 20;

Result<codec::tar::Type> type_of(const Stat& stat) {
  using enum codec::tar::Type;
  const uint32_t mode = stat.mode();
  if ((mode & mode_directory) != 0) return Directory;
  if ((mode & mode_symlink) != 0) return Symlink;
  if ((mode & mode_fifo) != 0) return Fifo;
  if ((mode & mode_device) != 0) {
    return (mode & mode_character) != 0 ? CharacterDevice : BlockDevice;
  }
  if ((mode & mode_socket) != 0) {
    return fail(Kind::Invalid,
                cat(codec::json::in_quotes(stat.path()), ": sockets cannot be sent"));
  }
  return stat.linkname().empty() ? File : HardLink;
}

std::string request_packet(Packet::Type type, uint32_t id = 0) {
  Packet packet;
  packet.set_type(type);
  packet.set_id(id);
  return packet.SerializeAsString();
}

// A context's files belong to root: who owns them on the client's machine means nothing here.
Result<codec::tar::Entry> entry_of(const Stat& stat) {
  codec::tar::Entry entry;
  entry.type = TRY(type_of(stat));
  entry.name = stat.path();
  entry.link_target = stat.linkname();
  const uint32_t mode = stat.mode();
  entry.mode = (mode & 0777) | ((mode & mode_setuid) != 0 ? 04000 : 0) |
               ((mode & mode_setgid) != 0 ? 02000 : 0) | ((mode & mode_sticky) != 0 ? 01000 : 0);
  if (stat.size() < 0)
    return fail(Kind::Invalid, cat(codec::json::in_quotes(stat.path()), ": a negative size"));
  entry.size = entry.type == codec::tar::Type::File ? static_cast<uint64_t>(stat.size()) : 0;
  entry.modified.seconds = stat.mod_time() / ns_per_s;
  int64_t rest = stat.mod_time() % ns_per_s;
  if (rest < 0) {
    rest += ns_per_s;
    --entry.modified.seconds;
  }
  entry.modified.nanoseconds = static_cast<uint32_t>(rest);
  entry.device_major = static_cast<uint32_t>(stat.devmajor());
  entry.device_minor = static_cast<uint32_t>(stat.devminor());
  for (const auto& [name, value] : stat.xattrs()) entry.xattrs.emplace_back(name, value);
  std::ranges::sort(entry.xattrs);
  return entry;
}

}  // namespace

Result<> ArchiveSink::begin(const codec::tar::Entry& entry) {
  return writer_.begin_entry(entry, archive_);
}
Result<> ArchiveSink::content(std::string_view bytes) {
  archive_ += bytes;
  return {};
}
void ArchiveSink::end(const codec::tar::Entry& entry) { writer_.end_entry(entry.size, archive_); }
void ArchiveSink::end_of_all() { writer_.end_archive(archive_); }

Result<> SmallFilesSink::begin(const codec::tar::Entry& entry) {
  if (entry.type != codec::tar::Type::File) return {};
  bytes_ += entry.size;
  if (bytes_ > bytes_max_) {
    return fail(Kind::Exhausted, cat(entry.name, ": more than ", bytes_max_, " bytes"));
  }
  current_ = &files_[entry.name];
  return {};
}
Result<> SmallFilesSink::content(std::string_view bytes) {
  if (current_ != nullptr) *current_ += bytes;
  return {};
}
void SmallFilesSink::end(const codec::tar::Entry&) { current_ = nullptr; }

Result<> FileReceiver::take(std::string_view packet_bytes) {
  Packet packet;
  if (!packet.ParseFromArray(packet_bytes.data(), static_cast<int>(packet_bytes.size()))) {
    return fail(Kind::Invalid, "a packet of files cannot be read");
  }
  if (finished_) return {};  // the client's own word for the end
  switch (packet.type()) {
    case Packet::STAT:
      if (all_named_) return fail(Kind::Invalid, "a name behind the last one");
      if (!packet.has_stat()) {
        all_named_ = true;
      } else {
        const Stat& stat = packet.stat();
        named_bytes_ += packet_bytes.size() + sizeof(File);
        if (named_bytes_ > named_bytes_max) return fail(Kind::Exhausted, "too many files");
        files_.emplace_back().entry = TRY(entry_of(stat));
      }
      break;
    case Packet::DATA: TRY(data(packet.id(), packet.data())); break;
    case Packet::ERR:
      return fail(Kind::Invalid, cat("the client cannot send its files: ", packet.data()));
    default: return fail(Kind::Invalid, "a packet of files that is not the client's to send");
  }
  TRY(advance());
  ask();
  return {};
}

// No bytes: the file is whole.
Result<> FileReceiver::data(uint32_t id, std::string_view bytes) {
  if (id < first_ || id - first_ >= files_.size() || !files_[id - first_].asked ||
      files_[id - first_].whole) {
    return fail(Kind::Invalid, cat("content of file ", id, ", which nobody asked for"));
  }
  File& file = files_[id - first_];
  file.got += bytes.size();
  const uint64_t size = file.entry.size;
  if (file.got > size || (bytes.empty() && file.got < size)) {
    return fail(Kind::Invalid,
                cat(codec::json::in_quotes(file.entry.name), ": changed while it was sent"));
  }
  if (bytes.empty()) {
    file.whole = true;
    asked_bytes_ -= size;
  } else if (id == first_ && begun_) {
    return sink_.content(bytes);
  } else {
    file.waiting += bytes;
  }
  return {};
}

Result<> FileReceiver::advance() {
  while (!files_.empty()) {
    File& file = files_.front();
    const bool has_content = file.entry.type == codec::tar::Type::File && file.entry.size > 0;
    if (!std::exchange(begun_, true)) {
      TRY(sink_.begin(file.entry));
      if (!file.waiting.empty()) TRY(sink_.content(std::exchange(file.waiting, {})));
    }
    if (has_content && !file.whole) return {};
    sink_.end(file.entry);
    files_.pop_front();
    ++first_;
    begun_ = false;
  }
  if (!all_named_) return {};
  sink_.end_of_all();
  packets_.push_back(request_packet(Packet::FIN));
  finished_ = true;
  return {};
}

void FileReceiver::ask() {
  next_asked_ = std::max(next_asked_, first_);
  for (; next_asked_ - first_ < files_.size(); ++next_asked_) {
    File& file = files_[next_asked_ - first_];
    if (file.entry.type != codec::tar::Type::File || file.entry.size == 0) continue;
    const bool is_first = asked_bytes_ == 0;
    if (!is_first && (asked_bytes_ + file.entry.size > asked_bytes_max ||
                      next_asked_ - first_ > asked_files_max)) {
      return;
    }
    file.asked = true;
    asked_bytes_ += file.entry.size;
    packets_.push_back(request_packet(Packet::REQ, next_asked_));
  }
}

// To a client. -----------------------------------------------------------------------------------

namespace {

uint32_t go_type(codec::tar::Type type) {
  using enum codec::tar::Type;
  switch (type) {
    case Directory: return mode_directory;
    case Symlink: return mode_symlink;
    case Fifo: return mode_fifo;
    case CharacterDevice: return mode_device | mode_character;
    case BlockDevice: return mode_device;
    case File:
    case HardLink: break;
  }
  return 0;
}

// As Go's clients tell files of theirs: a hard link is a file with a target.
void describe(const codec::tar::Entry& entry, Stat& stat) {
  stat.set_path(entry.name);
  stat.set_mode((entry.mode & 0777) | go_type(entry.type) |
                ((entry.mode & 04000) != 0 ? mode_setuid : 0) |
                ((entry.mode & 02000) != 0 ? mode_setgid : 0) |
                ((entry.mode & 01000) != 0 ? mode_sticky : 0));
  stat.set_uid(entry.user);
  stat.set_gid(entry.group);
  if (entry.type == codec::tar::Type::File) stat.set_size(static_cast<int64_t>(entry.size));
  // A time that has no room in nanoseconds is one that no file was made at.
  constexpr int64_t seconds_max = INT64_MAX / ns_per_s - 1;
  stat.set_mod_time(std::clamp(entry.modified.seconds, -seconds_max, seconds_max) * ns_per_s +
                    entry.modified.nanoseconds);
  stat.set_linkname(entry.link_target);
  stat.set_devmajor(entry.device_major);
  stat.set_devminor(entry.device_minor);
  for (const auto& [name, value] : entry.xattrs) (*stat.mutable_xattrs())[name] = value;
}

}  // namespace

void FileSender::name(const codec::tar::Entry& entry) {
  is_told_ = entry.name != ".";
  if (!is_told_) return;
  Packet packet;
  packet.set_type(Packet::STAT);
  describe(entry, *packet.mutable_stat());
  packets_.push_back(packet.SerializeAsString());
  ++next_;
  waits_ = entry.type == codec::tar::Type::File;
}

// No bytes: the file is whole.
void FileSender::content(std::string_view bytes) {
  Packet packet;
  packet.set_type(Packet::DATA);
  packet.set_id(next_ - 1);
  packet.set_data(std::string(bytes));
  packets_.push_back(packet.SerializeAsString());
}

Result<> FileSender::take(std::string_view& archive) {
  using Event = codec::tar::Reader::Event;
  while (!waits() && !finished_) {
    switch (TRY(reader_.next(archive))) {
      case Event::NeedInput: return {};
      case Event::Entry: name(reader_.entry()); break;
      case Event::Data: content(reader_.data()); break;
      case Event::EntryEnd:
        if (is_told_ && reader_.entry().type == codec::tar::Type::File) content({});
        break;
      case Event::End:
        all_named_ = true;
        packets_.push_back(request_packet(Packet::STAT));
        break;
    }
  }
  return {};
}

Result<> FileSender::end_of_archive() const {
  if (all_named_) return {};
  return fail(Kind::Invalid, "the files to be sent end before their end");
}

Result<> FileSender::answer(std::string_view packet_bytes) {
  Packet packet;
  if (!packet.ParseFromArray(packet_bytes.data(), static_cast<int>(packet_bytes.size()))) {
    return fail(Kind::Invalid, "a packet about files cannot be read");
  }
  switch (packet.type()) {
    case Packet::REQ:
      if (!waits_ || packet.id() != next_ - 1) {
        return fail(Kind::Invalid, cat("file ", packet.id(), " is asked for out of turn"));
      }
      waits_ = false;
      return {};
    case Packet::FIN:
      if (!all_named_) return fail(Kind::Invalid, "the client has had enough before the last file");
      packets_.push_back(request_packet(Packet::FIN));
      finished_ = true;
      return {};
    case Packet::ERR:
      return fail(Kind::Invalid, cat("the client cannot write its files: ", packet.data()));
    default: return fail(Kind::Invalid, "a packet about files that is not the client's to send");
  }
}

}  // namespace nacelle::api
