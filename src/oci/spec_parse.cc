#include "oci/spec_parse.h"

#include "oci/spec_read.h"
#include "oci/validate.h"

namespace nacelle::oci {
namespace {

template <class T>
Result<T> parse(std::string_view text, std::string_view prefix) {
  const auto document = TRY(codec::json::Document::parse(
      text, {.bytes_max = config_bytes_max, .depth_max = config_depth_max}, prefix));
  T out;
  TRY(document.root().read(out));
  TRY(validate(out));
  return out;
}

}  // namespace

Result<Spec> parse_spec(std::string_view json) { return parse<Spec>(json, ""); }
Result<Process> parse_process(std::string_view json) { return parse<Process>(json, "process"); }
Result<Resources> parse_resources(std::string_view json) {
  return parse<Resources>(json, "linux.resources");
}
Result<Seccomp> parse_seccomp(std::string_view json) {
  return parse<Seccomp>(json, "linux.seccomp");
}

}  // namespace nacelle::oci
