// What a transfer tells whoever watches it: the engine's API, a terminal, nobody.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nacelle::image {

// One layer's state. Bytes are those of the step: of the blob while it comes down or goes up, of
// the blob read so far while it is unpacked.
struct Progress {
  enum class Step : uint8_t {
    Waiting,
    Downloading,
    Downloaded,
    Extracting,
    Complete,
    Exists,
    Preparing,
    Pushing,
    Pushed,
    PushExists,
    Mounted,
  };
  std::string id;  // twelve digits of the blob's digest
  Step step = Step::Waiting;
  uint64_t done = 0;
  uint64_t total = 0;  // 0: not known
};

// Docker's words, which its clients and their users look for.
constexpr std::string_view to_string(Progress::Step step) {
  switch (step) {
    case Progress::Step::Waiting: return "Waiting";
    case Progress::Step::Downloading: return "Downloading";
    case Progress::Step::Downloaded: return "Download complete";
    case Progress::Step::Extracting: return "Extracting";
    case Progress::Step::Complete: return "Pull complete";
    case Progress::Step::Exists: return "Already exists";
    case Progress::Step::Preparing: return "Preparing";
    case Progress::Step::Pushing: return "Pushing";
    case Progress::Step::Pushed: return "Pushed";
    case Progress::Step::PushExists: return "Layer already exists";
    case Progress::Step::Mounted: return "Mounted";
  }
  return "";
}

class Observer {
 public:
  virtual void layer(const Progress& progress) = 0;
  virtual void say(std::string_view line) = 0;

 protected:
  ~Observer() = default;
};

class NobodyWatches final : public Observer {
 public:
  void layer(const Progress&) override {}
  void say(std::string_view) override {}
};

}  // namespace nacelle::image
