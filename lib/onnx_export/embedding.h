#pragma once

#include <string>

#include "onnx_export/export_context.h"

namespace edgecompress {

// The embedding and the head are built together, because a tied table is stored once where both can
// read it:
//   float, tied           table [vocab, hidden] for Gather; the head multiplies with its Transpose
//   quantized, tied       the head's MatMulNBits bytes, seen by GatherBlockQuantized as [vocab,
//   hidden * bits / 8]
// A table of its own:
//   float                 Gather
//   8 bits, one scale per row, or any standard graph   Gather of I8 rows, Cast, and Mul with the
//   gathered scales otherwise             GatherBlockQuantized
// Both quantized forms need in_features to be a multiple of the group; where it is not, the table
// is stored as the floats it stands for, with a warning.

/// Adds the rows of `input_ids` and returns them, [batch, length, hidden].
std::string add_embedding(ExportContext& context);

/// Adds the product with the head, whose result is the value "logits".
void add_head(ExportContext& context, const std::string& x);

}  // namespace edgecompress
