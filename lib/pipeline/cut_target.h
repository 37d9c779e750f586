#pragma once

#include <cstdint>
#include <functional>

#include "methods/structured_method.h"

namespace edgecompress {

/// Whether the target counts bytes, which depend on the grids that weights get later.
constexpr bool counts_bytes(StructuredTarget target) {
  return target == StructuredTarget::Bytes || target == StructuredTarget::DecodeTime;
}

/// The cut whose ratio of the decoder blocks' parameters is the smallest, in thousandths, that
/// takes `cut.ratio` of the bytes away.
///
/// bytes: of the model before. bytes_left: of the model with a cut; throws Error U2 for a cut that
/// is out of reach.
/// Throws Error{Unsupported} U2 when no cut takes so much, naming the largest share.
StructuredCut cut_for_bytes(
    const StructuredCut& cut, std::int64_t bytes,
    const std::function<std::int64_t(const StructuredCut& cut)>& bytes_left);

}  // namespace edgecompress
