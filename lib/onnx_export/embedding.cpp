#include "onnx_export/embedding.h"

#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "onnx_export/linear.h"

namespace edgecompress {
namespace {

const std::string kEmbedding{kEmbeddingModule};
const std::string kHead{kHeadModule};
const std::string kTable = kEmbedding + ".weight";
const std::string kPath = "/model/embed_tokens";
const std::string kInputIds = "input_ids";
const std::string kLogits = "logits";

bool groups_divide(const StackedMatrix& matrix) {
  return matrix.columns() % matrix.scheme().group_length(matrix.columns()) == 0;
}

std::string add_gather(ExportContext& context, Initializer table) {
  const std::string name = context.graph.add(std::move(table));
  return context.graph.add(
      {.name = kPath + "/Gather", .op = "Gather", .inputs = {name, kInputIds}});
}

std::string add_float_table(ExportContext& context, const StackedMatrix& matrix) {
  return add_gather(context, {.name = kTable,
                              .type = OnnxType::Float,
                              .dims = {matrix.rows(), matrix.columns()},
                              .source = row_floats(matrix, context.num_threads),
                              .modules = {kEmbedding}});
}

/// A table stored in 16 bits stays so: the gathered rows become floats, exactly.
std::string add_half_table(ExportContext& context, const TensorEntry& values) {
  const std::string rows = add_gather(
      context, {.name = kTable,
                .type = values.dtype == DType::F16 ? OnnxType::Float16 : OnnxType::Bfloat16,
                .dims = values.shape,
                .source = [bytes = values.bytes](const ByteSink& sink) { sink(bytes); },
                .modules = {kEmbedding}});
  return context.graph.add({.name = kPath + "/Cast",
                            .op = "Cast",
                            .inputs = {rows},
                            .attributes = {{"to", static_cast<std::int64_t>(OnnxType::Float)}}});
}

/// Gathers rows of I8 codes, and computes scale * (code - zero_point) group by group.
std::string add_code_rows(ExportContext& context, const StackedMatrix& matrix) {
  GraphBuilder& graph = context.graph;
  const QuantScheme& scheme = matrix.scheme();
  const std::int64_t groups = scheme.groups_per_row(matrix.columns());
  const auto gather = [&](const std::string& what, OnnxType type, std::int64_t width,
                          ByteSource source) {
    const std::string table = graph.add(Initializer{.name = concat(kTable, "_", what),
                                                    .type = type,
                                                    .dims = {matrix.rows(), width},
                                                    .source = std::move(source),
                                                    .modules = {kEmbedding}});
    return graph.add({.name = concat(kPath, "/", what, "/Gather"),
                      .op = "Gather",
                      .inputs = {table, kInputIds}});
  };
  const auto to_float = [&](const std::string& what, const std::string& x) {
    return graph.add({.name = concat(kPath, "/", what, "/Cast"),
                      .op = "Cast",
                      .inputs = {x},
                      .attributes = {{"to", static_cast<std::int64_t>(OnnxType::Float)}}});
  };
  // One scale per row broadcasts along the row; several need an axis of their own: [batch, length,
  // groups, 1].
  const auto per_group = [&](const std::string& what, const std::string& x) {
    if (groups == 1) return x;
    return graph.add({.name = concat(kPath, "/", what, "/Unsqueeze"),
                      .op = "Unsqueeze",
                      .inputs = {x, graph.int64_vector({-1})}});
  };
  const int threads = context.num_threads;
  std::string x = to_float(
      "codes", gather("codes", OnnxType::Int8, matrix.columns(), row_codes(matrix, threads)));
  if (groups > 1) {
    x = graph.add({.name = kPath + "/groups/Reshape",
                   .op = "Reshape",
                   .inputs = {x, graph.int64_vector({0, 0, groups, matrix.columns() / groups})}});
  }
  if (scheme.symmetry == Symmetry::Asymmetric) {
    const std::string zeros = to_float("zero_points", gather("zero_points", OnnxType::Int8, groups,
                                                             group_zero_points(matrix, threads)));
    x = graph.add(
        {.name = kPath + "/Sub", .op = "Sub", .inputs = {x, per_group("zero_points", zeros)}});
  }
  const std::string scales =
      gather("scales", OnnxType::Float, groups, group_scales(matrix, threads));
  x = graph.add({.name = kPath + "/Mul", .op = "Mul", .inputs = {x, per_group("scales", scales)}});
  if (groups == 1) return x;
  return graph.add({.name = kPath + "/rows/Reshape",
                    .op = "Reshape",
                    .inputs = {x, graph.int64_vector({0, 0, matrix.columns()})}});
}

/// shared: whether the head's MatMulNBits stores the same bytes.
enum class Storage { Own, SharedWithHead };

std::string add_block_quantized(ExportContext& context, const StackedMatrix& matrix,
                                const BlockGrid& grid, Storage storage) {
  GraphBuilder& graph = context.graph;
  const QuantScheme& scheme = matrix.scheme();
  const int threads = context.num_threads;
  const bool shared = storage == Storage::SharedWithHead;
  const NbitsTensors head = nbits_tensor_names(kHead, scheme);
  const auto table = [&](const std::string& suffix, OnnxType type, std::int64_t width,
                         ByteSource source, const std::string& twin) {
    return graph.add(Initializer{.name = kTable + suffix,
                                 .type = type,
                                 .dims = {matrix.rows(), width},
                                 .source = std::move(source),
                                 .modules = {kEmbedding},
                                 .same_bytes_as = shared ? twin : ""});
  };
  std::vector<std::string> inputs;
  inputs.push_back(table(concat("_Q", scheme.bits), OnnxType::Uint8,
                         matrix.columns() * scheme.bits / 8, nbits_codes(matrix, grid, threads),
                         head.codes));
  inputs.push_back(kInputIds);
  inputs.push_back(table("_scales", OnnxType::Float, grid.blocks,
                         nbits_scales(matrix, grid, threads), head.scales));
  if (scheme.symmetry == Symmetry::Asymmetric) {
    inputs.push_back(table("_zp", OnnxType::Uint8, ceil_divide(grid.blocks * scheme.bits, 8),
                           nbits_zero_points(matrix, grid, threads), head.zero_points));
  }
  return graph.add_contrib({.name = kPath + "/GatherBlockQuantized",
                            .op = "GatherBlockQuantized",
                            .inputs = std::move(inputs),
                            .attributes = {{"bits", std::int64_t{scheme.bits}},
                                           {"block_size", grid.block},
                                           {"gather_axis", std::int64_t{0}},
                                           {"quantize_axis", std::int64_t{1}}}});
}

std::string add_widened_table(ExportContext& context, const StackedMatrix& matrix) {
  context.warnings.push_back(concat("the embedding is stored as 32-bit floats: its rows of ",
                                    matrix.columns(), " are not a multiple of the group size ",
                                    matrix.scheme().group_size));
  return add_float_table(context, matrix);
}

}  // namespace

std::string add_embedding(ExportContext& context) {
  const StackedMatrix matrix = context.matrix({kEmbedding});
  if (const auto* floats = std::get_if<FloatMatrix>(&matrix.parts.front())) {
    const bool keep = floats->values->dtype != DType::F32 && !context.model.head_is_embedding();
    return keep ? add_half_table(context, *floats->values) : add_float_table(context, matrix);
  }
  const bool one_scale = matrix.scheme().groups_per_row(matrix.columns()) == 1;
  if (context.operators == OperatorSet::Standard) {
    return groups_divide(matrix) ? add_code_rows(context, matrix)
                                 : add_widened_table(context, matrix);
  }
  const BlockGrid grid = nbits_grid(matrix.scheme(), matrix.columns(), kEmbedding);
  const bool blocks_divide = matrix.columns() % grid.block == 0;
  if (context.model.head_is_embedding() && blocks_divide) {
    return add_block_quantized(context, matrix, grid, Storage::SharedWithHead);
  }
  if (one_scale && (matrix.scheme().bits == 8 || !blocks_divide)) {
    return add_code_rows(context, matrix);
  }
  return blocks_divide ? add_block_quantized(context, matrix, grid, Storage::Own)
                       : add_widened_table(context, matrix);
}

void add_head(ExportContext& context, const std::string& x) {
  const StackedMatrix matrix = context.matrix({kHead});
  if (matrix.is_quantized() || !context.model.head_is_embedding()) {
    add_linear(context, x, {.name = kHead, .modules = {kHead}}, kLogits);
    return;
  }
  if (context.operators == OperatorSet::Contrib) {  // loads in a third of the time of a Transpose
    context.graph.add_contrib({.name = "/lm_head/MatMul",
                               .op = "FusedMatMul",
                               .inputs = {x, kTable},
                               .attributes = {{"transB", std::int64_t{1}}},
                               .outputs = {kLogits}});
    return;
  }
  const std::string weight =
      context.graph.add({.name = "/lm_head/Transpose",
                         .op = "Transpose",
                         .inputs = {kTable},
                         .attributes = {{"perm", std::vector<std::int64_t>{1, 0}}}});
  context.graph.add(
      {.name = "/lm_head/MatMul", .op = "MatMul", .inputs = {x, weight}, .outputs = {kLogits}});
}

}  // namespace edgecompress
