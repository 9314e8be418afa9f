// Unpacking one layer: a stream of bytes (unpack_stream.h) into entries (codec/tar_reader.h) into a
// tree (unpack_tree.h).
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "codec/tar_reader.h"
#include "image/background.h"
#include "image/jobs.h"
#include "image/unpack_stream.h"
#include "image/unpack_tree.h"

namespace nacelle::image {
namespace {

// After the end of an archive, Docker reads on to the end of the stream; some writers pad far.
constexpr uint64_t trailing_bytes_max = 64u << 20;
constexpr uint64_t entries_per_fault_point = 1000;

class Unpacking {
 public:
  Unpacking(const Fd& root, Asker& asker) : tree_(root, asker) {}

  Result<> take(std::string_view bytes) {
    while (!ended_ && !bytes.empty()) TRY(step(bytes));
    trailing_bytes_ += bytes.size();
    if (trailing_bytes_ > trailing_bytes_max) {
      return fail(Kind::Exhausted,
                  cat("more than ", trailing_bytes_max, " bytes follow the end of the archive"));
    }
    return {};
  }

  Result<> finish() {
    if (!ended_) TRY(reader_.finish());
    return tree_.finish();
  }

  const TreeWriter& tree() const { return tree_; }

 private:
  Result<> step(std::string_view& bytes) {
    using Event = codec::tar::Reader::Event;
    const auto entry = [this] { return cat("entry '", shown_name(reader_.entry().name), "'"); };
    switch (TRY(reader_.next(bytes))) {
      case Event::NeedInput: return {};
      case Event::Entry:
        if (tree_.entries() % entries_per_fault_point == 0) fault_point("unpack.entry");
        return tree_.begin(reader_.entry()).context(entry);
      case Event::Data: return tree_.data(reader_.data_offset(), reader_.data()).context(entry);
      case Event::EntryEnd: return tree_.end().context(entry);
      case Event::End: ended_ = true; return {};
    }
    return {};
  }

  codec::tar::Reader reader_;
  TreeWriter tree_;
  bool ended_ = false;
  uint64_t trailing_bytes_ = 0;
};

Result<UnpackRequest::Reply> unpack_layer(const UnpackRequest& request, const Fd& root,
                                          const Fd& input, Asker& asker) {
  fault_point("unpack.begin");
  const auto stream = TRY(LayerStream::start(input, request));
  Unpacking unpacking(root, asker);
  while (true) {
    const auto bytes = TRY(stream->next());
    asker.progress(stream->blob_bytes());
    if (!bytes) continue;
    if (bytes->empty()) break;
    TRY(unpacking.take(*bytes));
  }
  LayerStream::Digests digests = TRY(stream->finish());
  TRY(unpacking.finish());
  fault_point("unpack.sync");
  // On the disk before anybody is told that it is there. That may take longer than we may be
  // silent.
  const int error = run_in_background(
      [](void* fd) { return ::syncfs(static_cast<const Fd*>(fd)->get()) < 0 ? errno : 0; },
      const_cast<Fd*>(&root), [&] { asker.progress(stream->blob_bytes()); });
  if (error != 0) return fail_errno(error, "syncfs");
  fault_point("unpack.done");
  return UnpackRequest::Reply{.blob = std::move(digests.blob),
                              .diff_id = std::move(digests.diff_id),
                              .blob_bytes = stream->blob_bytes(),
                              .tree_bytes = unpacking.tree().tree_bytes(),
                              .entries = unpacking.tree().entries(),
                              .implied_directories = unpacking.tree().implied_directories()};
}

}  // namespace

Result<UnpackRequest::Reply> unpack(const UnpackRequest& request, const Fd& root, const Fd& input,
                                    Asker& asker) {
  return unpack_layer(request, root, input, asker).context([&] { return request.label; });
}

}  // namespace nacelle::image
