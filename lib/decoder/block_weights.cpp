#include "decoder/block_weights.h"

#include "base/parallel.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowsAtOnce = 64;  // a row piece per thread small enough for its cache

at::Tensor load_vector(const ModelFolder& model, const std::string& tensor) {
  const std::vector<float> values = model.vector(tensor);
  return at::tensor(values, at::kFloat);
}

}  // namespace

at::Tensor load_matrix(const StoredMatrix& matrix, int num_threads) {
  const MatrixShape shape = matrix_shape(matrix);
  at::Tensor values = at::empty({shape.out_features, shape.in_features}, at::kFloat);
  float* const data = values.data_ptr<float>();
  parallel_for(shape.out_features, kRowsAtOnce, num_threads,
               [&](std::int64_t begin, std::int64_t end) {
                 const auto count = static_cast<std::size_t>((end - begin) * shape.in_features);
                 read_rows(matrix, begin, end, {data + begin * shape.in_features, count});
               });
  return values;
}

at::Tensor rounded_to(const at::Tensor& weight, DType dtype) {
  if (dtype == DType::F16) return weight.to(at::kHalf).to(at::kFloat);
  if (dtype == DType::BF16) return weight.to(at::kBFloat16).to(at::kFloat);
  return weight;
}

ActivationScheme stored_activation(const StoredMatrix& matrix) {
  const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix);
  if (quantized == nullptr) return {};
  return {.rounding = quantized->activations};
}

BlockWeights load_block(const ModelFolder& model, std::int64_t block, int num_threads) {
  const LlamaConfig& config = model.config();
  BlockWeights loaded{
      .shape = config.blocks.at(static_cast<std::size_t>(block)),
      .head_dim = config.head_dim,
      .rms_norm_eps = config.rms_norm_eps,
      .input_norm = load_vector(model, input_norm_module(block) + ".weight"),
      .post_attention_norm = load_vector(model, post_attention_norm_module(block) + ".weight"),
      .weights = {},
      .biases = {},
      .activations = {}};
  for (const LinearKind kind : kLinearKinds) {
    const std::string module = module_name({block, kind});
    const StoredMatrix matrix = model.matrix(module);
    loaded.weight(kind) = load_matrix(matrix, num_threads);
    loaded.activation(kind) = stored_activation(matrix);
    model.drop(module);
    if (has_bias(config, kind)) loaded.bias(kind) = load_vector(model, module + ".bias");
  }
  return loaded;
}

BlockWeights to_target(const BlockWeights& block, const ComputeTarget& target) {
  BlockWeights moved = block;
  moved.input_norm = block.input_norm.to(target.device);
  moved.post_attention_norm = block.post_attention_norm.to(target.device);
  for (at::Tensor& weight : moved.weights) weight = weight.to(target.device, target.dtype);
  for (at::Tensor& bias : moved.biases) {
    if (bias.defined()) bias = bias.to(target.device);
  }
  return moved;
}

}  // namespace edgecompress
