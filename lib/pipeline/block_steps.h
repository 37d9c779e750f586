#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "calibrate/input_norms.h"
#include "decoder/block_weights.h"
#include "prune/structured.h"
#include "recipe/recipe.h"
#include "weights/quantized_matrix.h"

namespace edgecompress {

/// Which KV groups and FFN channels of a block stay, ascending.
struct KeptParts {
  std::vector<std::int64_t> kv_groups;
  std::vector<std::int64_t> channels;
};

/// Scores a block and keeps the best parts. norms: of this block's inputs; empty for scores that do
/// not look at them.
KeptParts choose_parts(const BlockWeights& block, const std::optional<InputNorms>& norms,
                       const StructuredScore& score, const CutWidths& widths);

/// The block without the other parts: rows of q, k, v, gate, up and their biases, columns of o and
/// down.
BlockWeights cut_block(const BlockWeights& block, const KeptParts& kept);

/// Lays masks over the targeted linear layers. Returns the block and each masked layer's mask.
struct MaskedBlock {
  BlockWeights block;
  std::map<LinearKind, at::Tensor> masks;  ///< bool, true = keep
};
MaskedBlock mask_block(const BlockWeights& block, std::int64_t block_index,
                       const std::optional<InputNorms>& norms, const MaskStep& step);

/// Puts a float matrix on a grid. weight: [out, in], float, contiguous, on the CPU.
QuantizedMatrix quantize_tensor(const at::Tensor& weight, const QuantScheme& scheme,
                                const QuantizeMethod& method, int num_threads);

/// The matrix's real values, [out, in] float.
at::Tensor dequantized(const QuantizedMatrix& matrix, int num_threads);

/// Quantizes the block's layers. Returns the block with its dequantized weights, and the codes.
struct QuantizedBlock {
  BlockWeights block;
  std::map<LinearKind, QuantizedMatrix> codes;
};
QuantizedBlock quantize_block(const BlockWeights& block, std::int64_t block_index,
                              const QuantizeStep& step, int num_threads);

}  // namespace edgecompress
