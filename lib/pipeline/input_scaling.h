#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "decoder/block_forward.h"
#include "pipeline/layer_steps.h"

namespace edgecompress {

/// Where the scales of a group's inputs go: into what the inputs come from, so that the block
/// computes what it did. q, k, v and gate, up read a norm; o reads rows of v, each as many times as
/// query heads share a KV head; down reads rows of up.
struct ScaledGroup {
  InputGroup group;
  /// The layers of the block so far: those of the group not yet quantized, v or up finished.
  std::map<LinearKind, LayerState>& layers;
  std::vector<BlockWeights*> blocks;  ///< whose norms, biases, v and up follow
  DType dtype;                        ///< of weights that are stored floating
  int num_threads;
};

/// The scale that each input of a group has: numbers 0, 1, ... of norm channels, rows of v or of
/// up.
std::vector<std::int64_t> scale_of_column(InputGroup group, const BlockWeights& block);

/// Multiplies the columns of the group's layers and divides what gives their inputs.
/// scales: [in_features] float, equal where scale_of_column is.
void fold_scales(const ScaledGroup& scaled, const at::Tensor& scales);

}  // namespace edgecompress
