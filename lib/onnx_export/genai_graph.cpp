#include <cmath>

#include "base/checked_math.h"
#include "base/error.h"
#include "onnx_export/embedding.h"
#include "onnx_export/llama_graph.h"

namespace edgecompress {
namespace {

// GroupQueryAttention refuses at run time to rotate heads of any other size than a multiple of the
// first, and to take heads of any other size than a multiple of the second.
constexpr std::int64_t kRotaryHeadMultiple = 16;
constexpr std::int64_t kHeadMultiple = 8;

/// What GroupQueryAttention wants to know about the mask.
struct SequenceLengths {
  std::string last_position;  ///< I32 [batch]: valid tokens minus one
  std::string total;          ///< I32 scalar: length of the longest sequence
};

SequenceLengths add_sequence_lengths(GraphBuilder& graph) {
  const std::string path = "/model/attn_mask_reformat/attn_mask_subgraph";
  const auto to_int32 = [&](const std::string& name, const std::string& x) {
    return graph.add({.name = name,
                      .op = "Cast",
                      .inputs = {x},
                      .attributes = {{"to", static_cast<std::int64_t>(OnnxType::Int32)}}});
  };
  const std::string one = graph.int64_vector({1});
  const std::string valid = graph.add({.name = path + "/ReduceSum",
                                       .op = "ReduceSum",
                                       .inputs = {"attention_mask", one},
                                       .attributes = {{"keepdims", std::int64_t{0}}}});
  const std::string last = graph.add({.name = path + "/Sub", .op = "Sub", .inputs = {valid, one}});
  const std::string shape =
      graph.add({.name = path + "/Shape", .op = "Shape", .inputs = {"attention_mask"}});
  const std::string total = graph.add({.name = path + "/Gather",
                                       .op = "Gather",
                                       .inputs = {shape, graph.int64_scalar(1)},
                                       .attributes = {{"axis", std::int64_t{0}}}});
  return {.last_position = to_int32(path + "/Sub/Cast", last),
          .total = to_int32(path + "/Gather/Cast", total)};
}

struct GenaiBlock {
  ExportContext& context;
  const RotaryTables& rotary;
  const SequenceLengths& lengths;
  std::int64_t index;

  std::string path() const { return concat("/model/layers.", index); }
  const BlockShape& shape() const {
    return context.config().blocks[static_cast<std::size_t>(index)];
  }
};

std::string add_rotary_operator(const GenaiBlock& block, const std::string& name,
                                const std::string& x) {
  return block.context.graph.add_contrib(
      {.name = concat(block.path(), "/attn/", name, "/RotaryEmbedding"),
       .op = "RotaryEmbedding",
       .inputs = {x, "position_ids", block.rotary.cos, block.rotary.sin},
       .attributes = {{"interleaved", std::int64_t{0}}, {"num_heads", std::int64_t{0}}}});
}

std::string add_reshape(const GenaiBlock& block, const std::string& path, const std::string& x,
                        const std::vector<std::int64_t>& dims) {
  GraphBuilder& graph = block.context.graph;
  return graph.add(
      {.name = path + "/Reshape", .op = "Reshape", .inputs = {x, graph.int64_vector(dims)}});
}

/// [batch, length, heads * head_dim] with zeros behind each head up to the size of the cache.
std::string pad_heads(const GenaiBlock& block, const std::string& name, const std::string& x,
                      std::int64_t heads) {
  GraphBuilder& graph = block.context.graph;
  const std::int64_t head_dim = block.context.config().head_dim;
  const std::int64_t padded = block.context.cache_head_dim;
  if (padded == head_dim) return x;
  const std::string path = concat(block.path(), "/attn/", name);
  const std::string split = add_reshape(block, path + "/split", x, {0, 0, heads, head_dim});
  const std::string wide =
      graph.add({.name = path + "/Pad",
                 .op = "Pad",
                 .inputs = {split, graph.int64_vector({0, 0, 0, 0, 0, 0, 0, padded - head_dim})}});
  return add_reshape(block, path + "/join", wide, {0, 0, heads * padded});
}

/// The inverse of pad_heads.
std::string cut_heads(const GenaiBlock& block, const std::string& x, std::int64_t heads) {
  GraphBuilder& graph = block.context.graph;
  const std::int64_t head_dim = block.context.config().head_dim;
  const std::int64_t padded = block.context.cache_head_dim;
  if (padded == head_dim) return x;
  const std::string path = block.path() + "/attn/cut";
  const std::string split = add_reshape(block, path + "/split", x, {0, 0, heads, padded});
  const std::string narrow =
      graph.add({.name = path + "/Slice",
                 .op = "Slice",
                 .inputs = {split, graph.int64_vector({0}), graph.int64_vector({head_dim}),
                            graph.int64_vector({-1})}});
  return add_reshape(block, path + "/join", narrow, {0, 0, heads * head_dim});
}

/// query, key and value as GroupQueryAttention takes them: packed in the first, or separate.
std::vector<std::string> add_qkv(const GenaiBlock& block, const std::string& x) {
  ExportContext& context = block.context;
  const bool outside = genai_position_input(context.config()) == PositionInput::Present;
  std::vector<Linear> parts;
  std::vector<std::string> modules;
  for (const LinearKind kind : {LinearKind::Q, LinearKind::K, LinearKind::V}) {
    parts.push_back(block_linear(context, block.index, kind));
    modules.push_back(parts.back().modules.front());
  }
  if (!outside && can_stack(context, modules)) {
    const Linear packed{.name = concat("model.layers.", block.index, ".attn.qkv_proj"),
                        .modules = modules,
                        .has_bias = parts.front().has_bias};
    return {add_linear(context, x, packed), "", ""};
  }
  std::vector<std::string> values;
  values.reserve(parts.size());
  for (const Linear& part : parts) values.push_back(add_linear(context, x, part));
  if (outside) {
    values[0] = add_rotary_operator(block, "q_rotary", values[0]);
    values[1] = add_rotary_operator(block, "k_rotary", values[1]);
    values[0] = pad_heads(block, "q_pad", values[0], block.shape().num_attention_heads);
    values[1] = pad_heads(block, "k_pad", values[1], block.shape().num_key_value_heads);
    values[2] = pad_heads(block, "v_pad", values[2], block.shape().num_key_value_heads);
  }
  return values;
}

std::string add_attention(const GenaiBlock& block, const std::string& x) {
  ExportContext& context = block.context;
  const LlamaConfig& config = context.config();
  const bool inside = genai_position_input(config) == PositionInput::Absent;
  // The builder's later releases name twelve inputs; ONNX Runtime before 1.23 does not load those.
  std::vector<std::string> inputs = add_qkv(block, x);
  inputs.insert(inputs.end(), {past_name(block.index, "key"), past_name(block.index, "value"),
                               block.lengths.last_position, block.lengths.total});
  if (inside) inputs.insert(inputs.end(), {block.rotary.cos, block.rotary.sin});
  const std::string name = block.path() + "/attn/GroupQueryAttention";
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(config.head_dim)));
  const std::string attention =
      context.graph.add_contrib({.name = name,
                                 .op = "GroupQueryAttention",
                                 .inputs = std::move(inputs),
                                 .attributes = {{"num_heads", block.shape().num_attention_heads},
                                                {"kv_num_heads", block.shape().num_key_value_heads},
                                                {"scale", scale},
                                                {"do_rotary", std::int64_t{inside ? 1 : 0}},
                                                {"rotary_interleaved", std::int64_t{0}}},
                                 .outputs = {name + "/output_0", present_name(block.index, "key"),
                                             present_name(block.index, "value")}});
  return add_linear(context, cut_heads(block, attention, block.shape().num_attention_heads),
                    block_linear(context, block.index, LinearKind::O));
}

float norm_epsilon(const ExportContext& context) {
  return static_cast<float>(context.config().rms_norm_eps);
}

/// A norm of x + skip, and that sum.
struct SkipNorm {
  std::string normed;
  std::string sum;
};

SkipNorm add_skip_norm(ExportContext& context, const std::string& path, const std::string& x,
                       const std::string& skip, const std::string& module) {
  const std::string name = path + "/SkipLayerNorm";
  SkipNorm out{.normed = name + "/output_0", .sum = name + "/output_3"};
  context.graph.add_contrib({.name = name,
                             .op = "SkipSimplifiedLayerNormalization",
                             .inputs = {x, skip, add_norm_weight(context, module)},
                             .attributes = {{"epsilon", norm_epsilon(context)}},
                             .outputs = {out.normed, "", "", out.sum}});
  return out;
}

std::string add_first_norm(ExportContext& context, const std::string& x) {
  return context.graph.add({.name = "/model/layers.0/input_layernorm/LayerNorm",
                            .op = "SimplifiedLayerNormalization",
                            .inputs = {x, add_norm_weight(context, input_norm_module(0))},
                            .attributes = {{"axis", std::int64_t{-1}},
                                           {"epsilon", norm_epsilon(context)},
                                           {"stash_type", std::int64_t{1}}}});
}

}  // namespace

PositionInput genai_position_input(const LlamaConfig& config) {
  return config.head_dim % kRotaryHeadMultiple == 0 ? PositionInput::Absent
                                                    : PositionInput::Present;
}

std::int64_t genai_cache_head_dim(const LlamaConfig& config) {
  return round_up(config.head_dim, kHeadMultiple);
}

void build_genai_graph(ExportContext& context) {
  const LlamaConfig& config = context.config();
  add_inputs(context, genai_position_input(config));
  const SequenceLengths lengths = add_sequence_lengths(context.graph);
  const RotaryTables rotary = add_rotary_tables(context);
  SkipNorm state{.normed = "", .sum = add_embedding(context)};
  std::string mlp;
  for (std::int64_t index = 0; index < config.num_blocks(); ++index) {
    const GenaiBlock block{context, rotary, lengths, index};
    if (index == 0) {
      state.normed = add_first_norm(context, state.sum);
    } else {
      state = add_skip_norm(context, block.path() + "/input_layernorm", state.sum, mlp,
                            input_norm_module(index));
    }
    const std::string attention = add_attention(block, state.normed);
    state = add_skip_norm(context, block.path() + "/post_attention_layernorm", state.sum, attention,
                          post_attention_norm_module(index));
    mlp = add_mlp(context, index, state.normed);
  }
  const std::string final_norm = context.graph.add_contrib(
      {.name = "/model/norm/SkipLayerNorm",
       .op = "SkipSimplifiedLayerNormalization",
       .inputs = {state.sum, mlp, add_norm_weight(context, std::string(kFinalNormModule))},
       .attributes = {{"epsilon", norm_epsilon(context)}}});
  add_head(context, final_norm);
  add_outputs(context);
}

}  // namespace edgecompress
