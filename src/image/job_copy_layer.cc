#include "base/fault.h"
#include "base/text.h"
#include "codec/tar_reader.h"
#include "image/job_stream.h"
#include "image/jobs.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

// Follows the archive's structure as it goes by, so that no other file becomes a layer.
class TarCheck {
 public:
  Result<> take(std::string_view bytes) {
    any_ = any_ || !bytes.empty();
    while (!ended_ && !bytes.empty()) {
      const auto event = TRY(reader_.next(bytes));
      ended_ = event == codec::tar::Reader::Event::End;
    }
    return {};
  }
  Result<> finish() {
    if (!any_) return fail(Kind::Invalid, "not a tar archive: it is empty");
    return ended_ ? Result<>() : reader_.finish();
  }

 private:
  codec::tar::Reader reader_;
  bool any_ = false, ended_ = false;
};

// Already compressed: the bytes stay, and are looked at on the way.
Result<CopyLayerRequest::Reply> copy_as_it_is(StreamInput& input, std::string_view raw,
                                              const Fd& output, Asker& asker) {
  TarCheck check;
  codec::Hasher blob, diff;
  while (!raw.empty()) {
    blob.update(raw);
    TRY(sys::write_all(output, raw, "the layer"));
    while (true) {
      const std::string_view bytes = TRY(input.decode(raw));
      diff.update(bytes);
      TRY(check.take(bytes));
      if (raw.empty() && bytes.empty()) break;
    }
    asker.progress(input.raw_bytes());
    raw = TRY(input.next_raw());
  }
  TRY(input.next());  // that it does not end in the middle
  TRY(check.finish());
  return CopyLayerRequest::Reply{blob.finish(), diff.finish(), input.raw_bytes(),
                                 input.compression()};
}

// What is not compressed, or so that no layer can be.
Result<CopyLayerRequest::Reply> copy_compressing(StreamInput& input, std::string_view raw,
                                                 const Fd& output, Asker& asker,
                                                 codec::Compression compression) {
  TarCheck check;
  const auto stream = TRY(StreamOutput::open(output, compression));
  while (!raw.empty()) {
    while (true) {
      const std::string_view bytes = TRY(input.decode(raw));
      TRY(check.take(bytes));
      TRY(stream->append(bytes));
      if (raw.empty() && bytes.empty()) break;
    }
    asker.progress(input.raw_bytes());
    raw = TRY(input.next_raw());
  }
  TRY(input.next());  // that it does not end in the middle
  TRY(check.finish());
  const StreamOutput::Totals totals = TRY(stream->finish());
  return CopyLayerRequest::Reply{totals.blob, totals.diff_id, totals.blob_bytes, compression};
}

}  // namespace

Result<CopyLayerRequest::Reply> copy_layer(const CopyLayerRequest& request, const Fd& input,
                                           const Fd& output, Asker& asker) {
  fault_point("copy_layer.begin");
  StreamInput stream(input);
  const std::string_view first = TRY(stream.next_raw());
  using codec::Compression;
  const bool is_layers =
      stream.compression() == Compression::Gzip || stream.compression() == Compression::Zstd;
  auto reply = is_layers ? copy_as_it_is(stream, first, output, asker)
                         : copy_compressing(stream, first, output, asker, request.compression);
  fault_point("copy_layer.done");
  return std::move(reply).context("layer archive");
}

}  // namespace nacelle::image
