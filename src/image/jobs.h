// The worker's side: one function per request of messages.h. They run in nacelle-worker, inside its
// sandbox, and are the only code that reads foreign bytes. They block, as that process may.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "image/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

// The process that asked, as a job sees it.
class Asker {
 public:
  // Bytes of the input handled so far. Cheap enough to call for every buffer: it is passed on at
  // most ten times a second.
  virtual void progress(uint64_t done) = 0;
  // The same number once more, in work that handles no input.
  virtual void still_here() {}
  // Has `directory` marked opaque for overlayfs (trusted.overlay.opaque), which the sandbox may
  // not.
  virtual Result<> mark_opaque(const Fd& directory) = 0;

 protected:
  ~Asker() = default;
};

// `root` is the worker's root directory.
Result<UnpackRequest::Reply> unpack(const UnpackRequest& request, const Fd& root, const Fd& input,
                                    Asker& asker);
Result<PackRequest::Reply> pack(const PackRequest& request, const Fd& root, const Fd& output,
                                Asker& asker);
Result<LoadRequest::Reply> load(const LoadRequest& request, const Fd& root, const Fd& archive,
                                Asker& asker);
Result<CopyLayerRequest::Reply> copy_layer(const CopyLayerRequest& request, const Fd& input,
                                           const Fd& output, Asker& asker);
Result<ArchiveRequest::Reply> archive(const ArchiveRequest& request, const Fd& root,
                                      const Fd& output, Asker& asker);
Result<MeasureRequest::Reply> measure(const MeasureRequest& request, const Fd& root, Asker& asker);
Result<FileStat> stat_path(const StatPathRequest& request, const Fd& root);
Result<FileStat> read_path(const ReadPathRequest& request, const Fd& root, const Fd& output,
                           Asker& asker);
Result<WritePathRequest::Reply> write_path(const WritePathRequest& request, const Fd& root,
                                           const Fd& input, Asker& asker);
Result<ChangesRequest::Reply> find_changes(const ChangesRequest& request, const Fd& root,
                                           const Fd& lower, Asker& asker);
Result<FindSourcesRequest::Reply> find_sources(const FindSourcesRequest& request, const Fd& root,
                                               Asker& asker);
Result<CopyFilesRequest::Reply> copy_files(const CopyFilesRequest& request, const Fd& root,
                                           const Fd& source, Asker& asker);
Result<MakeDirectoryRequest::Reply> make_directory(const MakeDirectoryRequest& request,
                                                   const Fd& root);
Result<FetchFileRequest::Reply> fetch_file(const FetchFileRequest& request, const Fd& file,
                                           Asker& asker);
Result<HashFileRequest::Reply> hash_file(const HashFileRequest& request, const Fd& file,
                                         Asker& asker);
Result<ParseRequest::Reply> parse(const ParseRequest& request, const Fd& document);

// A registry as one repository's client (job_registry.cc; libcurl stays behind src/http).
class RegistryJob {
 public:
  static Result<std::unique_ptr<RegistryJob>> open(RegistryOpenRequest request);
  virtual ~RegistryJob() = default;
  virtual Result<FetchManifestRequest::Reply> fetch(const FetchManifestRequest& request) = 0;
  virtual Result<FetchConfigRequest::Reply> fetch(const FetchConfigRequest& request) = 0;
  // `pipe` may be empty.
  virtual Result<FetchBlobRequest::Reply> fetch(const FetchBlobRequest& request, const Fd& file,
                                                const Fd& pipe, Asker& asker) = 0;
  virtual Result<PushBlobRequest::Reply> push(const PushBlobRequest& request, const Fd& file,
                                              Asker& asker) = 0;
  virtual Result<PushManifestRequest::Reply> push(const PushManifestRequest& request) = 0;
  virtual Result<CheckLoginRequest::Reply> check_login() = 0;
};

// nacelle-worker's main loop: takes requests from `channel`, answers them, until its other end is
// closed. (worker_serve.cc; the sandbox has been entered before the first foreign byte is read.)
int serve(int argc, char** argv);

}  // namespace nacelle::image
