#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "decoder/language_model_head.h"
#include "training/trained_block.h"

namespace edgecompress {

/// A model whose decoder blocks and norms are being trained. The embedding and the head stay, so a
/// table that is both stays both.
///
/// In memory: the parameters, and the head's matrix. With TrainedPart::Scales a block's matrices
/// are made from its file when weights() is called.
class TrainedModel {
 public:
  TrainedModel(const TrainingSource& source, const TrainingOptions& options);

  std::int64_t num_blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  const TrainedBlock& block(std::int64_t index) const {
    return blocks_[static_cast<std::size_t>(index)];
  }
  at::Tensor final_norm() const { return final_norm_.weight(); }
  std::vector<float> stored_final_norm() const { return final_norm_.stored(); }
  const at::Tensor& head() const { return head_; }  ///< [vocab_size, hidden_size], float
  const ActivationScheme& head_activation() const { return head_activation_; }
  const LlamaConfig& config() const { return config_; }
  const ComputeTarget& target() const { return target_; }

  std::vector<Parameter> parameters() const;

  /// As TrainedBlock::settle.
  void settle();

 private:
  const LlamaConfig& config_;
  TrainingOptions options_;
  ComputeTarget target_;
  std::vector<TrainedBlock> blocks_;
  TrainedNorm final_norm_;
  at::Tensor head_;
  ActivationScheme head_activation_;
};

}  // namespace edgecompress
