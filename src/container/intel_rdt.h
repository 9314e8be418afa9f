// linux.intelRdt: classes of service and monitoring groups of resctrl (config-linux.md "IntelRdt").
#pragma once

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::container {

// The mounted resctrl file system, or an error that says that there is none.
Result<Fd> open_resctrl();

}  // namespace nacelle::container
