#pragma once
// The one way to LibTorch's tensor functions, for sources (headers take <ATen/core/Tensor.h>). It
// is precompiled.
#include <ATen/ATen.h>
