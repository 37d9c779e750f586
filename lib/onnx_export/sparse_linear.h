#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "onnx_export/export_context.h"
#include "onnx_export/linear.h"
#include "panel_sparse/panel_sparse_view.h"

namespace edgecompress {

/// How PanelSparseMatMul would store a matrix, or why it shall not.
struct SparseChoice {
  std::optional<PanelSparseForm> form = {};  ///< nothing: the matrix stays dense
  std::int64_t blob_bytes = 0;
  double zero_share = 0;    ///< of the weights, 0 ... 1
  double stored_share = 1;  ///< of the weights: those that get a code; 1 when dense
  std::string reason = {};  ///< in words, for the report
};

/// "16x4", "16x1", "8x1", "4x1" or "unstructured".
std::string form_name(const PanelSparseForm& form);

/// Counts what each form would store, and takes the form of the fewest bytes among those that leave
/// out at least the share from which they are faster than a dense product. Dense stays what the
/// format cannot hold: floats, asymmetric grids, other code widths, other groups.
/// Cost: reads the matrix once.
SparseChoice choose_sparse_form(const StackedMatrix& matrix, const SparseOptions& options,
                                int num_threads);

/// The blob of docs/sparse-format.md. Reads the matrix twice, some panels at a time.
ByteSource sparse_blob(StackedMatrix matrix, PanelSparseForm form, int num_threads);

/// Adds x * weight^T (+ bias) as PanelSparseMatMul when that pays, and notes the choice. Returns
/// nothing when the product is to be dense.
std::optional<std::string> add_sparse_linear(ExportContext& context, const std::string& x,
                                             const Linear& linear, const StackedMatrix& matrix,
                                             const std::string& output);

}  // namespace edgecompress
