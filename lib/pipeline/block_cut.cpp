#include "pipeline/block_cut.h"

#include <optional>

#include "calibrate/layer_inputs.h"
#include "methods/method_names.h"
#include "pipeline/layer_steps.h"
#include "prune/least_squares.h"
#include "prune/obs_columns.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr double kDamping = 0.01;

at::Tensor index_tensor(const std::vector<std::int64_t>& indices) {
  return at::tensor(indices, at::kLong);
}

/// Rows (or columns) of the elements of the kept units, each `width` elements wide.
at::Tensor element_index(const std::vector<std::int64_t>& units, std::int64_t width) {
  return (index_tensor(units).unsqueeze(1) * width + at::arange(width, at::kLong)).flatten();
}

std::vector<std::int64_t> as_vector(const at::Tensor& indices) {
  const at::Tensor contiguous = indices.contiguous();
  const std::int64_t* const data = contiguous.data_ptr<std::int64_t>();
  return {data, data + contiguous.numel()};
}

/// The columns of a matrix that writes to the residual stream, in units that go together.
struct OutputColumns {
  const at::Tensor& weight;  ///< [hidden_size, units * unit_width]
  std::int64_t unit_width;
  std::int64_t units_kept;
};

/// What stays of such a matrix.
struct KeptOutput {
  std::vector<std::int64_t> units;
  at::Tensor weight;  ///< [hidden_size, kept columns]
};

/// Selects by scores, then solves for the dense outputs when asked to.
KeptOutput keep_by_scores(const OutputColumns& columns, const at::Tensor& scores,
                          const LayerInputs* inputs, CutRepair repair,
                          std::vector<std::string>& fallbacks) {
  KeptOutput kept{.units = keep_largest(scores, columns.units_kept), .weight = {}};
  const at::Tensor index = element_index(kept.units, columns.unit_width);
  kept.weight = columns.weight.index_select(1, index);
  if (repair == CutRepair::None) return kept;
  if (const auto solved =
          least_squares_columns(columns.weight, inputs->hessian, as_vector(index), kDamping)) {
    kept.weight = *solved;
  } else {
    fallbacks.emplace_back("no repair of a cut: the Hessian cannot be inverted");
  }
  return kept;
}

/// Removes by output error, which repairs on the way. Returns nothing when that is impossible.
std::optional<KeptOutput> keep_by_output_error(const OutputColumns& columns,
                                               const LayerInputs& inputs) {
  const std::int64_t units = columns.weight.size(1) / columns.unit_width;
  auto kept = remove_columns_obs(columns.weight, inputs.hessian, columns.unit_width,
                                 units - columns.units_kept, kDamping);
  if (!kept) return std::nullopt;
  // Once more on the final support: the greedy updates carry their rounding along.
  const at::Tensor index = element_index(kept->groups, columns.unit_width);
  const auto solved =
      least_squares_columns(columns.weight, inputs.hessian, as_vector(index), kDamping);
  return KeptOutput{.units = kept->groups, .weight = solved ? *solved : kept->weight};
}

class BlockPruner {
 public:
  BlockPruner(const BlockWeights& block, const CutTokens& tokens, const StructuredCut& cut,
              const CutWidths& widths)
      : block_(block), tokens_(tokens), cut_(cut), widths_(widths) {}

  CutResult run(DType dtype) {
    const KeptOutput heads = keep_heads();
    const KeptOutput channels = keep_channels(heads);
    result_.block = cut_block(block_, {.kv_groups = heads.units, .channels = channels.units});
    result_.block.weight(LinearKind::O) = rounded_to(heads.weight, dtype).contiguous();
    result_.block.weight(LinearKind::Down) = rounded_to(channels.weight, dtype).contiguous();
    return std::move(result_);
  }

 private:
  std::int64_t group_width() const {
    return block_.head_dim * block_.shape.num_attention_heads / block_.shape.num_key_value_heads;
  }

  /// Gathers what the layer reads and, when asked to, solves it for the dense hidden states.
  std::optional<LayerInputs> gather(LinearKind kind) {
    const CalibrationNeed need = calibration_need(cut_);
    if (need == CalibrationNeed::None) return std::nullopt;
    if (cut_.repair == CutRepair::DenseOutputs) return gather_beside_dense(kind);
    return gather_inputs(
        *tokens_.block, input_group(kind), block_,
        need == CalibrationNeed::Hessian ? InputDetail::Hessian : InputDetail::Norms);
  }

  LayerInputs gather_beside_dense(LinearKind kind) {
    const ReferencedInputs found = tokens_.dense->gather(*tokens_.block, input_group(kind), block_);
    const at::Tensor wanted = wanted_outputs(tokens_.dense->block().weight(kind), found.dense);
    if (const auto solved = least_squares_for_outputs(block_.weight(kind), found.inputs.hessian,
                                                      wanted, kDamping)) {
      block_.weight(kind) = *solved;
    } else {
      result_.fallbacks.emplace_back(
          "least-squares instead of dense-outputs: the Hessian cannot be "
          "inverted");
    }
    return found.inputs;
  }

  const at::Tensor& norm_of(const LayerInputs& inputs) const {
    return std::holds_alternative<FluctuationScore>(cut_.score) ? inputs.deviation : inputs.norm;
  }

  KeptOutput keep(const OutputColumns& columns, const std::optional<LayerInputs>& inputs,
                  const std::function<at::Tensor(const StructuredScore&)>& scores) {
    if (std::holds_alternative<OutputErrorScore>(cut_.score)) {
      if (auto kept = keep_by_output_error(columns, *inputs)) return *kept;
      result_.fallbacks.emplace_back(
          "activation scores instead of output-error: the Hessian cannot be inverted");
      return keep_by_scores(columns, scores(ActivationScore{}), nullptr, CutRepair::None,
                            result_.fallbacks);
    }
    return keep_by_scores(columns, scores(cut_.score), inputs ? &*inputs : nullptr, cut_.repair,
                          result_.fallbacks);
  }

  BlockMatrices matrices() const {
    return {.q = block_.weight(LinearKind::Q),
            .k = block_.weight(LinearKind::K),
            .v = block_.weight(LinearKind::V),
            .o = block_.weight(LinearKind::O),
            .gate = block_.weight(LinearKind::Gate),
            .up = block_.weight(LinearKind::Up),
            .down = block_.weight(LinearKind::Down)};
  }

  KeptOutput keep_heads() {
    const auto inputs = gather(LinearKind::O);
    const BlockInputNorms norms{.o = inputs ? norm_of(*inputs) : at::Tensor(), .down = {}};
    return keep({.weight = block_.weight(LinearKind::O),
                 .unit_width = group_width(),
                 .units_kept = widths_.num_key_value_heads},
                inputs, [&](const StructuredScore& score) {
                  return kv_group_scores(matrices(), norms, block_.head_dim, score);
                });
  }

  KeptOutput keep_channels(const KeptOutput& heads) {
    if (calibration_need(cut_) != CalibrationNeed::None) {
      tokens_.block->show(InputGroup::GateUp, behind_cut_attention(heads),
                          [](const at::Tensor&) {});
      if (cut_.repair == CutRepair::DenseOutputs) tokens_.dense->skip(InputGroup::GateUp);
    }
    const auto inputs = gather(LinearKind::Down);
    const BlockInputNorms norms{.o = {}, .down = inputs ? norm_of(*inputs) : at::Tensor()};
    return keep({.weight = block_.weight(LinearKind::Down),
                 .unit_width = 1,
                 .units_kept = widths_.intermediate_size},
                inputs, [&](const StructuredScore& score) {
                  return channel_scores(matrices(), norms, score);
                });
  }

  /// The block with o_proj as after the cut, but as wide as before: zeros where heads are gone.
  BlockWeights behind_cut_attention(const KeptOutput& heads) const {
    BlockWeights block = block_;
    at::Tensor wide = at::zeros_like(block_.weight(LinearKind::O));
    wide.index_copy_(1, element_index(heads.units, group_width()), heads.weight);
    block.weight(LinearKind::O) = wide;
    return block;
  }

  BlockWeights block_;  // uncut; o and down as solved for the dense model
  const CutTokens tokens_;
  const StructuredCut& cut_;
  const CutWidths& widths_;
  CutResult result_;
};

}  // namespace

BlockWeights cut_block(const BlockWeights& block, const KeptParts& kept) {
  const std::int64_t queries_per_group =
      block.shape.num_attention_heads / block.shape.num_key_value_heads;
  const at::Tensor kv_rows = element_index(kept.kv_groups, block.head_dim);
  const at::Tensor q_rows = element_index(kept.kv_groups, block.head_dim * queries_per_group);
  const at::Tensor channels = index_tensor(kept.channels);

  BlockWeights cut = block;
  const auto cut_rows = [&](LinearKind kind, const at::Tensor& rows) {
    cut.weight(kind) = block.weight(kind).index_select(0, rows);
    if (block.bias(kind).defined()) cut.bias(kind) = block.bias(kind).index_select(0, rows);
  };
  cut_rows(LinearKind::Q, q_rows);
  cut_rows(LinearKind::K, kv_rows);
  cut_rows(LinearKind::V, kv_rows);
  cut_rows(LinearKind::Gate, channels);
  cut_rows(LinearKind::Up, channels);
  cut.weight(LinearKind::O) = block.weight(LinearKind::O).index_select(1, q_rows);
  cut.weight(LinearKind::Down) = block.weight(LinearKind::Down).index_select(1, channels);

  const auto groups = static_cast<std::int64_t>(kept.kv_groups.size());
  cut.shape = {.num_attention_heads = groups * queries_per_group,
               .num_key_value_heads = groups,
               .intermediate_size = static_cast<std::int64_t>(kept.channels.size())};
  return cut;
}

CutResult prune_block(const BlockWeights& block, const CutTokens& tokens, const StructuredCut& cut,
                      const CutWidths& widths, DType dtype) {
  return BlockPruner(block, tokens, cut, widths).run(dtype);
}

}  // namespace edgecompress
