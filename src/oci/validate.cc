#include "oci/validate.h"

namespace nacelle::oci {

Result<> validate(const Spec&) { return {}; }
Result<> validate(const Process&) { return {}; }
Result<> validate(const Resources&) { return {}; }
Result<> validate(const Seccomp&) { return {}; }

}  // namespace nacelle::oci
