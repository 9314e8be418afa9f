// Jobs of src/image/jobs.h that nobody has written yet (see CMakeLists.txt).
#include "image/jobs.h"

namespace nacelle::image {

[[maybe_unused]] static std::unexpected<Error> missing() {
  return fail(Kind::Unsupported, "nacelle-worker: this build cannot do that");
}

#ifdef NACELLE_NO_UNPACK
Result<UnpackRequest::Reply> unpack(const UnpackRequest&, const Fd&, const Fd&, Asker&) {
  return missing();
}
#endif
#ifdef NACELLE_NO_PACK
Result<PackRequest::Reply> pack(const PackRequest&, const Fd&, const Fd&, Asker&) {
  return missing();
}
#endif
#ifdef NACELLE_NO_LOAD
Result<LoadRequest::Reply> load(const LoadRequest&, const Fd&, const Fd&, Asker&) {
  return missing();
}
#endif
#ifdef NACELLE_NO_COPY_LAYER
Result<CopyLayerRequest::Reply> copy_layer(const CopyLayerRequest&, const Fd&, const Fd&, Asker&) {
  return missing();
}
#endif
#ifdef NACELLE_NO_ARCHIVE
Result<ArchiveRequest::Reply> archive(const ArchiveRequest&, const Fd&, const Fd&, Asker&) {
  return missing();
}
#endif
#ifdef NACELLE_NO_PARSE
Result<ParseRequest::Reply> parse(const ParseRequest&, const Fd&) { return missing(); }
#endif
#ifdef NACELLE_NO_REGISTRY
Result<std::unique_ptr<RegistryJob>> RegistryJob::open(RegistryOpenRequest) { return missing(); }
#endif

}  // namespace nacelle::image
