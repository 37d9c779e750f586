#include "onnx_export/llama_graph.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace edgecompress {
namespace {

const std::string kBatch = "batch_size";
const std::string kLength = "sequence_length";
const std::string kPastLength = "past_sequence_length";
const std::string kTotalLength = "total_sequence_length";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Sizes of a block's keys or values; integers, because onnxruntime-genai reads per-block head
/// counts from them.
std::vector<Dimension> cache_dims(const ExportContext& context, std::int64_t block,
                                  const std::string& length) {
  const BlockShape& shape = context.config().blocks[static_cast<std::size_t>(block)];
  return {kBatch, shape.num_key_value_heads, length, context.cache_head_dim};
}

ByteSource rotary_table(std::vector<double> inverse_frequencies, std::int64_t rows,
                        double (*function)(double)) {
  return [inverse_frequencies = std::move(inverse_frequencies), rows,
          function](const ByteSink& sink) {
    std::vector<float> row(inverse_frequencies.size());
    for (std::int64_t position = 0; position < rows; ++position) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        row[i] =
            static_cast<float>(function(static_cast<double>(position) * inverse_frequencies[i]));
      }
      sink(std::as_bytes(std::span<const float>(row)));
    }
  };
}

}  // namespace

std::string node_path(std::string_view module) {
  std::string path = "/";
  for (std::size_t i = 0; i < module.size(); ++i) {
    const bool before_number = i + 1 < module.size() && is_digit(module[i + 1]);
    path += module[i] == '.' && !before_number ? '/' : module[i];
  }
  return path;
}

StackedMatrix ExportContext::matrix(const std::vector<std::string>& modules) const {
  StackedMatrix stacked{.modules = modules, .parts = {}};
  for (const std::string& module : modules) stacked.parts.push_back(model.matrix(module));
  return stacked;
}

std::string joined_modules(const std::vector<std::string>& modules) {
  std::string text;
  for (const std::string& module : modules) text += (text.empty() ? "" : ",") + module;
  return text;
}

std::string add_vector(ExportContext& context, const std::string& name,
                       const std::vector<float>& values, const std::vector<std::string>& modules) {
  return context.graph.add(Initializer{.name = name,
                                       .type = OnnxType::Float,
                                       .dims = {std::ssize(values)},
                                       .source = vector_floats(values),
                                       .modules = modules});
}

std::string past_name(std::int64_t block, const char* what) {
  return concat("past_key_values.", block, ".", what);
}

std::string present_name(std::int64_t block, const char* what) {
  return concat("present.", block, ".", what);
}

void add_inputs(ExportContext& context, PositionInput positions) {
  GraphBuilder& graph = context.graph;
  graph.add_input("input_ids", OnnxType::Int64, {kBatch, kLength});
  graph.add_input("attention_mask", OnnxType::Int64, {kBatch, kTotalLength});
  if (positions == PositionInput::Present) {
    graph.add_input("position_ids", OnnxType::Int64, {kBatch, kLength});
  }
  for (std::int64_t block = 0; block < context.config().num_blocks(); ++block) {
    for (const char* what : {"key", "value"}) {
      graph.add_input(past_name(block, what), OnnxType::Float,
                      cache_dims(context, block, kPastLength));
    }
  }
}

void add_outputs(ExportContext& context) {
  GraphBuilder& graph = context.graph;
  graph.add_output("logits", OnnxType::Float, {kBatch, kLength, context.config().vocab_size});
  for (std::int64_t block = 0; block < context.config().num_blocks(); ++block) {
    for (const char* what : {"key", "value"}) {
      graph.add_output(present_name(block, what), OnnxType::Float,
                       cache_dims(context, block, kTotalLength));
    }
  }
}

RotaryTables add_rotary_tables(ExportContext& context) {
  const std::vector<double> frequencies = rope_inverse_frequencies(context.config());
  const auto add = [&](const char* name, double (*function)(double)) {
    return context.graph.add(
        Initializer{.name = name,
                    .type = OnnxType::Float,
                    .dims = {context.context_length, std::ssize(frequencies)},
                    .source = rotary_table(frequencies, context.context_length, function)});
  };
  return {.cos = add("cos_cache", std::cos), .sin = add("sin_cache", std::sin)};
}

std::string add_norm_weight(ExportContext& context, const std::string& module) {
  const std::string tensor = module + ".weight";
  return add_vector(context, tensor, context.model.vector(tensor), {module});
}

Linear block_linear(const ExportContext& context, std::int64_t block, LinearKind kind) {
  const std::string module = module_name({.block = block, .kind = kind});
  const std::string layer = concat("model.layers.", block, ".");
  const std::string own = module.substr(module.rfind('.') + 1);
  const bool in_mlp =
      kind == LinearKind::Gate || kind == LinearKind::Up || kind == LinearKind::Down;
  return {.name = concat(layer, in_mlp ? "mlp." : "attn.", own),
          .modules = {module},
          .has_bias = has_bias(context.config(), kind)};
}

std::string add_mlp(ExportContext& context, std::int64_t block, const std::string& x) {
  GraphBuilder& graph = context.graph;
  const std::string path = concat("/model/layers.", block, "/mlp");
  const std::string gate = add_linear(context, x, block_linear(context, block, LinearKind::Gate));
  const std::string up = add_linear(context, x, block_linear(context, block, LinearKind::Up));
  const std::string sigmoid =
      graph.add({.name = path + "/act_fn/Sigmoid", .op = "Sigmoid", .inputs = {gate}});
  const std::string silu =
      graph.add({.name = path + "/act_fn/Mul", .op = "Mul", .inputs = {gate, sigmoid}});
  const std::string product = graph.add({.name = path + "/Mul", .op = "Mul", .inputs = {silu, up}});
  return add_linear(context, product, block_linear(context, block, LinearKind::Down));
}

}  // namespace edgecompress
