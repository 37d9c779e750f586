#pragma once

#include <cstdint>
#include <functional>
#include <span>

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

/// Rounds some rows of a matrix, [rows, columns] row-major.
using RowRounding =
    std::function<QuantizedMatrix(std::span<const float> weights, std::int64_t rows)>;

/// The same by any method that looks at rows one by one, `rows_at_once` of them in memory.
NewMatrix quantize_stored_rows(const StoredMatrix& matrix, const QuantScheme& scheme,
                               std::int64_t rows_at_once, const RowRounding& round,
                               int num_threads);

}  // namespace edgecompress
