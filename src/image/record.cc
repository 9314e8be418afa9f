#include "image/record.h"

#include "base/text.h"
#include "codec/flat.h"

namespace nacelle::image {
namespace {

constexpr std::string_view image_kind = "nacelle-image 1";
constexpr std::string_view layer_kind = "nacelle-layer 1";

template <class Record>
std::string encode(std::string_view kind, const Record& record) {
  const std::string body = codec::flat::encode(record);
  return cat(kind, ' ', codec::digest_of(body).text(), '\n', body);
}

template <class Record>
std::optional<Record> decode(std::string_view kind, std::string_view bytes) {
  const std::string_view first_line = take_until(bytes, '\n');
  if (first_line != cat(kind, ' ', codec::digest_of(bytes).text())) return std::nullopt;
  auto record = codec::flat::decode<Record>(bytes, "record");
  if (!record) return std::nullopt;
  return *std::move(record);
}

}  // namespace

std::string encode_record(const ImageRecord& record) { return encode(image_kind, record); }
std::string encode_record(const LayerRecord& record) { return encode(layer_kind, record); }

std::optional<ImageRecord> decode_image_record(std::string_view bytes) {
  return decode<ImageRecord>(image_kind, bytes);
}
std::optional<LayerRecord> decode_layer_record(std::string_view bytes) {
  return decode<LayerRecord>(layer_kind, bytes);
}

}  // namespace nacelle::image
