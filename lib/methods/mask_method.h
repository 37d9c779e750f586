#pragma once

#include <variant>

namespace edgecompress {

/// Keeps the weights of largest magnitude.
struct MagnitudeMask {};
/// Keeps the weights of largest |W| * ||x|| (arXiv 2306.11695, eq. 1); needs calibration.
struct WandaMask {};
/// Keeps the weights whose removal costs most, while the columns that follow make up for those
/// removed before (arXiv 2301.00774); needs calibration.
struct SparseGptMask {
  double damping = 0.01;  ///< share of the Hessian's mean diagonal that is added to it
};

using MaskMethod = std::variant<MagnitudeMask, WandaMask, SparseGptMask>;

/// What is done to the weights that a mask keeps.
enum class MaskRepair {
  None,            ///< they stay as the method left them
  LeastSquares,    ///< each row is solved for the unmasked layer's outputs on its support; needs
                   ///< calibration
  DenseOutputs,    ///< the same for the dense model's outputs, or hidden states where the layer
                   ///< writes to them, before the mask is chosen; needs calibration
  Reconstruction,  ///< LeastSquares, then the kept weights of all linear layers of the block are
                   ///< trained for the dense model's hidden states behind it; needs calibration
  WithRounding,    ///< the GPTQ step behind the mask makes up for dropped weights and for rounding
                   ///< in one pass (arXiv 2301.00774, section 3.5)
};

/// Whether a repair solves each row on its support before anything is rounded.
constexpr bool solves_rows(MaskRepair repair) {
  return repair != MaskRepair::None && repair != MaskRepair::WithRounding;
}

/// How a sparsity is spread over the model.
enum class MaskAllocation {
  Uniform,   ///< the same in every matrix
  Outliers,  ///< less in blocks where more weights stand out (OWL, arXiv 2310.05175); needs
             ///< calibration
  Loss,      ///< every matrix its own: the weights that cost the loss least go, wherever they are;
             ///< needs calibration
};

}  // namespace edgecompress
