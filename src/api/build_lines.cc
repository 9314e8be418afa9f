#include "api/build_lines.h"

#include <utility>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::api {
namespace {

constexpr size_t kept_bytes_max = 1u << 20;     // of a quiet build, in case it fails
constexpr size_t waiting_bytes_max = 1u << 20;  // of each stage

std::string id_line(std::string_view id) {
  codec::json::Writer json;
  json.begin_object().key("aux").begin_object().member("ID", id).end_object().end_object();
  return std::move(json).take() + "\r\n";
}

}  // namespace

void BuildLines::text(std::string_view text) {
  if (!quiet_) {
    lines_.add(stream_line(text));
  } else if (kept_.size() < kept_bytes_max) {
    kept_ += text;
  }
}

std::unique_ptr<engine::StageListener> BuildLines::add_stage() {
  auto stage = std::make_unique<Stage>(*this, stages_.size());
  stages_.push_back(stage.get());
  return stage;
}

void BuildLines::ended(const codec::Digest& id) {
  if (quiet_) lines_.add(stream_line(cat(id.text(), '\n')));
}

void BuildLines::failed() {
  if (!kept_.empty()) lines_.add(stream_line(kept_));
}

void BuildLines::Stage::text(std::string_view text) {
  if (is_first()) return whole_.text(text);
  waiting_ += text;
}

void BuildLines::Stage::say_waiting() {
  if (!waiting_.empty()) whole_.text(std::exchange(waiting_, {}));
}

void BuildLines::Stage::ended() {
  is_over_ = true;
  size_t& first = whole_.first_;
  for (; first < whole_.stages_.size(); ++first) {
    Stage& each = *whole_.stages_[first];
    each.say_waiting();
    if (!each.is_over_) break;
    if (!each.id_.empty() && !whole_.quiet_) whole_.lines_.add(id_line(each.id_));
  }
  whole_.turn_.notify_all();
}

void BuildLines::Stage::failed(const Error&) {
  say_waiting();
  whole_.lines_.exit_code(exit_code_);
}

image::Observer& BuildLines::Stage::pulls() {
  return whole_.quiet_ ? static_cast<image::Observer&>(whole_.nobody_) : whole_.lines_;
}

ring::Task<> BuildLines::Stage::room() {
  while (!is_first() && waiting_.size() > waiting_bytes_max) co_await whole_.turn_.wait();
  co_await whole_.lines_.room();
}

}  // namespace nacelle::api
