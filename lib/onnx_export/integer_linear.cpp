#include "onnx_export/integer_linear.h"

#include <limits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "llama/linear_layers.h"

namespace edgecompress {
namespace {

// 255 steps between the codes 0 and 255, half of them on each side of the zero point.
constexpr float kHalfOfSteps = 127.5F;
constexpr std::uint8_t kZeroPoint = 128;

/// scale = max|x| / 127.5 of each token; code = round(x / scale) + 128, saturated. QuantizeLinear
/// takes no scale for each token, so x is divided by them before and its own scale is 1.
RoundedInput round_tokens(GraphBuilder& graph, const std::string& path, const std::string& x) {
  const std::string sizes = graph.add({.name = path + "/Abs", .op = "Abs", .inputs = {x}});
  const std::string largest = graph.add({.name = path + "/ReduceMax",
                                         .op = "ReduceMax",
                                         .inputs = {sizes, graph.int64_vector({-1})},
                                         .attributes = {{"keepdims", std::int64_t{1}}}});
  const std::string step = graph.add({.name = path + "/scale/Div",
                                      .op = "Div",
                                      .inputs = {largest, graph.float_scalar(kHalfOfSteps)}});
  // a token of zeros has codes that mean 0 at any scale above 0
  const std::string smallest = graph.float_scalar(std::numeric_limits<float>::min());
  const std::string scale =
      graph.add({.name = path + "/scale/Max", .op = "Max", .inputs = {step, smallest}});
  const std::string unit = graph.add({.name = path + "/Div", .op = "Div", .inputs = {x, scale}});
  const std::string zero_point = graph.uint8_scalar(kZeroPoint);
  const std::string codes = graph.add({.name = path + "/QuantizeLinear",
                                       .op = "QuantizeLinear",
                                       .inputs = {unit, graph.float_scalar(1), zero_point}});
  return {.codes = codes, .scale = scale, .zero_point = zero_point};
}

RoundedInput round_tensor(GraphBuilder& graph, const std::string& path, const std::string& x) {
  const std::string node = path + "/DynamicQuantizeLinear";
  RoundedInput rounded{
      .codes = node + "/output_0", .scale = node + "/output_1", .zero_point = node + "/output_2"};
  graph.add({.name = node,
             .op = "DynamicQuantizeLinear",
             .inputs = {x},
             .outputs = {rounded.codes, rounded.scale, rounded.zero_point}});
  return rounded;
}

const RoundedInput& rounded_input(ExportContext& context, const std::string& path,
                                  const std::string& x, ActivationRounding rounding) {
  const auto known = context.rounded_inputs.find(x);
  if (known != context.rounded_inputs.end()) return known->second;
  ensure(
      rounding == ActivationRounding::Int8PerToken || rounding == ActivationRounding::Int8PerTensor,
      "a rounding that MatMulInteger computes");
  RoundedInput rounded = rounding == ActivationRounding::Int8PerToken
                             ? round_tokens(context.graph, path + "/input", x)
                             : round_tensor(context.graph, path + "/input", x);
  return context.rounded_inputs.emplace(x, std::move(rounded)).first->second;
}

struct IntegerWeights {
  std::string codes;        ///< INT8 [in, out]
  std::string scales;       ///< F32 [out]
  std::string zero_points;  ///< INT8 [out]; empty when symmetric
};

IntegerWeights add_weights(ExportContext& context, const Linear& linear,
                           const StackedMatrix& matrix) {
  const std::string name = linear.name + ".MatMul.weight";
  const int threads = context.num_threads;
  const auto add = [&](const char* suffix, OnnxType type, std::vector<std::int64_t> dims,
                       ByteSource source) {
    return context.graph.add(Initializer{.name = name + suffix,
                                         .type = type,
                                         .dims = std::move(dims),
                                         .source = std::move(source),
                                         .modules = linear.modules});
  };
  IntegerWeights weights;
  weights.codes = add("_quantized", OnnxType::Int8, {matrix.columns(), matrix.rows()},
                      transposed_codes(matrix, threads));
  weights.scales = add("_scale", OnnxType::Float, {matrix.rows()}, group_scales(matrix, threads));
  if (matrix.scheme().symmetry == Symmetry::Asymmetric) {
    weights.zero_points =
        add("_zero_point", OnnxType::Int8, {matrix.rows()}, group_zero_points(matrix, threads));
  }
  return weights;
}

/// The sums in float, times both scales. The order of the products is the one that ONNX Runtime
/// fuses: with one scale for x, both scales first.
std::string add_scales(GraphBuilder& graph, const std::string& path, const std::string& sums,
                       const std::pair<std::string, std::string>& scales,
                       const IntegerProduct& product, std::vector<std::string> output) {
  const auto& [of_x, of_weights] = scales;
  if (product.rounding == ActivationRounding::Int8PerTensor) {
    const std::string both =
        graph.add({.name = path + "/scales/Mul", .op = "Mul", .inputs = {of_x, of_weights}});
    return graph.add(
        {.name = path + "/Mul", .op = "Mul", .inputs = {sums, both}, .outputs = std::move(output)});
  }
  const std::string rows =
      graph.add({.name = path + "/scales/Mul", .op = "Mul", .inputs = {sums, of_weights}});
  return graph.add(
      {.name = path + "/Mul", .op = "Mul", .inputs = {rows, of_x}, .outputs = std::move(output)});
}

}  // namespace

ActivationRounding input_rounding(const ExportContext& context, const StackedMatrix& matrix) {
  const auto* const stored = std::get_if<StoredQuantizedMatrix>(&matrix.parts.front());
  if (stored == nullptr) return ActivationRounding::None;
  if (!context.activations) return stored->activations;
  const bool is_head = matrix.modules.front() == kHeadModule;
  if (is_head && stored->activations == ActivationRounding::None) return ActivationRounding::None;
  return *context.activations;
}

std::string add_integer_linear(ExportContext& context, const std::string& x, const Linear& linear,
                               const IntegerProduct& product, const std::string& output) {
  GraphBuilder& graph = context.graph;
  const std::string path = node_path(linear.name);
  const RoundedInput input = rounded_input(context, path, x, product.rounding);
  const IntegerWeights weights = add_weights(context, linear, product.weights);
  std::vector<std::string> inputs{input.codes, weights.codes, input.zero_point};
  if (!weights.zero_points.empty()) inputs.push_back(weights.zero_points);
  const std::string sums = graph.add(
      {.name = path + "/MatMulInteger", .op = "MatMulInteger", .inputs = std::move(inputs)});
  const std::string as_floats =
      graph.add({.name = path + "/Cast",
                 .op = "Cast",
                 .inputs = {sums},
                 .attributes = {{"to", static_cast<std::int64_t>(OnnxType::Float)}}});
  const std::vector<std::string> last =
      output.empty() ? std::vector<std::string>{} : std::vector<std::string>{output};
  std::string real = add_scales(graph, path, as_floats, {input.scale, weights.scales}, product,
                                linear.has_bias ? std::vector<std::string>{} : last);
  if (!linear.has_bias) return real;
  return graph.add({.name = path + "/Add",
                    .op = "Add",
                    .inputs = {real, add_bias_tensor(context, linear)},
                    .outputs = last});
}

}  // namespace edgecompress
