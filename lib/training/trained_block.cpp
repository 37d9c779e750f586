#include "training/trained_block.h"

#include <utility>

#include "base/error.h"
#include "tensor/aten.h"
#include "tensor/host_values.h"
#include "training/straight_through.h"

namespace edgecompress {
namespace {

TrainedLayer make_layer(const TrainingSource& source, LinearId id, const TrainingOptions& options) {
  const std::string module = module_name(id);
  const StoredMatrix matrix = source.model.matrix(module);
  const at::Device device = source.target.device;
  const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix);
  if (options.part == TrainedPart::Scales) {
    if (quantized != nullptr) return ScaledLayer(*quantized, device);
    return FrozenLayer(matrix, device, source.num_threads);
  }
  if (quantized == nullptr) {
    const DType dtype = std::get<FloatMatrix>(matrix).values->dtype;
    return FloatLayer(load_matrix(matrix, source.num_threads).to(device), dtype, options.zeros);
  }
  at::Tensor dense;
  if (source.dense != nullptr && matrix_shape(source.dense->matrix(module)) == quantized->shape) {
    dense = load_matrix(source.dense->matrix(module), source.num_threads);
  }
  return RoundedLayer(read_quantized_rows(*quantized, 0, quantized->shape.out_features), dense,
                      device, options);
}

TrainedNorm make_norm(const TrainingSource& source, const std::string& module, DType dtype) {
  return {source.model.vector(module + ".weight"), dtype, source.target.device};
}

BlockWeights fixed_parts(const TrainingSource& source, std::int64_t index) {
  const LlamaConfig& config = source.model.config();
  BlockWeights fixed{.shape = config.blocks.at(static_cast<std::size_t>(index)),
                     .head_dim = config.head_dim,
                     .rms_norm_eps = config.rms_norm_eps,
                     .input_norm = {},
                     .post_attention_norm = {},
                     .weights = {},
                     .biases = {},
                     .activations = {}};
  for (const LinearKind kind : kLinearKinds) {
    fixed.activation(kind) = source.activation(module_name({index, kind}));
    if (!has_bias(config, kind)) continue;
    const std::vector<float> bias = source.model.vector(module_name({index, kind}) + ".bias");
    fixed.bias(kind) = at::tensor(bias, at::kFloat).to(source.target.device);
  }
  return fixed;
}

}  // namespace

ActivationScheme TrainingSource::activation(const std::string& module) const {
  return activations ? activations(module) : stored_activation(model.matrix(module));
}

TrainedNorm::TrainedNorm(const std::vector<float>& start, DType dtype, at::Device device)
    : weights_(at::tensor(start, at::kFloat).to(device)), dtype_(dtype) {}

at::Tensor TrainedNorm::weight() const {
  const at::Tensor values = weights_.values();
  return straight_through(rounded_to(values.detach(), dtype_), values);
}

std::vector<float> TrainedNorm::stored() const { return host_floats(weights_.values()); }

Parameter TrainedNorm::parameter(const TrainingOptions& options) const {
  return {weights_.factors(), options.scale_learning_rate};
}

TrainedBlock::TrainedBlock(const TrainingSource& source, std::int64_t index, DType norm_dtype,
                           const TrainingOptions& options)
    : index_(index),
      target_(source.target),
      fixed_(fixed_parts(source, index)),
      input_norm_(make_norm(source, input_norm_module(index), norm_dtype)),
      post_attention_norm_(make_norm(source, post_attention_norm_module(index), norm_dtype)) {
  for (const LinearKind kind : kLinearKinds) {
    layers_.push_back(make_layer(source, {index, kind}, options));
    source.model.drop(module_name({index, kind}));
  }
}

BlockWeights TrainedBlock::weights() const {
  BlockWeights block = fixed_;
  block.input_norm = input_norm_.weight();
  block.post_attention_norm = post_attention_norm_.weight();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    block.weights[i] = std::visit([](const auto& layer) { return layer.weight(); }, layers_[i]);
  }
  return to_target(block, target_);
}

std::vector<Parameter> TrainedBlock::parameters(const TrainingOptions& options) const {
  std::vector<Parameter> all{input_norm_.parameter(options),
                             post_attention_norm_.parameter(options)};
  for (const TrainedLayer& layer : layers_) {
    const std::vector<Parameter> some =
        std::visit([&](const auto& each) { return each.parameters(options); }, layer);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

void TrainedBlock::settle() {
  input_norm_.settle();
  post_attention_norm_.settle();
  for (TrainedLayer& layer : layers_) std::visit([](auto& each) { each.settle(); }, layer);
}

std::map<LinearKind, WeightValue> TrainedBlock::stored_weights() const {
  std::map<LinearKind, WeightValue> weights;
  for (const LinearKind kind : kLinearKinds) {
    weights.emplace(kind, std::visit([](const auto& layer) { return layer.stored(); },
                                     layers_[static_cast<std::size_t>(kind)]));
  }
  return weights;
}

std::map<std::string, std::vector<float>> TrainedBlock::stored_vectors() const {
  std::map<std::string, std::vector<float>> vectors{
      {input_norm_module(index_) + ".weight", input_norm_.stored()},
      {post_attention_norm_module(index_) + ".weight", post_attention_norm_.stored()}};
  for (const LinearKind kind : kLinearKinds) {
    const at::Tensor& bias = fixed_.bias(kind);
    if (bias.defined()) vectors.emplace(module_name({index_, kind}) + ".bias", host_floats(bias));
  }
  return vectors;
}

std::map<std::string, StoredForm, std::less<>> stored_forms(const ModelFolder& model) {
  std::map<std::string, StoredForm, std::less<>> forms;
  const auto add = [&](const std::string& module) {
    const StoredMatrix matrix = model.matrix(module);
    if (const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix)) {
      forms.emplace(module, QuantizedForm{quantized->scheme, quantized->activations});
    } else {
      forms.emplace(module, FloatForm{std::get<FloatMatrix>(matrix).values->dtype});
    }
  };
  add(std::string(kEmbeddingModule));
  for (std::int64_t block = 0; block < model.config().num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) add(module_name({block, kind}));
  }
  if (!model.config().tie_word_embeddings) add(std::string(kHeadModule));
  return forms;
}

}  // namespace edgecompress
