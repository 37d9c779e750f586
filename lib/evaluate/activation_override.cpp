#include "evaluate/activation_override.h"

#include <string>

#include "onnx_export/block_grid.h"

namespace edgecompress {
namespace {

ActivationScheme scheme_for(const StoredMatrix& matrix, const std::string& module,
                            ActivationRounding rounding) {
  const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix);
  if (quantized == nullptr) return {};
  if (rounding != ActivationRounding::Int8PerBlock) return {.rounding = rounding};
  const BlockGrid grid = nbits_grid(quantized->scheme, quantized->shape.in_features, module);
  return {.rounding = rounding, .block = grid.block};
}

}  // namespace

ActivationScheme rounding_in(const ModelFolder& model, const std::string& module,
                             ActivationRounding rounding) {
  const StoredMatrix matrix = model.matrix(module);
  const bool is_weight_only = module == kHeadModule &&
                              rounding != ActivationRounding::Int8PerBlock &&
                              stored_activation(matrix).rounding == ActivationRounding::None;
  return is_weight_only ? ActivationScheme{} : scheme_for(matrix, module, rounding);
}

ActivationRounding folder_rounding(const ModelFolder& model) {
  for (std::int64_t block = 0; block < model.config().num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) {
      const StoredMatrix matrix = model.matrix(module_name({block, kind}));
      const ActivationRounding rounding = stored_activation(matrix).rounding;
      if (rounding != ActivationRounding::None) return rounding;
    }
  }
  return ActivationRounding::None;
}

void round_inputs(BlockWeights& weights, const ModelFolder& model, std::int64_t block,
                  ActivationRounding rounding) {
  for (const LinearKind kind : kLinearKinds) {
    weights.activation(kind) = rounding_in(model, module_name({block, kind}), rounding);
  }
}

void round_inputs(LanguageModelHead& head, const ModelFolder& model, ActivationRounding rounding) {
  head.activation = rounding_in(model, std::string(kHeadModule), rounding);
}

}  // namespace edgecompress
