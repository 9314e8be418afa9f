// An image operation that takes its time, told line by line as dockerd tells it. What goes wrong
// before the first line is an error answer; what goes wrong later is a line of its own. A client
// that reads slowly gets the newest state of each layer, not all of them, and one that goes ends
// the operation.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "api/route.h"
#include "image/observer.h"
#include "ring/notice.h"

namespace nacelle::api {

// One step of one layer, as a line.
std::string progress_line(const image::Progress& progress);
// {"status": text} and, where there is one, {"id": id}.
std::string status_line(std::string_view text, std::string_view id = {});
std::string stream_line(std::string_view text);
// "[====>      ]  1.2MB/4MB"
std::string progress_bar(uint64_t done, uint64_t total);

class ProgressLines final : public image::Observer {
 public:
  void layer(const image::Progress& progress) override;
  void say(std::string_view line) override;  // as {"stream": "line\n"}
  void add(std::string line);
  // Until the client has taken most of what was added: for who has more to tell than may be kept.
  ring::Task<> room();
  // Goes with the error that ends it, if one does: docker(1) makes its exit status of it.
  void exit_code(int code) { exit_code_ = code; }

  // `work` is what calls the above, and may go on until it ends.
  ring::Task<> tell(Call& call, ring::Task<> work);

 private:
  struct Item {
    std::string line;   // or, empty,
    std::string layer;  // the newest of this one
  };
  ring::Task<> pump(Call* call, ring::Task<> work);
  ring::Task<> run(ring::Task<> work);
  std::string take();

  std::deque<Item> items_;
  std::map<std::string, image::Progress> newest_;
  std::map<std::string, bool> waiting_;  // layers that have an item
  ring::Notice came_, taken_;
  int exit_code_ = 0;
  bool done_ = false;
  Result<> outcome_;
};

}  // namespace nacelle::api
