#pragma once

#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"
#include "methods/quantize_method.h"
#include "pipeline/weight_change.h"

namespace edgecompress {

/// An embedding or a head as it will be stored.
struct StoredTable {
  WeightValue value;
  WeightChange change;
};

/// The table's values as floats.
StoredTable keep_table(const StoredMatrix& table, int num_threads);

/// Rounds the table to the nearest on a grid, whatever the method of the other layers is (with a clip
/// search by weight error for the calibrated ones), some rows at a time: in a model with a large vocabulary it is by far
/// the largest matrix, so it is never in memory as floats.
StoredTable quantize_table(const StoredMatrix& table, const QuantScheme& scheme,
                           const QuantizeMethod& method, int num_threads);

}  // namespace edgecompress
