// What a build has to say, in BuildKit's form: vertexes, which are steps, with their logs and the
// state of what they transfer. One client watches.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "engine/build.h"
#include "image/observer.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::api {

class BuildJournal final : public engine::BuildListener, public image::Observer {
 public:
  // Digests of vertexes are made from `id`, so that no two builds share any.
  explicit BuildJournal(std::string id) : id_(std::move(id)) {}

  // What is no instruction: "[internal] load build context". Its key, for finish().
  std::string begin(std::string name);
  void finish(const std::string& key, std::string_view note = {});
  // The step under way, if one is, has failed; nothing comes any more.
  void close(const Result<>& outcome);
  // A failed RUN in BuildKit's words, else what the error says.
  std::string words_of(const Error& error) const;

  // The next part of it, a serialized StatusResponse; nothing: that was all.
  ring::Task<std::optional<std::string>> next();
  bool is_watched() const { return watched_; }
  void watch() { watched_ = true; }

  void text(std::string_view) override {}
  void output(std::string_view bytes) override;
  void step_begins(const engine::BuildStep& step) override;
  void step_is_cached() override;
  void step_ends() override;
  void built(const codec::Digest&) override {}
  void command_failed(std::string_view command, int exit_code) override;
  image::Observer& pulls() override { return *this; }
  ring::Task<> room() override;

  void layer(const image::Progress& progress) override;
  void say(std::string_view) override {}

 private:
  struct Vertex {
    std::string digest, name;
    int64_t started_ns = 0;
    bool cached = false;
  };
  std::string digest_of(size_t number) const;
  void tell(const Vertex& vertex, int64_t completed_ns, std::string_view error);
  void add(std::string message);

  std::string id_;
  size_t vertexes_ = 0;
  std::map<std::string, Vertex> open_;        // by digest
  std::string step_, last_;                   // digests: of the step under way, of the one before
  std::map<std::string, int64_t> transfers_;  // when they began
  std::string failed_;
  std::deque<std::string> messages_;
  size_t bytes_ = 0;
  bool closed_ = false, watched_ = false;
  ring::Notice changed_;
};

}  // namespace nacelle::api
