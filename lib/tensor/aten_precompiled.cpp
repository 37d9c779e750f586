#include "tensor/aten.h"  // the library's only purpose is the precompiled header
