#include <cmath>

#include "base/error.h"
#include "onnx_export/embedding.h"
#include "onnx_export/llama_graph.h"

namespace edgecompress {
namespace {

// Far below any score, and finite, so that a row of pads gets equal weights and not NaN.
constexpr float kMaskedScore = -1e30F;

/// Values that every block reads.
struct SharedValues {
  std::string mask;  ///< BOOL [batch, 1, length, total]: true where a query may look
  std::string cos;   ///< F32 [batch, 1, length, head_dim / 2]
  std::string sin;
};

std::string size_of_axis_1(GraphBuilder& graph, const std::string& path, const std::string& x) {
  const std::string shape = graph.add({.name = path + "/Shape", .op = "Shape", .inputs = {x}});
  return graph.add({.name = path + "/Gather",
                    .op = "Gather",
                    .inputs = {shape, graph.int64_scalar(1)},
                    .attributes = {{"axis", std::int64_t{0}}}});
}

/// Causal by slots of the cache, not by position_ids: pads lie between the slots of a padded batch,
/// and positions do not count them.
std::string add_mask(GraphBuilder& graph) {
  const std::string path = "/model/mask";
  const std::string total = size_of_axis_1(graph, path + "/total", "attention_mask");
  const std::string length = size_of_axis_1(graph, path + "/length", "input_ids");
  const std::string zero = graph.int64_scalar(0);
  const std::string one = graph.int64_scalar(1);
  const std::string key_slots =
      graph.add({.name = path + "/key/Range", .op = "Range", .inputs = {zero, total, one}});
  const std::string first =
      graph.add({.name = path + "/query/Sub", .op = "Sub", .inputs = {total, length}});
  const std::string query_slots =
      graph.add({.name = path + "/query/Range", .op = "Range", .inputs = {first, total, one}});
  const std::string query_rows = graph.add({.name = path + "/query/Unsqueeze",
                                            .op = "Unsqueeze",
                                            .inputs = {query_slots, graph.int64_vector({1})}});
  const std::string causal = graph.add({.name = path + "/LessOrEqual",
                                        .op = "LessOrEqual",
                                        .inputs = {key_slots, query_rows}});  // [length, total]
  const std::string valid =
      graph.add({.name = path + "/valid/Cast",
                 .op = "Cast",
                 .inputs = {"attention_mask"},
                 .attributes = {{"to", static_cast<std::int64_t>(OnnxType::Bool)}}});
  const std::string valid_keys = graph.add({.name = path + "/valid/Unsqueeze",
                                            .op = "Unsqueeze",
                                            .inputs = {valid, graph.int64_vector({1, 2})}});
  return graph.add({.name = path + "/And", .op = "And", .inputs = {causal, valid_keys}});
}

std::string add_rotary_rows(GraphBuilder& graph, const std::string& table) {
  const std::string path = "/model/rotary/" + table;
  const std::string rows =
      graph.add({.name = path + "/Gather", .op = "Gather", .inputs = {table, "position_ids"}});
  return graph.add(
      {.name = path + "/Unsqueeze", .op = "Unsqueeze", .inputs = {rows, graph.int64_vector({1})}});
}

/// x / sqrt(mean(x^2) + epsilon) * weight. Pow, not Mul(x, x): ONNX Runtime fuses only that form.
std::string add_rms_norm(ExportContext& context, const std::string& path, const std::string& x,
                         const std::string& module) {
  GraphBuilder& graph = context.graph;
  const auto epsilon = static_cast<float>(context.config().rms_norm_eps);
  const std::string square =
      graph.add({.name = path + "/Pow", .op = "Pow", .inputs = {x, graph.float_scalar(2)}});
  const std::string mean = graph.add({.name = path + "/ReduceMean",
                                      .op = "ReduceMean",
                                      .inputs = {square, graph.int64_vector({-1})},
                                      .attributes = {{"keepdims", std::int64_t{1}}}});
  const std::string shifted = graph.add(
      {.name = path + "/Add", .op = "Add", .inputs = {mean, graph.float_scalar(epsilon)}});
  const std::string root = graph.add({.name = path + "/Sqrt", .op = "Sqrt", .inputs = {shifted}});
  const std::string unit = graph.add({.name = path + "/Div", .op = "Div", .inputs = {x, root}});
  return graph.add(
      {.name = path + "/Mul", .op = "Mul", .inputs = {unit, add_norm_weight(context, module)}});
}

struct StandardBlock {
  ExportContext& context;
  const SharedValues& shared;
  std::int64_t index;

  GraphBuilder& graph() const { return context.graph; }
  std::string path() const { return concat("/model/layers.", index); }
  std::string attention_path() const { return path() + "/attn"; }
  std::int64_t heads() const { return shape().num_attention_heads; }
  std::int64_t key_value_heads() const { return shape().num_key_value_heads; }
  const BlockShape& shape() const {
    return context.config().blocks[static_cast<std::size_t>(index)];
  }
};

std::string add_transpose(GraphBuilder& graph, const std::string& path, const std::string& x,
                          std::vector<std::int64_t> order) {
  return graph.add({.name = path + "/Transpose",
                    .op = "Transpose",
                    .inputs = {x},
                    .attributes = {{"perm", std::move(order)}}});
}

std::string add_reshape(GraphBuilder& graph, const std::string& path, const std::string& x,
                        const std::vector<std::int64_t>& dims) {
  return graph.add(
      {.name = path + "/Reshape", .op = "Reshape", .inputs = {x, graph.int64_vector(dims)}});
}

/// [batch, length, heads * head_dim] -> [batch, heads, length, head_dim]
std::string split_heads(const StandardBlock& block, const std::string& name, const std::string& x,
                        std::int64_t heads) {
  const std::string path = concat(block.attention_path(), "/", name);
  const std::string split =
      add_reshape(block.graph(), path, x, {0, 0, heads, block.context.config().head_dim});
  return add_transpose(block.graph(), path, split, {0, 2, 1, 3});
}

/// Rotates the halves of each head against each other (Hugging Face's layout).
std::string add_rotation(const StandardBlock& block, const std::string& name,
                         const std::string& x) {
  GraphBuilder& graph = block.graph();
  const std::string path = concat(block.attention_path(), "/", name, "/rotary");
  const std::string a = path + "/Split/output_0";
  const std::string b = path + "/Split/output_1";
  graph.add({.name = path + "/Split",
             .op = "Split",
             .inputs = {x},
             .attributes = {{"axis", std::int64_t{-1}}, {"num_outputs", std::int64_t{2}}},
             .outputs = {a, b}});
  const auto product = [&](const char* which, const std::string& half, const std::string& table) {
    return graph.add(
        {.name = concat(path, "/", which, "/Mul"), .op = "Mul", .inputs = {half, table}});
  };
  const std::string first = graph.add(
      {.name = path + "/Sub",
       .op = "Sub",
       .inputs = {product("a_cos", a, block.shared.cos), product("b_sin", b, block.shared.sin)}});
  const std::string second = graph.add(
      {.name = path + "/Add",
       .op = "Add",
       .inputs = {product("b_cos", b, block.shared.cos), product("a_sin", a, block.shared.sin)}});
  return graph.add({.name = path + "/Concat",
                    .op = "Concat",
                    .inputs = {first, second},
                    .attributes = {{"axis", std::int64_t{-1}}}});
}

/// The cache with this step's keys or values behind it; the graph's output "present".
std::string add_to_cache(const StandardBlock& block, const char* what, const std::string& x) {
  return block.graph().add({.name = concat(block.attention_path(), "/", what, "_cache/Concat"),
                            .op = "Concat",
                            .inputs = {past_name(block.index, what), x},
                            .attributes = {{"axis", std::int64_t{2}}},
                            .outputs = {present_name(block.index, what)}});
}

/// softmax(q k^T / sqrt(head_dim)) v. The queries of one key-value head are rows of one product, so
/// that no key or value is repeated.
std::string add_scores_and_context(const StandardBlock& block, const std::string& q,
                                   const std::string& keys, const std::string& values) {
  GraphBuilder& graph = block.graph();
  const std::string path = block.attention_path();
  const std::int64_t head_dim = block.context.config().head_dim;
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  const std::string scaled = graph.add(
      {.name = path + "/scale/Mul", .op = "Mul", .inputs = {q, graph.float_scalar(scale)}});
  const std::string queries =
      add_reshape(graph, path + "/queries", scaled, {0, block.key_value_heads(), -1, head_dim});
  const std::string turned = add_transpose(graph, path + "/keys", keys, {0, 1, 3, 2});
  const std::string scores =
      graph.add({.name = path + "/scores/MatMul", .op = "MatMul", .inputs = {queries, turned}});
  const std::string by_head =
      add_reshape(graph, path + "/scores", scores, {0, block.heads(), -1, 0});
  const std::string masked =
      graph.add({.name = path + "/Where",
                 .op = "Where",
                 .inputs = {block.shared.mask, by_head, graph.float_scalar(kMaskedScore)}});
  const std::string weights = graph.add({.name = path + "/Softmax",
                                         .op = "Softmax",
                                         .inputs = {masked},
                                         .attributes = {{"axis", std::int64_t{-1}}}});
  const std::string grouped =
      add_reshape(graph, path + "/weights", weights, {0, block.key_value_heads(), -1, 0});
  const std::string seen =
      graph.add({.name = path + "/context/MatMul", .op = "MatMul", .inputs = {grouped, values}});
  const std::string heads =
      add_reshape(graph, path + "/context", seen, {0, block.heads(), -1, head_dim});
  const std::string rows = add_transpose(graph, path + "/context", heads, {0, 2, 1, 3});
  return add_reshape(graph, path + "/rows", rows, {0, 0, block.heads() * head_dim});
}

std::string add_attention(const StandardBlock& block, const std::string& x) {
  ExportContext& context = block.context;
  const auto project = [&](LinearKind kind, const char* name, std::int64_t heads) {
    return split_heads(block, name,
                       add_linear(context, x, block_linear(context, block.index, kind)), heads);
  };
  const std::string q = add_rotation(block, "q", project(LinearKind::Q, "q", block.heads()));
  const std::string k =
      add_rotation(block, "k", project(LinearKind::K, "k", block.key_value_heads()));
  const std::string v = project(LinearKind::V, "v", block.key_value_heads());
  const std::string keys = add_to_cache(block, "key", k);
  const std::string values = add_to_cache(block, "value", v);
  return add_linear(context, add_scores_and_context(block, q, keys, values),
                    block_linear(context, block.index, LinearKind::O));
}

}  // namespace

void build_standard_graph(ExportContext& context) {
  GraphBuilder& graph = context.graph;
  add_inputs(context, PositionInput::Present);
  const RotaryTables tables = add_rotary_tables(context);
  const SharedValues shared{.mask = add_mask(graph),
                            .cos = add_rotary_rows(graph, tables.cos),
                            .sin = add_rotary_rows(graph, tables.sin)};
  const auto add_residual = [&](const std::string& path, const std::string& x,
                                const std::string& change) {
    return graph.add({.name = path + "/residual/Add", .op = "Add", .inputs = {x, change}});
  };
  std::string x = add_embedding(context);
  for (std::int64_t index = 0; index < context.config().num_blocks(); ++index) {
    const StandardBlock block{context, shared, index};
    const std::string normed =
        add_rms_norm(context, block.path() + "/input_layernorm", x, input_norm_module(index));
    x = add_residual(block.attention_path(), x, add_attention(block, normed));
    const std::string mlp_input = add_rms_norm(context, block.path() + "/post_attention_layernorm",
                                               x, post_attention_norm_module(index));
    x = add_residual(block.path() + "/mlp", x, add_mlp(context, index, mlp_input));
  }
  add_head(context, add_rms_norm(context, "/model/norm", x, std::string(kFinalNormModule)));
  add_outputs(context);
}

}  // namespace edgecompress
