#include "base/text.h"
#include "codec/json.h"
#include "image/job_document.h"
#include "image/jobs.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

// A document that came without a media type says what it is by what is in it; the parsers refuse
// one that has both.
Result<bool> is_index(std::string_view media_type, std::string_view document) {
  if (oci::is_index_type(media_type)) return true;
  if (oci::is_manifest_type(media_type)) return false;
  if (!media_type.empty()) {
    return fail(Kind::Unsupported, cat(codec::json::in_quotes(media_type),
                                       " is neither a manifest nor an index of images"));
  }
  const auto json = TRY(codec::json::Document::parse(document));
  return TRY(json.root().object()).find("manifests").has_value();
}

}  // namespace

Result<ParseRequest::Reply> parse(const ParseRequest& request, const Fd& document) {
  const std::string what = request.digest.empty() ? "the document" : request.digest.text();
  const size_t bytes_max = request.is_config ? oci::config_bytes_max : oci::manifest_bytes_max;
  const std::string bytes = TRY(sys::read_all(document, bytes_max, what));
  const auto context = [&] { return what; };
  if (!request.digest.empty() &&
      codec::digest_of(bytes, request.digest.algorithm()) != request.digest) {
    return fail(Kind::Invalid, cat(what, ": digest mismatch: its content is something else"));
  }
  TRY(check_document(bytes).context(context));
  ParseRequest::Reply reply;
  if (request.is_config) {
    reply.config = TRY(oci::parse_image_config(bytes).context(context));
  } else if (TRY(is_index(request.media_type, bytes).context(context))) {
    reply.index = TRY(oci::parse_index(bytes, request.media_type).context(context));
  } else {
    reply.manifest = TRY(oci::parse_manifest(bytes, request.media_type).context(context));
  }
  return reply;
}

}  // namespace nacelle::image
