#include "logs/options.h"
