#include "api/build_journal.h"

#include <api/buildkit/control.pb.h>
#include <utility>

#include "base/text.h"
#include "codec/digest.h"
#include "engine/moment.h"

namespace nacelle::api {
namespace {

namespace messages = buildkit;

constexpr size_t kept_bytes_max = 4u << 20;  // before somebody watches
constexpr size_t unread_bytes_max = 1u << 20;
constexpr int64_t ns_per_s = 1'000'000'000;
constexpr int64_t output_stream = 1;

void set_time(messages::Timestamp* into, int64_t ns) {
  into->set_seconds(ns / ns_per_s);
  into->set_nanos(static_cast<int32_t>(ns % ns_per_s));
}

// "[build 2/5] RUN make": what is called nothing among several stages goes by its number.
std::string name_of(const engine::BuildStep& step) {
  std::string stage = step.stage;
  if (stage.empty() && step.stages > 1) stage = cat("stage-", step.stage_number);
  if (!stage.empty()) stage += ' ';
  return cat('[', stage, step.place, '/', step.places, "] ", step.text);
}

}  // namespace

std::string BuildJournal::digest_of(size_t number) const {
  return codec::digest_of(cat(id_, ' ', number)).text();
}

void BuildJournal::tell(const Vertex& vertex, int64_t completed_ns, std::string_view error) {
  messages::StatusResponse status;
  messages::Vertex* told = status.add_vertexes();
  told->set_digest(vertex.digest);
  told->set_name(vertex.name);
  told->set_cached(vertex.cached);
  if (!vertex.input.empty()) told->add_inputs(vertex.input);
  set_time(told->mutable_started(), vertex.started_ns);
  if (completed_ns != 0) set_time(told->mutable_completed(), completed_ns);
  told->set_error(std::string(error));
  add(status.SerializeAsString());
}

void BuildJournal::add(std::string message) {
  if (closed_) return;
  bytes_ += message.size();
  messages_.push_back(std::move(message));
  while (!watched_ && bytes_ > kept_bytes_max) {
    bytes_ -= messages_.front().size();
    messages_.pop_front();
  }
  changed_.notify_all();
}

std::string BuildJournal::begin(std::string name) { return begin(std::move(name), {}); }

std::string BuildJournal::begin(std::string name, std::string input) {
  Vertex vertex{.digest = digest_of(++vertexes_),
                .name = std::move(name),
                .started_ns = engine::now_ns(),
                .input = std::move(input),
                .cached = false};
  tell(vertex, 0, "");
  std::string key = vertex.digest;
  open_.emplace(key, std::move(vertex));
  return key;
}

void BuildJournal::finish(const std::string& key, std::string_view note) {
  const auto found = open_.find(key);
  if (found == open_.end()) return;
  const int64_t now = engine::now_ns();
  if (!note.empty()) {
    messages::StatusResponse status;
    messages::VertexStatus* told = status.add_statuses();
    told->set_id(std::string(note));
    told->set_vertex(key);
    set_time(told->mutable_timestamp(), now);
    set_time(told->mutable_started(), found->second.started_ns);
    set_time(told->mutable_completed(), now);
    add(status.SerializeAsString());
  }
  tell(found->second, now, "");
  open_.erase(found);
}

void BuildJournal::close(const Result<>& outcome) {
  const std::string error = outcome        ? ""
                            : step_failed_ ? "context canceled"
                                           : words_of(outcome.error());
  for (const auto& [key, vertex] : std::exchange(open_, {})) tell(vertex, engine::now_ns(), error);
  closed_ = true;
  changed_.notify_all();
}

std::string BuildJournal::words_of(const Error& error) const {
  return failed_.empty() ? error.message() : failed_;
}

ring::Task<std::optional<std::string>> BuildJournal::next() {
  while (messages_.empty() && !closed_) co_await changed_.wait();
  if (messages_.empty()) co_return std::nullopt;
  std::string message = std::move(messages_.front());
  messages_.pop_front();
  bytes_ -= message.size();
  changed_.notify_all();
  co_return message;
}

ring::Task<> BuildJournal::room() {
  while (watched_ && bytes_ > unread_bytes_max) co_await changed_.wait();
}

std::unique_ptr<engine::StageListener> BuildJournal::add_stage() {
  return std::make_unique<Stage>(*this);
}

void BuildJournal::Stage::output(std::string_view bytes) {
  if (step_.empty()) return;
  messages::StatusResponse status;
  messages::VertexLog* log = status.add_logs();
  log->set_vertex(step_);
  set_time(log->mutable_timestamp(), engine::now_ns());
  log->set_stream(output_stream);
  log->set_msg(std::string(bytes));
  journal_.add(status.SerializeAsString());
}

// What only changes the configuration is not shown, as BuildKit does not.
void BuildJournal::Stage::step_begins(const engine::BuildStep& step) {
  if (step.place == 0) return;
  step_ = journal_.begin(name_of(step), last_);
  transfers_.emplace(journal_, step_);
}

void BuildJournal::Stage::step_is_cached() {
  const auto found = journal_.open_.find(step_);
  if (found != journal_.open_.end()) found->second.cached = true;
}

void BuildJournal::Stage::step_ends() {
  if (step_.empty()) return;
  journal_.finish(step_);
  last_ = std::exchange(step_, {});
}

void BuildJournal::Stage::command_failed(std::string_view command, int exit_code) {
  failed_ = cat("process \"", command, "\" did not complete successfully: exit code: ", exit_code);
}

void BuildJournal::Stage::failed(const Error& error) {
  journal_.failed_ = std::move(failed_);
  const auto found = journal_.open_.find(step_);
  if (found == journal_.open_.end()) return;
  journal_.tell(found->second, engine::now_ns(), journal_.words_of(error));
  journal_.open_.erase(found);
  journal_.step_failed_ = true;
}

void BuildJournal::Transfers::layer(const image::Progress& progress) {
  const int64_t now = engine::now_ns();
  const auto [began, is_new] = began_.emplace(progress.id, now);
  messages::StatusResponse status;
  messages::VertexStatus* told = status.add_statuses();
  told->set_id(progress.id);
  told->set_vertex(vertex_);
  told->set_name(std::string(image::to_string(progress.step)));
  told->set_current(static_cast<int64_t>(progress.done));
  told->set_total(static_cast<int64_t>(progress.total));
  set_time(told->mutable_timestamp(), now);
  set_time(told->mutable_started(), began->second);
  using enum image::Progress::Step;
  if (progress.step == Complete || progress.step == Exists)
    set_time(told->mutable_completed(), now);
  journal_.add(status.SerializeAsString());
}

}  // namespace nacelle::api
