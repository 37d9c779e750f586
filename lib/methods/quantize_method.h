#pragma once

#include <variant>

#include "methods/awq_options.h"
#include "methods/gptq_options.h"
#include "methods/hqq_options.h"
#include "methods/smoothquant_options.h"

namespace edgecompress {

/// How the range of a group is chosen before rounding.
enum class ClipSearch {
  None,         ///< the group's own minimum and maximum
  WeightError,  ///< of the ranges 1.14, 1.12, ... 0.20 times as wide, the one with the smallest
                ///< weight error
};

/// Round to nearest on the grid. Data-free.
struct RtnOptions {
  ClipSearch clip = ClipSearch::None;
};

using QuantizeMethod =
    std::variant<RtnOptions, GptqOptions, HqqOptions, AwqOptions, SmoothQuantOptions>;

}  // namespace edgecompress
