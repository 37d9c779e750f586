#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "decoder/block_weights.h"
#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"
#include "training/trained_layer.h"

namespace edgecompress {

/// A norm's weights, trained in proportion to their start. What is computed with is rounded to the
/// type it will be stored in.
class TrainedNorm {
 public:
  TrainedNorm(const std::vector<float>& start, DType dtype, at::Device device);
  at::Tensor weight() const;
  std::vector<float> stored() const;
  Parameter parameter(const TrainingOptions& options) const;
  void settle() { weights_.settle(); }

 private:
  TrainedFactors weights_;
  DType dtype_;
};

/// Where training computes and what it starts from.
struct TrainingSource {
  const ModelFolder& model;  ///< must outlive what is trained
  const ModelFolder* dense;  ///< with layers of the same shapes: where weights behind codes start;
                             ///< or nullptr
  ComputeTarget target;
  int num_threads = 1;
  /// How a layer of a decoder block, or the head, rounds its inputs; empty: as the folder says.
  std::function<ActivationScheme(const std::string& module)> activations = {};

  ActivationScheme activation(const std::string& module) const;
};

/// One decoder block that is being trained.
class TrainedBlock {
 public:
  /// norm_dtype: the type the norms will be stored in (written_dtype).
  TrainedBlock(const TrainingSource& source, std::int64_t index, DType norm_dtype,
               const TrainingOptions& options);

  /// The tensors to compute with, differentiable; made anew from the parameters by each call.
  BlockWeights weights() const;
  std::vector<Parameter> parameters(const TrainingOptions& options) const;

  /// To be called after each change of the parameters. Throws std::logic_error when a masked weight
  /// is not exactly 0.
  void settle();

  /// What CheckpointWriter::write_block takes.
  std::map<LinearKind, WeightValue> stored_weights() const;
  std::map<std::string, std::vector<float>> stored_vectors() const;

 private:
  std::int64_t index_;
  ComputeTarget target_;
  BlockWeights fixed_;                // shape, biases and how inputs are rounded
  std::vector<TrainedLayer> layers_;  // by LinearKind
  TrainedNorm input_norm_;
  TrainedNorm post_attention_norm_;
};

/// The forms in which a model stores its matrices, by module; without a tied head.
std::map<std::string, StoredForm, std::less<>> stored_forms(const ModelFolder& model);

}  // namespace edgecompress
