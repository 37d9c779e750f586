#pragma once

#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"
#include "methods/quantize_method.h"
#include "pipeline/weight_change.h"

namespace edgecompress {

/// A matrix as it will be stored.
struct NewMatrix {
  WeightValue value;
  WeightChange change;
};

/// The matrix's values as floats.
NewMatrix keep_stored(const StoredMatrix& matrix, int num_threads);

/// Puts a matrix on a grid without knowing its inputs: by a data-free method, and for the
/// calibrated ones by rounding to the nearest with a clip search by weight error. Some rows at a
/// time, so that it is never in memory as floats: the embedding of a large vocabulary is by far the
/// largest matrix of a model.
NewMatrix quantize_stored(const StoredMatrix& matrix, const QuantScheme& scheme,
                          const QuantizeMethod& method, int num_threads);

}  // namespace edgecompress
