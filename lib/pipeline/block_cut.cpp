#include "pipeline/block_cut.h"

#include <functional>
#include <numeric>
#include <optional>

#include "base/error.h"
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
struct OutputUnits {
  at::Tensor weight;   ///< [hidden_size, units * width]
  at::Tensor hessian;  ///< [units * width, units * width] double; undefined for scores without one
  std::int64_t width;
  std::int64_t set;   ///< so many consecutive units are a set
  std::int64_t kept;  ///< units of each set
};

/// What stays of such a matrix.
struct KeptOutput {
  std::vector<std::int64_t> units;
  at::Tensor weight;  ///< [hidden_size, kept columns]
};

/// Scores of all units; asked only when no unit is removed by output error.
using UnitScores = std::function<at::Tensor(const StructuredScore&)>;

std::vector<std::int64_t> keep_by_scores(const OutputUnits& units, const at::Tensor& scores) {
  std::vector<std::int64_t> kept;
  for (std::int64_t begin = 0; begin < scores.size(0); begin += units.set) {
    for (const std::int64_t unit : keep_largest(scores.narrow(0, begin, units.set), units.kept)) {
      kept.push_back(begin + unit);
    }
  }
  return kept;
}

/// Whole units of a matrix with the Hessian of its inputs.
OutputUnits only_units(const OutputUnits& units, const std::vector<std::int64_t>& kept) {
  const at::Tensor index = element_index(kept, units.width);
  OutputUnits left = units;
  left.weight = units.weight.index_select(1, index);
  if (!units.hessian.defined()) return left;
  left.hessian = units.hessian.index_select(0, index).index_select(1, index).contiguous();
  if (const auto solved =
          least_squares_columns(units.weight, units.hessian, as_vector(index), kDamping)) {
    left.weight = *solved;
  }
  return left;
}

class BlockPruner {
 public:
  BlockPruner(const BlockWeights& block, const CutTokens& tokens, const StructuredCut& cut,
              const CutWidths& widths)
      : block_(block), tokens_(tokens), cut_(cut), widths_(widths) {}

  CutResult run(DType dtype) {
    const CutHeads heads = keep_heads();
    const KeptOutput channels = keep_channels(heads);
    result_.block = cut_block(block_, {.heads = heads.kept, .channels = channels.units});
    result_.block.weight(LinearKind::O) = rounded_to(heads.o, dtype).contiguous();
    result_.block.weight(LinearKind::Down) = rounded_to(channels.weight, dtype).contiguous();
    return std::move(result_);
  }

 private:
  std::int64_t queries_per_group() const {
    return block_.shape.num_attention_heads / block_.shape.num_key_value_heads;
  }

  /// Gathers what the layer reads and, when asked to, solves it for the dense hidden states.
  std::optional<LayerInputs> gather(LinearKind kind) {
    const CalibrationNeed need = calibration_need(cut_);
    if (need == CalibrationNeed::None) return std::nullopt;
    if (aims_at_dense(cut_.repair)) return gather_beside_dense(kind);
    return gather_inputs(*tokens_.block, input_group(kind), block_, need);
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

  static bool by_taylor(const StructuredScore& score) {
    return std::holds_alternative<TaylorScore>(score);
  }

  /// Scores that were found before.
  at::Tensor known(std::vector<double> PartScores::* part) const {
    ensure(tokens_.scores != nullptr, "scores from a survey");
    return at::tensor(tokens_.scores->*part, at::kDouble);
  }

  void fall_back(std::string_view what) { result_.fallbacks.emplace_back(what); }

  /// Which units stay, ascending.
  std::vector<std::int64_t> choose(const OutputUnits& units, const UnitScores& scores) {
    if (units.kept == units.set) {
      std::vector<std::int64_t> all(static_cast<std::size_t>(units.weight.size(1) / units.width));
      std::iota(all.begin(), all.end(), 0);
      return all;
    }
    if (!std::holds_alternative<OutputErrorScore>(cut_.score)) {
      return keep_by_scores(units, scores(cut_.score));
    }
    const auto kept =
        remove_columns_obs(units.weight, units.hessian, units.width,
                           {.count = units.set - units.kept, .set = units.set}, kDamping);
    if (kept) return kept->groups;
    fall_back("activation scores instead of output-error: the Hessian cannot be inverted");
    return keep_by_scores(units, scores(ActivationScore{}));
  }

  /// The kept columns, solved for the whole matrix's outputs when asked to.
  at::Tensor repaired(const at::Tensor& weight, const std::vector<std::int64_t>& columns,
                      const std::optional<LayerInputs>& inputs) {
    const at::Tensor kept = weight.index_select(1, index_tensor(columns));
    const bool all = static_cast<std::int64_t>(columns.size()) == weight.size(1);
    const bool repairs =
        cut_.repair != CutRepair::None || std::holds_alternative<OutputErrorScore>(cut_.score);
    if (all || !repairs) return kept;
    if (const auto solved = least_squares_columns(weight, inputs->hessian, columns, kDamping)) {
      return *solved;
    }
    fall_back("no repair of a cut: the Hessian cannot be inverted");
    return kept;
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

  struct CutHeads {
    KeptHeads kept;
    std::vector<std::int64_t> columns;  ///< of o_proj
    at::Tensor o;                       ///< [hidden_size, columns]
  };

  CutHeads keep_heads() {
    const auto inputs = gather(LinearKind::O);
    CutHeads heads;
    heads.kept = widths_.heads_to_prune.empty()
                     ? choose_heads(inputs)
                     : heads_left({.num_attention_heads = block_.shape.num_attention_heads,
                                   .num_key_value_heads = block_.shape.num_key_value_heads},
                                  widths_.heads_to_prune);
    heads.columns = as_vector(element_index(heads.kept.query_heads, block_.head_dim));
    heads.o = repaired(block_.weight(LinearKind::O), heads.columns, inputs);
    return heads;
  }

  /// Whole KV groups first, then query heads of those that stay.
  KeptHeads choose_heads(const std::optional<LayerInputs>& inputs) {
    const BlockInputNorms norms{.o = inputs ? norm_of(*inputs) : at::Tensor(), .down = {}};
    const std::int64_t queries = queries_per_group();
    OutputUnits units{.weight = block_.weight(LinearKind::O),
                      .hessian = inputs ? inputs->hessian : at::Tensor(),
                      .width = block_.head_dim * queries,
                      .set = block_.shape.num_key_value_heads,
                      .kept = widths_.num_key_value_heads};
    KeptHeads kept{.kv_groups = choose(units,
                                       [&](const StructuredScore& score) {
                                         if (by_taylor(score)) return known(&PartScores::kv_groups);
                                         return kv_group_scores(matrices(), norms, block_.head_dim,
                                                                score);
                                       }),
                   .query_heads = {}};
    const at::Tensor heads = element_index(kept.kv_groups, queries);
    if (widths_.queries_removed > 0) units = only_units(units, kept.kv_groups);
    units.width = block_.head_dim;
    units.set = queries;
    units.kept = queries - widths_.queries_removed;
    const std::vector<std::int64_t> candidates = as_vector(heads);
    if (widths_.queries_removed == 0) {
      kept.query_heads = candidates;
      return kept;
    }
    const std::vector<std::int64_t> chosen = choose(units, [&](const StructuredScore& score) {
      if (by_taylor(score)) return known(&PartScores::query_heads).index_select(0, heads);
      return query_head_scores(matrices(), norms, block_.head_dim, score).index_select(0, heads);
    });
    for (const std::int64_t head : chosen) {
      kept.query_heads.push_back(candidates[static_cast<std::size_t>(head)]);
    }
    return kept;
  }

  KeptOutput keep_channels(const CutHeads& heads) {
    if (calibration_need(cut_) != CalibrationNeed::None) {
      tokens_.block->show(InputGroup::GateUp, behind_cut_attention(heads),
                          [](const at::Tensor&) {});
      if (aims_at_dense(cut_.repair)) tokens_.dense->skip(InputGroup::GateUp);
    }
    const auto inputs = gather(LinearKind::Down);
    const BlockInputNorms norms{.o = {}, .down = inputs ? norm_of(*inputs) : at::Tensor()};
    KeptOutput channels;
    channels.units = choose({.weight = block_.weight(LinearKind::Down),
                             .hessian = inputs ? inputs->hessian : at::Tensor(),
                             .width = 1,
                             .set = block_.shape.intermediate_size,
                             .kept = widths_.intermediate_size},
                            [&](const StructuredScore& score) {
                              if (by_taylor(score)) return known(&PartScores::channels);
                              return channel_scores(matrices(), norms, score);
                            });
    channels.weight = repaired(block_.weight(LinearKind::Down), channels.units, inputs);
    return channels;
  }

  /// The block with o_proj as after the cut, but as wide as before: zeros where heads are gone.
  BlockWeights behind_cut_attention(const CutHeads& heads) const {
    BlockWeights block = block_;
    at::Tensor wide = at::zeros_like(block_.weight(LinearKind::O));
    wide.index_copy_(1, index_tensor(heads.columns), heads.o);
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
  const KeptHeads& heads = kept.heads;
  ensure(!heads.kv_groups.empty() && heads.query_heads.size() % heads.kv_groups.size() == 0,
         "as many query heads in every KV group");
  const at::Tensor kv_rows = element_index(heads.kv_groups, block.head_dim);
  const at::Tensor q_rows = element_index(heads.query_heads, block.head_dim);
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

  cut.shape = {.num_attention_heads = static_cast<std::int64_t>(heads.query_heads.size()),
               .num_key_value_heads = static_cast<std::int64_t>(heads.kv_groups.size()),
               .intermediate_size = static_cast<std::int64_t>(kept.channels.size())};
  return cut;
}

CutResult prune_block(const BlockWeights& block, const CutTokens& tokens, const StructuredCut& cut,
                      const CutWidths& widths, DType dtype) {
  return BlockPruner(block, tokens, cut, widths).run(dtype);
}

}  // namespace edgecompress
