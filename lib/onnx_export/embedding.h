#pragma once

#include <string>

#include "onnx_export/export_context.h"

namespace edgecompress {

// The embedding and the head are built together, because a tied table is stored once where both can
// read it:
//   float, tied           table [vocab, hidden] for Gather; the head multiplies with its transpose
//   quantized, tied       the head's MatMulNBits bytes, seen by GatherBlockQuantized as [vocab,
//   hidden * bits / 8]
// A table of its own:
//   float                 Gather; a 16-bit table stays 16-bit, its gathered rows are cast
//   8 bits, one scale per row, or any standard graph   Gather of I8 rows, Cast, and Mul with the
//   gathered scales otherwise             GatherBlockQuantized
// GatherBlockQuantized needs ONNX Runtime 1.23 and in_features that are a multiple of its block. A
// table that fits no form is stored as the floats it stands for, with a warning. A standard graph
// stores a quantized tied table twice, by rows for the embedding and by columns for the head.

/// Adds the rows of `input_ids` and returns them, [batch, length, hidden].
std::string add_embedding(ExportContext& context);

/// Adds the product with the head, whose result is the value "logits".
void add_head(ExportContext& context, const std::string& x);

}  // namespace edgecompress
