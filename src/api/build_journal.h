// What a build has to say, in BuildKit's form: vertexes, which are steps, with their logs and the
// state of what they transfer. One client watches.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "engine/build.h"
#include "image/observer.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::api {

class BuildJournal final : public engine::BuildListener {
 public:
  // Digests of vertexes are made from `id`, so that no two builds share any.
  explicit BuildJournal(std::string id) : id_(std::move(id)) {}

  // What is no instruction: "[internal] load build context". Its key, for finish().
  std::string begin(std::string name);
  void finish(const std::string& key, std::string_view note = {});
  // Shows what is transferred for a vertex.
  class Transfers final : public image::Observer {
   public:
    Transfers(BuildJournal& journal, std::string vertex)
        : journal_(journal), vertex_(std::move(vertex)) {}
    void layer(const image::Progress& progress) override;
    void say(std::string_view) override {}

   private:
    BuildJournal& journal_;
    std::string vertex_;
    std::map<std::string, int64_t> began_;  // by id
  };
  // What is under way has failed, or was given up since a step has failed; nothing comes any more.
  void close(const Result<>& outcome);
  // A failed RUN in BuildKit's words, else what the error says.
  std::string words_of(const Error& error) const;

  // The next part of it, a serialized StatusResponse; nothing: that was all.
  ring::Task<std::optional<std::string>> next();
  bool is_watched() const { return watched_; }
  void watch() { watched_ = true; }

  void text(std::string_view) override {}
  std::unique_ptr<engine::StageListener> add_stage() override;

 private:
  class Stage final : public engine::StageListener {
   public:
    explicit Stage(BuildJournal& journal) : journal_(journal) {}
    void text(std::string_view) override {}
    void output(std::string_view bytes) override;
    void step_begins(const engine::BuildStep& step) override;
    void step_is_cached() override;
    void step_ends() override;
    void built(const codec::Digest&) override {}
    void command_failed(std::string_view command, int exit_code) override;
    void failed(const Error& error) override;
    image::Observer& pulls() override { return *transfers_; }
    ring::Task<> room() override { return journal_.room(); }

   private:
    BuildJournal& journal_;
    std::string step_, last_;  // keys: of the step under way, of the one before
    std::optional<Transfers> transfers_;
    std::string failed_;  // a RUN: how
  };
  struct Vertex {
    std::string digest, name;
    int64_t started_ns = 0;
    std::string input;  // the digest of the one it stands on; empty: of none
    bool cached = false;
  };
  std::string digest_of(size_t number) const;
  std::string begin(std::string name, std::string input);
  ring::Task<> room();
  void tell(const Vertex& vertex, int64_t completed_ns, std::string_view error);
  void add(std::string message);

  std::string id_;
  size_t vertexes_ = 0;
  std::map<std::string, Vertex> open_;  // by digest
  std::string failed_;                  // a RUN: how
  bool step_failed_ = false;
  std::deque<std::string> messages_;
  size_t bytes_ = 0;
  bool closed_ = false, watched_ = false;
  ring::Notice changed_;
};

}  // namespace nacelle::api
