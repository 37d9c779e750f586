#include "support/catch.h"  // the library's only purpose is the precompiled header
