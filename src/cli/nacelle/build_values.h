// Values of `nacelle build`'s options: what becomes of the image (--output), what its RUNs may see
// and keep to themselves (--secret) and whom they may speak with (--ssh). Pure, but for the files
// and variables secrets come from.
#pragma once

#include <string>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::cli {

struct BuildDestination {
  std::string type;  // "image", "cacheonly", "local", "tar", "docker", "oci"
  std::string path;  // "-": standard output; empty: none is needed

  // As an archive that the engine sends.
  bool is_handed_out() const { return type != "image" && type != "cacheonly"; }
};
// `DIR`, `-` (a tar archive), or `type=TYPE[,dest=PATH]`; `type=docker` alone is an image.
Result<BuildDestination> parse_build_destination(const std::string& text);

struct BuildSecret {
  std::string id, value;
};
// `id=ID[,src=FILE|env=NAME]`; an id alone is a variable's name, or else a file's.
Result<BuildSecret> read_build_secret(const std::string& text);

struct BuildAgent {
  std::string id, socket;
};
// `ID[=SOCKET]`; the socket is that of $SSH_AUTH_SOCK where none is named.
Result<std::vector<BuildAgent>> read_build_agents(const std::vector<std::string>& texts);

}  // namespace nacelle::cli
