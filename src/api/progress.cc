#include "api/progress.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "base/text.h"
#include "codec/json_writer.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using Step = image::Progress::Step;

constexpr size_t items_max = 4096;
constexpr size_t items_waiting_max = 256;  // for who asks for room
constexpr int bar_columns = 50;

// Powers of 1000 with four digits, as Docker's clients show sizes.
std::string human_size(uint64_t bytes) {
  constexpr std::array units{"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.4g%s", value, units[unit]);
  return text;
}

std::string finished(Writer& json) { return std::move(json.end_object()).take() + "\r\n"; }

bool has_bytes(Step step) {
  return step == Step::Downloading || step == Step::Extracting || step == Step::Pushing;
}

std::string error_line(const Error& error, int code) {
  Writer json;
  json.begin_object().key("errorDetail").begin_object();
  if (code != 0) json.member("code", code);
  json.member("message", error.message()).end_object().member("error", error.message());
  return finished(json);
}

}  // namespace

std::string progress_bar(uint64_t done, uint64_t total) {
  if (total == 0 || done > total) return human_size(done);
  const auto filled =
      static_cast<int>(static_cast<double>(done) / static_cast<double>(total) * bar_columns);
  std::string bar = "[" + std::string(static_cast<size_t>(filled), '=');
  if (filled < bar_columns) {
    bar += '>' + std::string(static_cast<size_t>(bar_columns - filled - 1), ' ');
  }
  std::string amount = human_size(done);
  while (amount.size() < 8) amount.insert(amount.begin(), ' ');
  return cat(bar, "] ", amount, '/', human_size(total));
}

std::string progress_line(const image::Progress& progress) {
  Writer json;
  const std::string_view status =
      progress.step == Step::Waiting ? "Pulling fs layer" : image::to_string(progress.step);
  json.begin_object().member("status", status).key("progressDetail").begin_object();
  const bool counts = has_bytes(progress.step);
  if (counts) {
    json.member("current", progress.done);
    if (progress.total != 0) json.member("total", progress.total);
  }
  json.end_object();
  if (counts) json.member("progress", progress_bar(progress.done, progress.total));
  json.member("id", progress.id);
  return finished(json);
}

std::string status_line(std::string_view text, std::string_view id) {
  Writer json;
  json.begin_object().member("status", text);
  if (!id.empty()) json.member("id", id);
  return finished(json);
}

std::string stream_line(std::string_view text) {
  Writer json;
  json.begin_object().member("stream", text);
  return finished(json);
}

void ProgressLines::add(std::string line) {
  items_.push_back({std::move(line), {}});
  // Beyond this nobody reads; the last lines are the ones that count.
  if (items_.size() > items_max) items_.pop_front();
  came_.notify_all();
}

ring::Task<> ProgressLines::room() {
  while (items_.size() > items_waiting_max) co_await taken_.wait();
}

void ProgressLines::say(std::string_view line) { add(stream_line(cat(line, '\n'))); }

void ProgressLines::layer(const image::Progress& progress) {
  newest_[progress.id] = progress;
  if (waiting_[progress.id]) return;
  waiting_[progress.id] = true;
  items_.push_back({{}, progress.id});
  came_.notify_all();
}

std::string ProgressLines::take() {
  std::string text;
  while (!items_.empty()) {
    const Item item = std::move(items_.front());
    items_.pop_front();
    if (item.layer.empty()) {
      text += item.line;
    } else {
      waiting_[item.layer] = false;
      text += progress_line(newest_[item.layer]);
    }
  }
  taken_.notify_all();
  return text;
}

ring::Task<> ProgressLines::run(ring::Task<> work) {
  outcome_ = co_await as_result(std::move(work));
  done_ = true;
  came_.notify_all();
}

ring::Task<> ProgressLines::pump(Call* call, ring::Task<> work) {
  ring::Scope scope(call->engine.loop, [](const Error&) {});
  scope.start(run(std::move(work)));
  Result<> sent;
  while (sent) {
    const std::string text = take();
    if (!text.empty()) {
      if (!call->http.begun()) {
        sent = co_await as_result(call->http.begin(200, "application/json"));
      }
      if (sent) sent = co_await as_result(call->http.write(text));
    } else if (done_) {
      break;
    } else {
      sent = co_await as_result(came_.wait());
    }
  }
  scope.cancel();
  co_await scope.join();
  co_await std::move(sent);
  if (!outcome_ && (!call->http.begun() || outcome_.error().kind() == Kind::Cancelled)) {
    co_await std::move(outcome_);
  }
  std::string last;
  if (!outcome_) last = error_line(outcome_.error(), exit_code_);
  if (!call->http.begun()) co_await call->http.begin(200, "application/json");
  if (!last.empty()) co_await call->http.write(last);
  co_await call->http.end();
}

ring::Task<> ProgressLines::tell(Call& call, ring::Task<> work) {
  co_await while_client_stays(call, pump(&call, std::move(work)));
}

}  // namespace nacelle::api
