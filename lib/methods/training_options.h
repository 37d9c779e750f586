#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "weights/activation_rounding.h"

namespace edgecompress {

/// What of a model is trained. The norms always are.
enum class TrainedPart {
  Scales,   ///< of quantized layers; their codes and zero points stay
  Weights,  ///< floating layers: their weights; quantized layers: the weights behind their codes,
            ///< by straight-through rounding, and their scales
};

/// Whether a weight that is 0 at the start belongs to a mask.
enum class ZeroWeights {
  Keep,  ///< it stays exactly 0
  Free,  ///< it may change: the zeros of a quantized layer without a mask are ordinary codes
};

/// Whether the zero points of asymmetric grids are trained; they stay integers of the grid.
enum class ZeroPoints { Frozen, Trained };

/// What is minimized, per predicted token.
enum class TrainingLoss {
  CrossEntropy,  ///< of the text
  Divergence,    ///< KL(teacher || model)
};

/// What is trained at a time.
enum class TrainingPhases {
  EndToEnd,  ///< the whole model
  Blocks,    ///< each decoder block by itself, on the outputs of the teacher's
  Both,      ///< first each block, then the whole model
};
/// What recipes and flags call them, in the order of the enumeration.
inline constexpr std::array<std::string_view, 3> kTrainingPhaseNames{"end-to-end", "blocks",
                                                                     "both"};
constexpr bool trains_blocks(TrainingPhases phases) { return phases != TrainingPhases::EndToEnd; }
constexpr bool trains_whole(TrainingPhases phases) { return phases != TrainingPhases::Blocks; }

/// How decoder blocks are trained one by one: always their weights, and the scales and zero points
/// of quantized layers. The rest is TrainingOptions'.
struct BlockTrainingOptions {
  std::int64_t epochs = 3;
  std::int64_t batch = 1;             ///< windows per step
  double learning_rate = 1e-4;        ///< of weights of floating layers
  double code_learning_rate = 0.01;   ///< of weights behind codes, in steps of their grid
  double scale_learning_rate = 1e-3;  ///< of scales, zero points and norms
};

struct TrainingOptions {
  TrainingPhases phases = TrainingPhases::EndToEnd;
  BlockTrainingOptions blocks = {};
  TrainedPart part = TrainedPart::Scales;
  ZeroWeights zeros = ZeroWeights::Keep;
  ZeroPoints zero_points = ZeroPoints::Frozen;  ///< Trained: with TrainedPart::Weights only
  TrainingLoss loss = TrainingLoss::CrossEntropy;
  std::int64_t epochs = 3;
  std::int64_t batch = 8;  ///< windows per step; gradients add up over pieces of about 2048 tokens
  double learning_rate = 1e-5;        ///< of weights of floating layers
  double code_learning_rate = 0.002;  ///< of weights behind codes, in steps of their grid
  double scale_learning_rate = 1e-3;  ///< of scales and norms, relative to their starting values
  double max_gradient_norm = 1;       ///< longer gradients, over all parameters, are shortened
  double held_out_share = 0.1;        ///< of the windows; at most 64 of them
  std::uint64_t seed = 0;             ///< of the order of the windows
  /// How quantized layers round what they read, while training and judging; nothing: as the model's
  /// folder says.
  std::optional<ActivationRounding> activations = {};
};

/// What a user asks for; the rest depends on the model.
struct TrainingChoice {
  std::optional<TrainedPart> part = {};   ///< nothing: scales of a quantized model, else weights
  std::optional<TrainingLoss> loss = {};  ///< nothing: divergence when there is a teacher
  TrainingOptions options = {};
};

}  // namespace edgecompress
