// What a build has to say, as lines of the classic stream: stage by stage, though they are built
// side by side. What those behind the first under way have to say waits for its turn.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/progress.h"
#include "codec/digest.h"
#include "engine/build.h"
#include "image/observer.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::api {

class BuildLines final : public engine::BuildListener {
 public:
  // A quiet one tells the image's id alone, or else all of it where it fails.
  BuildLines(ProgressLines& lines, bool quiet) : lines_(lines), quiet_(quiet) {}

  void text(std::string_view text) override;
  std::unique_ptr<engine::StageListener> add_stage() override;

  void ended(const codec::Digest& id);
  void failed();

 private:
  class Stage final : public engine::StageListener {
   public:
    Stage(BuildLines& whole, size_t number) : whole_(whole), number_(number) {}
    void text(std::string_view text) override;
    void built(const codec::Digest& id) override { id_ = id.text(); }
    void command_failed(std::string_view, int code) override { exit_code_ = code; }
    void ended() override;
    void failed(const Error&) override;
    image::Observer& pulls() override;
    ring::Task<> room() override;

   private:
    bool is_first() const { return number_ == whole_.first_; }
    void say_waiting();

    friend BuildLines;
    BuildLines& whole_;
    size_t number_;
    std::string waiting_, id_;
    int exit_code_ = 0;
    bool is_over_ = false;
  };
  ProgressLines& lines_;
  bool quiet_;
  std::string kept_;
  image::NobodyWatches nobody_;
  std::vector<Stage*> stages_;  // the build's own
  size_t first_ = 0;            // whose turn it is to speak
  ring::Notice turn_;
};

}  // namespace nacelle::api
