#include "prune/structured.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "base/parallel.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

// Sums run in double and in an order that no thread count changes, so that the same model always
// keeps the same groups. at::sum does not promise that.
using Sums = std::vector<double>;

double power(double value, int norm) { return norm == 1 ? std::abs(value) : value * value; }

at::Tensor float_matrix(const at::Tensor& matrix) {
  ensure(matrix.dim() == 2 && matrix.scalar_type() == at::kFloat && matrix.device().is_cpu(),
         "a float matrix in main memory");
  return matrix.contiguous();
}

/// Returns sum |w|^norm of each row.
Sums row_sums(const at::Tensor& matrix, int norm) {
  const at::Tensor dense = float_matrix(matrix);  // [out, in]
  const std::int64_t columns = dense.size(1);
  const float* const weight = dense.const_data_ptr<float>();
  Sums sums(static_cast<std::size_t>(dense.size(0)));
  parallel_for(dense.size(0), 64, at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      double sum = 0;
      for (std::int64_t i = 0; i < columns; ++i) sum += power(weight[row * columns + i], norm);
      sums[static_cast<std::size_t>(row)] = sum;
    }
  });
  return sums;
}

/// Returns sum |w|^norm of each column.
Sums column_sums(const at::Tensor& matrix, int norm) {
  const at::Tensor dense = float_matrix(matrix);  // [out, in]
  const std::int64_t columns = dense.size(1);
  const float* const weight = dense.const_data_ptr<float>();
  Sums sums(static_cast<std::size_t>(columns));
  parallel_for(columns, 512, at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = 0; row < dense.size(0); ++row) {
      for (std::int64_t i = begin; i < end; ++i) {
        sums[static_cast<std::size_t>(i)] += power(weight[row * columns + i], norm);
      }
    }
  });
  return sums;
}

/// Returns ||W_:j||^2 ||x_j||^2 of each input j.
Sums output_energy(const at::Tensor& matrix, const at::Tensor& input_norm) {
  Sums sums = column_sums(matrix, 2);
  const auto inputs = static_cast<std::int64_t>(sums.size());
  ensure(input_norm.defined() && input_norm.dim() == 1 && input_norm.size(0) == inputs,
         "an input norm of [in_features]");
  const at::Tensor norms = input_norm.to(at::kCPU, at::kDouble).contiguous();
  const double* const norm = norms.const_data_ptr<double>();
  for (std::size_t j = 0; j < sums.size(); ++j) sums[j] *= norm[j] * norm[j];
  return sums;
}

/// Adds each run of sums.size() / totals.size() sums to its total.
void add_runs(const Sums& sums, Sums& totals) {
  ensure(!totals.empty() && sums.size() % totals.size() == 0, "heads that fill whole KV groups");
  const std::size_t run = sums.size() / totals.size();
  for (std::size_t i = 0; i < sums.size(); ++i) totals[i / run] += sums[i];
}

/// Takes the norm-th root of each total and refuses what cannot be compared.
at::Tensor finish(const Sums& totals, int norm) {
  at::Tensor scores = at::empty({static_cast<std::int64_t>(totals.size())}, at::kDouble);
  double* const score = scores.mutable_data_ptr<double>();
  for (std::size_t i = 0; i < totals.size(); ++i) {
    if (!std::isfinite(totals[i])) {
      throw Error(ErrorKind::Numeric, "N1",
                  concat("the score of group ", i, " is ", totals[i],
                         "; a weight or an activation is not finite. The checkpoint is damaged or "
                         "its training diverged; start from one without it"));
    }
    score[i] = norm == 1 ? totals[i] : std::sqrt(totals[i]);
  }
  return scores;
}

/// Adds up `rows` by their rows and `output` by its columns.
at::Tensor magnitude_scores(std::initializer_list<at::Tensor> rows, const at::Tensor& output,
                            std::int64_t groups, int norm) {
  ensure(norm == 1 || norm == 2, "norm 1 or 2");
  Sums totals(static_cast<std::size_t>(groups));
  for (const at::Tensor& matrix : rows) add_runs(row_sums(matrix, norm), totals);
  add_runs(column_sums(output, norm), totals);
  return finish(totals, norm);
}

void ensure_score_of_one_part(const StructuredScore& score) {
  ensure(!std::holds_alternative<OutputErrorScore>(score) &&
             !std::holds_alternative<TaylorScore>(score),
         "a score that looks at one part of one block");
}

at::Tensor activation_scores(const at::Tensor& output, const at::Tensor& input_norm,
                             std::int64_t groups) {
  Sums totals(static_cast<std::size_t>(groups));
  add_runs(output_energy(output, input_norm), totals);
  return finish(totals, 2);
}

/// The n-th number of the sequence that starts at `seed`. Source: splitmix64, Steele et al. 2014.
std::uint64_t splitmix64(std::uint64_t seed, std::uint64_t n) {
  std::uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

at::Tensor random_scores(std::uint64_t seed, std::int64_t count) {
  at::Tensor scores = at::empty({count}, at::kDouble);
  double* const score = scores.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) {
    score[i] =
        std::ldexp(static_cast<double>(splitmix64(seed, static_cast<std::uint64_t>(i)) >> 11), -53);
  }
  return scores;
}

/// Returns the largest multiple of `multiple` up to channels that removes at least `need`, or all
/// channels when nothing has to go; nothing when none is left.
std::optional<std::int64_t> width_for(double need, const PartCosts& costs, std::int64_t channels,
                                      std::int64_t multiple) {
  // A ratio like 0.2 is not exact in binary: it must not cost one channel more.
  constexpr double kOfAChannel = 1e-6;
  const double removed = std::ceil(need / costs.channel - kOfAChannel);
  if (removed <= 0) return channels;
  if (removed > static_cast<double>(channels)) return std::nullopt;
  const std::int64_t width = (channels - static_cast<std::int64_t>(removed)) / multiple * multiple;
  return width >= multiple ? std::optional(width) : std::nullopt;
}

/// The nearest whole number of `count` parts, half to even; at least one part goes and one stays
/// when the share is not 0.
std::int64_t parts_removed(double share, std::int64_t count, std::string_view parts) {
  const auto removed = std::llrint(share * static_cast<double>(count));
  if ((share == 0 || removed > 0) && removed < count) return removed;
  throw Error(ErrorKind::Unsupported, "U2",
              concat("a share of ", share, " of ", count, " ", parts, " is nearest to ", removed,
                     " of them; give one that is nearest to ",
                     count == 1 ? "none: there is one only" : concat("1 to ", count - 1)));
}

CutWidths plan_parts(const StructuredCut& cut, const CutShape& shape) {
  const std::int64_t groups = shape.num_key_value_heads;
  const std::int64_t channels = shape.intermediate_size;
  const std::int64_t removed = parts_removed(cut.parts->kv_groups, groups, "KV groups");
  const std::int64_t queries_removed = parts_removed(
      cut.parts->query_heads, shape.num_attention_heads / groups, "query heads in each KV group");
  const double need = cut.parts->channels * static_cast<double>(channels);
  const auto width =
      width_for(need, {.group = 0, .channel = 1, .block = 0}, channels, cut.channel_multiple);
  if (!width) {
    throw Error(ErrorKind::Unsupported, "U2",
                concat("a share of ", cut.parts->channels, " would leave less than ",
                       cut.channel_multiple, " of ", channels,
                       " FFN channels; give a smaller share or a smaller channel multiple"));
  }
  return {.num_key_value_heads = groups - removed,
          .intermediate_size = *width,
          .queries_removed = queries_removed};
}

}  // namespace

at::Tensor kv_group_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                           std::int64_t head_dim, const StructuredScore& score) {
  ensure(head_dim > 0 && block.k.size(0) % head_dim == 0, "k rows of whole heads");
  const std::int64_t groups = block.k.size(0) / head_dim;
  if (const auto* magnitude = std::get_if<MagnitudeScore>(&score)) {
    return magnitude_scores({block.q, block.k, block.v}, block.o, groups, magnitude->norm);
  }
  if (const auto* random = std::get_if<RandomScore>(&score)) {
    return random_scores(random->seed, groups);
  }
  ensure_score_of_one_part(score);
  return activation_scores(block.o, norms.o, groups);
}

at::Tensor query_head_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                             std::int64_t head_dim, const StructuredScore& score) {
  ensure(head_dim > 0 && block.q.size(0) % head_dim == 0, "q rows of whole heads");
  const std::int64_t heads = block.q.size(0) / head_dim;
  if (const auto* magnitude = std::get_if<MagnitudeScore>(&score)) {
    return magnitude_scores({block.q}, block.o, heads, magnitude->norm);
  }
  if (const auto* random = std::get_if<RandomScore>(&score)) {
    return random_scores(splitmix64(random->seed, 0), heads);
  }
  ensure_score_of_one_part(score);
  return activation_scores(block.o, norms.o, heads);
}

at::Tensor channel_scores(const BlockMatrices& block, const BlockInputNorms& norms,
                          const StructuredScore& score) {
  const std::int64_t channels = block.gate.size(0);
  if (const auto* magnitude = std::get_if<MagnitudeScore>(&score)) {
    return magnitude_scores({block.gate, block.up}, block.down, channels, magnitude->norm);
  }
  if (const auto* random = std::get_if<RandomScore>(&score)) {
    return random_scores(~random->seed, channels);
  }
  ensure_score_of_one_part(score);
  return activation_scores(block.down, norms.down, channels);
}

std::vector<std::int64_t> keep_largest(const at::Tensor& scores, std::int64_t count) {
  ensure(scores.dim() == 1 && count >= 0 && count <= scores.size(0),
         "at most as many as there are");
  const at::Tensor values = scores.to(at::kCPU, at::kDouble).contiguous();
  const double* const score = values.const_data_ptr<double>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(values.size(0)));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return score[a] > score[b]; });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

PartCosts part_costs(StructuredTarget target, const CutShape& shape) {
  const std::int64_t heads_per_group = shape.num_attention_heads / shape.num_key_value_heads;
  // k and v rows, q rows and o columns; gate and up rows and the down column.
  const std::int64_t group_weights = (2 + 2 * heads_per_group) * shape.head_dim * shape.hidden_size;
  auto group = static_cast<double>(group_weights);
  auto channel = static_cast<double>(3 * shape.hidden_size);
  if (target == StructuredTarget::Flops) {
    // A multiplication and an addition per weight; the same per element of q k^T and of p v.
    const std::int64_t products = 2 * heads_per_group * shape.head_dim * shape.sequence_length;
    group = 2 * (group + static_cast<double>(products));
    channel *= 2;
  }
  return {group, channel,
          group * static_cast<double>(shape.num_key_value_heads) +
              channel * static_cast<double>(shape.intermediate_size)};
}

RandomScore random_score_of_block(const RandomScore& score, std::int64_t block) {
  return {.seed = splitmix64(score.seed, static_cast<std::uint64_t>(block))};
}

CutWidths plan_cut(const StructuredCut& cut, const CutShape& shape) {
  const std::int64_t num_key_value_heads = shape.num_key_value_heads;
  const std::int64_t intermediate_size = shape.intermediate_size;
  ensure(cut.ratio >= 0 && cut.ratio < 1 && cut.channel_multiple > 0, "a ratio of 0 to 1");
  ensure(num_key_value_heads > 0 && shape.num_attention_heads % num_key_value_heads == 0,
         "query heads that fill the KV groups");
  if (cut.parts) return plan_parts(cut, shape);
  const PartCosts costs = part_costs(cut.target, shape);
  const double goal = cut.ratio * costs.block;
  const auto nearest =
      std::llrint(cut.ratio * static_cast<double>(num_key_value_heads));  // half to even
  const std::int64_t most = num_key_value_heads - 1;
  for (std::int64_t groups = std::min<std::int64_t>(nearest, most); groups <= most; ++groups) {
    const double need = goal - static_cast<double>(groups) * costs.group;
    if (const auto width = width_for(need, costs, intermediate_size, cut.channel_multiple)) {
      return {num_key_value_heads - groups, *width};
    }
  }
  const double smallest =
      costs.group +
      costs.channel * static_cast<double>(std::min(cut.channel_multiple, intermediate_size));
  const double reachable = std::floor((1 - smallest / costs.block) * 1e4) / 1e4;
  throw Error(
      ErrorKind::Unsupported, "U2",
      concat("a removal ratio of ", cut.ratio, " would leave less than one KV group and ",
             cut.channel_multiple, " FFN channels in each block; at most ", reachable, " can go"));
}

}  // namespace edgecompress
