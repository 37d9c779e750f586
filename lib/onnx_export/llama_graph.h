#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnx_export/export_context.h"
#include "onnx_export/linear.h"

namespace edgecompress {

/// Whether the graph has the input position_ids.
enum class PositionInput { Absent, Present };

/// The decoder of onnxruntime-genai: com.microsoft operators, key-value cache inside
/// GroupQueryAttention.
///
/// Rotary embedding runs inside GroupQueryAttention when head_dim is a multiple of 16, which that
/// needs. Otherwise it is an operator of its own before it, q, k and v are separate products, and
/// the graph takes position_ids. That is exact for every grid; padding the weights' heads with
/// zeros would move the group borders of a quantized o_proj. GroupQueryAttention needs a multiple
/// of 8 in any case: other heads get zeros behind their values on the way in, and lose them on the
/// way out.
void build_genai_graph(ExportContext& context);
PositionInput genai_position_input(const LlamaConfig& config);
std::int64_t genai_cache_head_dim(const LlamaConfig& config);

/// The same decoder of ONNX operators only, opset 21.
void build_standard_graph(ExportContext& context);

// What both have in common.

std::string past_name(std::int64_t block, const char* what);     ///< "past_key_values.3.key"
std::string present_name(std::int64_t block, const char* what);  ///< "present.3.key"

void add_inputs(ExportContext& context, PositionInput positions);
void add_outputs(ExportContext& context);

/// Tables [context_length, head_dim / 2] of the rotary embedding, computed in double and rounded
/// once.
struct RotaryTables {
  std::string cos;
  std::string sin;
};
RotaryTables add_rotary_tables(ExportContext& context);

/// A norm's weight.
std::string add_norm_weight(ExportContext& context, const std::string& module);

/// The linear layer of `block` under the builder's name ("model.layers.0.attn.q_proj").
Linear block_linear(const ExportContext& context, std::int64_t block, LinearKind kind);

/// down(silu(gate(x)) * up(x))
std::string add_mlp(ExportContext& context, std::int64_t block, const std::string& x);

}  // namespace edgecompress
