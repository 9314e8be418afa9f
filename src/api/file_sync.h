// How BuildKit's clients and we send each other files (tonistiigi/fsutil): who has them tells every
// name, each with a number, and sends the content of those that are asked for. A client's come out
// here one by one, in the order of their names; to a client goes what an archive holds, in that
// order. Pure: packets in, packets and files out, or the other way round.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/tar_reader.h"
#include "codec/tar_writer.h"
#include "nacelle/result.h"

namespace nacelle::api {

// Who takes the files. Content comes in pieces.
class FileSink {
 public:
  virtual Result<> begin(const codec::tar::Entry& entry) = 0;
  virtual Result<> content(std::string_view bytes) = 0;
  virtual void end(const codec::tar::Entry& entry) = 0;
  virtual void end_of_all() = 0;

 protected:
  ~FileSink() = default;
};

// Makes one archive of them.
class ArchiveSink final : public FileSink {
 public:
  Result<> begin(const codec::tar::Entry& entry) override;
  Result<> content(std::string_view bytes) override;
  void end(const codec::tar::Entry& entry) override;
  void end_of_all() override;
  // What is ready; it is the caller's now.
  std::string take() { return std::exchange(archive_, {}); }

 private:
  codec::tar::Writer writer_;
  std::string archive_;
};

// Keeps the content of few small ones, by their names.
class SmallFilesSink final : public FileSink {
 public:
  explicit SmallFilesSink(size_t bytes_max) : bytes_max_(bytes_max) {}
  Result<> begin(const codec::tar::Entry& entry) override;
  Result<> content(std::string_view bytes) override;
  void end(const codec::tar::Entry& entry) override;
  void end_of_all() override {}
  std::map<std::string, std::string> take() { return std::move(files_); }

 private:
  size_t bytes_max_, bytes_ = 0;
  std::string* current_ = nullptr;
  std::map<std::string, std::string> files_;
};

class FileReceiver {
 public:
  // `sink` outlives it.
  explicit FileReceiver(FileSink& sink) : sink_(sink) {}
  // One packet of the client's, in protobuf's form. Invalid: it is none, or out of order.
  Result<> take(std::string_view packet);
  // Packets that are to be sent, in protobuf's form.
  std::vector<std::string> take_packets() { return std::exchange(packets_, {}); }
  // Everything has come.
  bool finished() const { return finished_; }

 private:
  struct File {
    codec::tar::Entry entry;
    uint64_t got = 0;
    std::string waiting;  // content that came before its turn
    bool asked = false, whole = false;
  };
  Result<> data(uint32_t id, std::string_view bytes);
  Result<> advance();
  void ask();

  std::deque<File> files_;  // from `first_` on
  uint32_t first_ = 0;      // the number of the file whose turn it is
  uint32_t next_asked_ = 0;
  uint64_t asked_bytes_ = 0;  // of files that were asked for and are not whole
  uint64_t named_bytes_ = 0;  // what names take
  bool begun_ = false, all_named_ = false, finished_ = false;
  FileSink& sink_;
  std::vector<std::string> packets_;
};

// Sends what comes as an archive whose entries are in fsutil's order: sorted by name, a directory
// before what is in it. Nothing is kept of it, so that a file is told only when the content of the
// one before has gone; a client asks for each as soon as it is told.
class FileSender {
 public:
  // Bytes off the front of the archive, until more of it is wanted, or something of the client.
  Result<> take(std::string_view& archive);
  // The archive has ended. Invalid: before its end.
  Result<> end_of_archive() const;
  // One packet of the client's. Invalid: it is none, or asks for what it was not told of.
  Result<> answer(std::string_view packet);
  std::vector<std::string> take_packets() { return std::exchange(packets_, {}); }
  // Nothing goes on before the client has said something.
  bool waits() const { return waits_ || (all_named_ && !finished_); }
  bool all_named() const { return all_named_; }
  // The client has everything.
  bool finished() const { return finished_; }

 private:
  void name(const codec::tar::Entry& entry);
  void content(std::string_view bytes);

  codec::tar::Reader reader_;
  uint32_t next_ = 0;     // the number of the next file
  bool is_told_ = false;  // the reader's entry; the root is not
  bool waits_ = false;    // for the client to ask for the last one that was told
  bool all_named_ = false, finished_ = false;
  std::vector<std::string> packets_;
};

}  // namespace nacelle::api
