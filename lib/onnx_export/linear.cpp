#include "onnx_export/linear.h"

#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "onnx_export/integer_linear.h"
#include "onnx_export/sparse_linear.h"

namespace edgecompress {
namespace {

/// MatMul(x, weight) and, when there is one, Add of the bias; the last node's result is `output`
/// unless that is empty.
std::string add_product(ExportContext& context, const std::string& x, const std::string& weight,
                        const Linear& linear, const std::string& output) {
  const auto named = [](const std::string& name) {
    return name.empty() ? std::vector<std::string>{} : std::vector<std::string>{name};
  };
  const std::string path = node_path(linear.name);
  std::string product = context.graph.add({.name = path + "/MatMul",
                                           .op = "MatMul",
                                           .inputs = {x, weight},
                                           .outputs = named(linear.has_bias ? "" : output)});
  if (!linear.has_bias) return product;
  return context.graph.add({.name = path + "/Add",
                            .op = "Add",
                            .inputs = {product, add_bias_tensor(context, linear)},
                            .outputs = named(output)});
}

std::string add_float_linear(ExportContext& context, const std::string& x, const Linear& linear,
                             const StackedMatrix& matrix, const std::string& output) {
  const std::vector<std::int64_t> dims{matrix.columns(), matrix.rows()};
  const std::string weight =
      context.graph.add(Initializer{.name = linear.name + ".MatMul.weight",
                                    .type = OnnxType::Float,
                                    .dims = dims,
                                    .source = transposed_floats(matrix, context.num_threads),
                                    .modules = linear.modules});
  return add_product(context, x, weight, linear, output);
}

std::string add_dequantized_linear(ExportContext& context, const std::string& x,
                                   const Linear& linear, const StackedMatrix& matrix,
                                   const std::string& output) {
  const QuantScheme& scheme = matrix.scheme();
  const BlockGrid grid = dequantize_grid(scheme, matrix.columns());
  const OnnxType type = scheme.bits == 4 ? OnnxType::Int4 : OnnxType::Int8;
  const int threads = context.num_threads;
  const std::vector<std::int64_t> group_dims{grid.blocks, matrix.rows()};
  const std::string weight = linear.name + ".MatMul.weight";
  std::vector<std::string> inputs;
  inputs.push_back(context.graph.add(Initializer{.name = weight + "_quantized",
                                                 .type = type,
                                                 .dims = {matrix.columns(), matrix.rows()},
                                                 .source = transposed_codes(matrix, threads),
                                                 .modules = linear.modules}));
  inputs.push_back(context.graph.add(Initializer{.name = weight + "_scale",
                                                 .type = OnnxType::Float,
                                                 .dims = group_dims,
                                                 .source = transposed_scales(matrix, grid, threads),
                                                 .modules = linear.modules}));
  if (scheme.symmetry == Symmetry::Asymmetric) {
    inputs.push_back(
        context.graph.add(Initializer{.name = weight + "_zero_point",
                                      .type = type,
                                      .dims = group_dims,
                                      .source = transposed_zero_points(matrix, grid, threads),
                                      .modules = linear.modules}));
  }
  const std::string real =
      context.graph.add({.name = node_path(linear.name) + "/DequantizeLinear",
                         .op = "DequantizeLinear",
                         .inputs = std::move(inputs),
                         .attributes = {{"axis", std::int64_t{0}}, {"block_size", grid.block}}});
  return add_product(context, x, real, linear, output);
}

std::string add_nbits_linear(ExportContext& context, const std::string& x, const Linear& linear,
                             const StackedMatrix& matrix, const std::string& output) {
  const QuantScheme& scheme = matrix.scheme();
  const BlockGrid grid = nbits_grid(scheme, matrix.columns(), linear.modules.front());
  const NbitsTensors names = nbits_tensor_names(linear.name, scheme);
  const int threads = context.num_threads;
  const std::int64_t rows = matrix.rows();
  std::vector<std::string> inputs{x};
  inputs.push_back(
      context.graph.add(Initializer{.name = names.codes,
                                    .type = OnnxType::Uint8,
                                    .dims = {rows, grid.blocks, grid.block * scheme.bits / 8},
                                    .source = nbits_codes(matrix, grid, threads),
                                    .modules = linear.modules}));
  inputs.push_back(context.graph.add(Initializer{.name = names.scales,
                                                 .type = OnnxType::Float,
                                                 .dims = {rows, grid.blocks},
                                                 .source = nbits_scales(matrix, grid, threads),
                                                 .modules = linear.modules}));
  if (!names.zero_points.empty()) {
    inputs.push_back(
        context.graph.add(Initializer{.name = names.zero_points,
                                      .type = OnnxType::Uint8,
                                      .dims = {rows, ceil_divide(grid.blocks * scheme.bits, 8)},
                                      .source = nbits_zero_points(matrix, grid, threads),
                                      .modules = linear.modules}));
  }
  if (linear.has_bias) {
    inputs.resize(5);  // zero_points and the deprecated g_idx may be left out
    inputs.push_back(add_bias_tensor(context, linear));
  }
  const std::string path = node_path(linear.name) + "/MatMul";
  return context.graph.add_contrib(
      {.name = concat(path, "_Q", scheme.bits),
       .op = "MatMulNBits",
       .inputs = std::move(inputs),
       .attributes = {{"K", matrix.columns()},
                      {"N", rows},
                      {"bits", std::int64_t{scheme.bits}},
                      {"block_size", grid.block},
                      {"accuracy_level", std::int64_t{context.accuracy_level}}},
       .outputs = {output.empty() ? path + "/output_0" : output}});
}

}  // namespace

std::string add_bias_tensor(ExportContext& context, const Linear& linear) {
  std::vector<float> values;
  for (const std::string& module : linear.modules) {
    const std::vector<float> part = context.model.vector(module + ".bias");
    values.insert(values.end(), part.begin(), part.end());
  }
  return add_vector(context, linear.name + ".bias", values, linear.modules);
}

NbitsTensors nbits_tensor_names(const std::string& linear_name, const QuantScheme& scheme) {
  const std::string weight = linear_name + ".MatMul.weight";
  return {.codes = concat(weight, "_Q", scheme.bits),
          .scales = weight + "_scales",
          .zero_points = scheme.symmetry == Symmetry::Asymmetric ? weight + "_zp" : ""};
}

bool can_stack(const ExportContext& context, const std::vector<std::string>& modules) {
  const StackedMatrix matrix = context.matrix(modules);
  for (const StoredMatrix& part : matrix.parts) {
    if (part.index() != matrix.parts.front().index()) return false;
    if (const auto* quantized = std::get_if<StoredQuantizedMatrix>(&part)) {
      if (quantized->scheme != matrix.scheme()) return false;
      const auto& first = std::get<StoredQuantizedMatrix>(matrix.parts.front());
      if (quantized->activations != first.activations) return false;
    }
  }
  return true;
}

std::string add_linear(ExportContext& context, const std::string& x, const Linear& linear,
                       const std::string& output) {
  const StackedMatrix matrix = context.matrix(linear.modules);
  const bool is_head = linear.modules.front() == kHeadModule;
  if (context.sparse != nullptr && !is_head) {
    if (const auto y = add_sparse_linear(context, x, linear, matrix, output)) return *y;
  }
  if (!matrix.is_quantized()) return add_float_linear(context, x, linear, matrix, output);
  const ActivationRounding rounding = input_rounding(context, matrix);
  if (rounding != ActivationRounding::None) {
    return add_integer_linear(context, x, linear, {.weights = matrix, .rounding = rounding},
                              output);
  }
  return context.operators == OperatorSet::Contrib
             ? add_nbits_linear(context, x, linear, matrix, output)
             : add_dequantized_linear(context, x, linear, matrix, output);
}

}  // namespace edgecompress
