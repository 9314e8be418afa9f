#include "image/stack_builder.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "oci/image.h"

namespace nacelle::image {

namespace {

// A download and an unpacker are never in step for long: room for some of each's bursts.
constexpr int pipe_bytes = 1 << 20;

// An unpacker that is fed by a slow registry hears nothing for as long as that may retry.
constexpr std::chrono::minutes unpack_silence_max{30};

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe2");
  Pipe pipe{Fd(ends[0]), Fd(ends[1])};
  // Above the user's limit the kernel says no, and the smaller pipe works as well.
  ::fcntl(pipe.write.get(), F_SETPIPE_SZ, pipe_bytes);
  return pipe;
}

}  // namespace

void Event::set() {
  if (std::exchange(set_, true)) return;
  if (file_) ::eventfd_write(file_.get(), 1);
}

ring::Task<> Event::wait(ring::Loop& loop) {
  if (set_) co_return;
  if (!file_) file_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!file_) co_await fail_errno(errno, "eventfd");
  co_await ring::readable(loop, file_);
}

ring::Task<> all_of(ring::Loop& loop, std::vector<ring::Task<>> tasks) {
  std::optional<Error> first;
  ring::Scope* running = nullptr;
  ring::Scope scope(loop, [&](const Error& error) {
    if (first) return;
    first = error;
    running->cancel();
  });
  running = &scope;
  for (ring::Task<>& task : tasks) scope.start(std::move(task));
  co_await scope.join();
  if (first) co_await std::unexpected<Error>(*std::move(first));
}

StackBuilder::StackBuilder(ring::Loop& loop, Store& store, Layers& layers,
                           const ImageRecord& record, Observer& observer)
    : loop_(loop),
      store_(store),
      layers_(layers),
      record_(record),
      observer_(observer),
      chains_(oci::chain_ids(record.config.diff_ids)),
      steps_(chains_.size(), Progress::Step::Waiting),
      continued_(chains_.size(), false) {}

bool StackBuilder::complete() const {
  return std::ranges::all_of(chains_, [&](const Digest& chain) { return layers_.has(chain); });
}

std::vector<BlobSource*> StackBuilder::lanes_without_source() {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  const bool known = ::sched_getaffinity(0, sizeof processors, &processors) == 0;
  const int count = known ? CPU_COUNT(&processors) : 1;
  return std::vector<BlobSource*>(static_cast<size_t>(std::max(count, 1)), nullptr);
}

std::string StackBuilder::label(size_t index) const {
  return cat("layer ", index + 1, " of ", chains_.size(), " (",
             record_.manifest.layers[index].digest.text().substr(0, 19), ")");
}

void StackBuilder::show(size_t index, Progress::Step step, uint64_t done) {
  steps_[index] = step;
  const oci::Descriptor& blob = record_.manifest.layers[index];
  observer_.layer({std::string(blob.digest.hex().substr(0, 12)), step, done, blob.size});
}

ring::Task<> StackBuilder::build(std::vector<BlobSource*> lanes) {
  ready_ = std::vector<Event>(chains_.size());
  std::vector<ring::Task<>> tasks;
  for (size_t each = 0; each < std::min(lanes.size(), chains_.size()); ++each) {
    tasks.push_back(lane(lanes[each]));
  }
  co_await all_of(loop_, std::move(tasks));
}

ring::Task<> StackBuilder::lane(BlobSource* source) {
  while (next_ < chains_.size()) {
    const size_t index = next_++;
    co_await layer(index, source);
  }
}

ring::Task<> StackBuilder::layer(size_t index, BlobSource* source) {
  continued_[index] = false;
  Result<> outcome = co_await ring::as_result(attempt(index, source));
  // What an interrupted download left may be wrong: a power cut keeps a file's length and loses its
  // content. Whoever notices first, unpacker or downloader, the second time begins at the
  // beginning.
  const bool was_continued = continued_[index];
  if (!outcome && was_continued && outcome.error().kind() != Kind::Cancelled) {
    co_await discard_beginning(index);
    outcome = co_await ring::as_result(attempt(index, source));
  }
  if (!outcome) {
    Error error = std::move(outcome).error();
    // The unpacker's own messages begin so already.
    if (!error.message().starts_with(label(index))) error.add_context(label(index));
    co_await std::unexpected<Error>(std::move(error));
  }
  ready_[index].set();
}

ring::Task<> StackBuilder::discard_beginning(size_t index) {
  const oci::Descriptor& blob = record_.manifest.layers[index];
  Ingest ingest = co_await store_.begin_ingest(loop_, blob.digest, blob.size);
  if (!ingest.done()) store_.discard(std::move(ingest));
}

// The order of the two waits matters: who has a blob in hand waits for nobody, and who has a layer
// in hand waits only for blobs and for layers below it. So no two can wait for each other.
ring::Task<> StackBuilder::attempt(size_t index, BlobSource* source) {
  const oci::Descriptor& blob = record_.manifest.layers[index];
  PartialLayer partial = co_await layers_.begin(loop_, chains_[index]);
  if (source == nullptr || store_.has_blob(blob)) {
    if (partial.done()) {
      show(index, Progress::Step::Exists);
      co_return;
    }
    Fd input = co_await store_.open_blob(blob.digest);
    UnpackRequest::Reply reply;
    co_await unpack(index, partial, std::move(input), reply);
    co_await finish(index, std::move(partial), std::move(reply));
    co_return;
  }
  show(index, Progress::Step::Waiting);
  Ingest ingest = co_await store_.begin_ingest(loop_, blob.digest, blob.size);
  continued_[index] = ingest.offset() > 0;
  if (ingest.done()) {  // another layer or process had the same blob on its way
    if (!partial.done()) {
      Fd input = co_await store_.open_blob(blob.digest);
      UnpackRequest::Reply reply;
      co_await unpack(index, partial, std::move(input), reply);
      co_await finish(index, std::move(partial), std::move(reply));
    }
    co_return;
  }
  if (partial.done()) {
    co_await download(index, std::move(ingest), *source, std::nullopt);
    show(index, Progress::Step::Complete);
    co_return;
  }
  Pipe pipe = co_await make_pipe();
  UnpackRequest::Reply reply;
  std::vector<ring::Task<>> both;
  both.push_back(unpack(index, partial, std::move(pipe.read), reply));
  both.push_back(download(index, std::move(ingest), *source, std::move(pipe.write)));
  co_await all_of(loop_, std::move(both));
  co_await finish(index, std::move(partial), std::move(reply));
}

ring::Task<> StackBuilder::download(size_t index, Ingest ingest, BlobSource& source,
                                    std::optional<Fd> pipe) {
  const oci::Descriptor blob = record_.manifest.layers[index];
  show(index, Progress::Step::Downloading, ingest.offset());
  co_await source.fetch(blob, ingest.file(), pipe ? &*pipe : nullptr, [this, index](uint64_t done) {
    show(index, Progress::Step::Downloading, done);
  });
  // The unpacker sees the end of its input, and goes on while the blob is brought to disk.
  pipe.reset();
  show(index, Progress::Step::Downloaded);
  fault_point("pull.blob.downloaded");
  co_await store_.commit(loop_, std::move(ingest));
  fault_point("pull.blob.committed");
}

ring::Task<> StackBuilder::unpack(size_t index, const PartialLayer& partial, Fd input,
                                  UnpackRequest::Reply& reply) {
  const oci::Descriptor& blob = record_.manifest.layers[index];
  Worker worker = co_await Worker::start(
      loop_,
      {.kind = WorkerKind::Unpack, .root = &partial.tree(), .silence_max = unpack_silence_max});
  UnpackRequest request{.label = label(index),
                        .blob = blob.digest,
                        .size = blob.size,
                        .diff_id = record_.config.diff_ids[index]};
  reply = co_await worker.call(std::move(request), {&input}, [this, index](uint64_t done) {
    // While the blob is still coming down, that is what there is to see.
    if (steps_[index] != Progress::Step::Downloading) show(index, Progress::Step::Extracting, done);
  });
  // It has compared them itself, and says what it found.
  if (reply.blob != blob.digest || reply.diff_id != record_.config.diff_ids[index]) {
    co_await fail(Kind::Internal, cat(label(index), ": unpacked something else"));
  }
  // Its root must be nobody's before the layer gets its name.
  co_await worker.stop();
  fault_point("unpack.worker.done");
}

ring::Task<> StackBuilder::finish(size_t index, PartialLayer partial, UnpackRequest::Reply reply) {
  // Directories this layer does not describe look as below it, so what is below comes first. It
  // does in any case: a layer that is there stands on layers that are there.
  if (index > 0) co_await ready_[index - 1].wait(loop_);
  if (!reply.implied_directories.empty()) {
    const std::vector<Digest> below(chains_.begin(), chains_.begin() + static_cast<long>(index));
    const std::vector<Fd> trees = co_await layers_.open_all(below);
    std::vector<const Fd*> lower;
    for (const Fd& tree : trees) lower.push_back(&tree);
    co_await apply_implied(loop_, partial.tree(), std::move(reply.implied_directories), lower);
  }
  LayerRecord record{.chain = chains_[index],
                     .diff_id = reply.diff_id,
                     .parent = index > 0 ? chains_[index - 1] : Digest(),
                     .blob = reply.blob,
                     .blob_bytes = reply.blob_bytes,
                     .tree_bytes = reply.tree_bytes,
                     .entries = reply.entries};
  co_await layers_.finish(loop_, std::move(partial), std::move(record));
  fault_point("unpack.layer.finished");
  show(index, Progress::Step::Complete);
}

}  // namespace nacelle::image
