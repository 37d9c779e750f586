#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace edgecompress {

/// How many groups of columns go.
struct ColumnRemoval {
  std::int64_t count = 0;  ///< of each set
  std::int64_t set = 0;    ///< so many consecutive groups are a set; 0: all are one
};

struct KeptColumns {
  std::vector<std::int64_t> groups;  ///< that stay, ascending
  at::Tensor weight;                 ///< float [out_features, groups.size() * columns_per_group]
  double output_error;               ///< tr(D H D^T) with the damped H, D all changes of the weight
};

/// Removes groups of input columns one after the other, each time the group whose loss, with all
/// other columns making up for it, is the smallest (of equals the lower index).
///
/// weight:  [out_features, in_features] float: o_proj with the columns of a KV group's heads as a
///          group, or down_proj with one channel as a group. A column whose input was always 0
///          costs nothing and goes first; one that stays keeps its weights.
/// hessian: [in_features, in_features] double; `damping` times its mean diagonal is added.
/// Returns nothing when the damped Hessian cannot be inverted in double. The same bytes for any
/// number of threads.
/// Cost:    the inverse, then in_features * (in_features + out_features) * columns_per_group * 2
///          FLOPs for each group removed, in double; for single columns bound by memory.
/// Source:  optimal brain surgeon for structures: ZipLM, arXiv 2302.04089, section 3.1; SlimGPT,
///          arXiv 2412.18110.
std::optional<KeptColumns> remove_columns_obs(const at::Tensor& weight, const at::Tensor& hessian,
                                              std::int64_t columns_per_group,
                                              const ColumnRemoval& removal, double damping);

}  // namespace edgecompress
