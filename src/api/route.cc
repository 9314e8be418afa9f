#include "api/route.h"
