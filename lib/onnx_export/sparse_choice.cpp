#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <mutex>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/parallel.h"
#include "onnx_export/sparse_linear.h"
#include "panel_sparse/panel_sparse_matrix.h"

namespace edgecompress {
namespace {

/// A form, and the share of weights it must leave out to be faster than MatMulNBits of the same
/// bits for one token.
struct FormRow {
  int shared_rows;
  int column_block;
  double pays_from_4bit;
  double pays_from_8bit;
};

// Measured with tools/bench/panel_sparse (docs/sparse-format.md, Speed), rounded up.
constexpr std::array kFormRows{
    FormRow{.shared_rows = 16, .column_block = 4, .pays_from_4bit = 0.1, .pays_from_8bit = 0.1},
    FormRow{.shared_rows = 16, .column_block = 1, .pays_from_4bit = 0.1, .pays_from_8bit = 0.1},
    FormRow{.shared_rows = 8, .column_block = 1, .pays_from_4bit = 0.1, .pays_from_8bit = 0.1},
    FormRow{.shared_rows = 4, .column_block = 1, .pays_from_4bit = 0.3, .pays_from_8bit = 0.1},
    FormRow{.shared_rows = 1, .column_block = 1, .pays_from_4bit = 0.3, .pays_from_8bit = 0.2},
};

constexpr std::array<std::int64_t, 4> kGroups{32, 64, 128, 256};
constexpr std::int64_t kRowsAtOnce = 64;  // whole panels of every form

struct FormCount {
  PanelSparseForm form;
  PanelSparseSize size;
};

std::string percent(double share) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.1f %%", 100 * share);
  return text.data();
}

/// Why the format cannot hold the matrix, or nothing.
std::string obstacle(const StackedMatrix& matrix) {
  if (!matrix.is_quantized()) return "weights are not quantized";
  const QuantScheme& scheme = matrix.scheme();
  if (scheme.bits != 4 && scheme.bits != 8) return concat(scheme.bits, "-bit codes");
  if (scheme.symmetry == Symmetry::Asymmetric) return "asymmetric grid";
  const bool known = std::ranges::find(kGroups, scheme.group_size) != kGroups.end();
  if (scheme.group_size != 0 && !known) return concat("groups of ", scheme.group_size);
  return {};
}

PanelSparseForm form_of(const FormRow& row, const StackedMatrix& matrix, ScaleType scale_type) {
  const QuantScheme& scheme = matrix.scheme();
  PanelSparseForm form{.bits = scheme.bits,
                       .shared_rows = row.shared_rows,
                       .column_block = row.column_block,
                       .group = static_cast<int>(scheme.group_size),
                       .groups_per_scale = 1,
                       .scale_type = scale_type};
  if (scheme.group_size != 0) return form;
  // Activations are rounded per group whatever the scales are: as MatMulNBits' blocks, 128 columns.
  form.group = 128;
  form.groups_per_scale = ceil_divide(matrix.columns(), std::int64_t{form.group});
  return form;
}

/// Counts zeros, and what each of `counts` stores, in all rows.
std::int64_t count_forms(const StackedMatrix& matrix, std::vector<FormCount>& counts,
                         int num_threads) {
  const std::int64_t rows = matrix.rows();
  std::int64_t zeros = 0;
  std::mutex sums;  // of integers: the order of the pieces does not matter
  parallel_for(
      ceil_divide(rows, kRowsAtOnce), 1, num_threads, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t piece = first; piece < last; ++piece) {
          const std::int64_t begin = piece * kRowsAtOnce;
          const std::int64_t end = std::min(rows, begin + kRowsAtOnce);
          std::vector<std::uint8_t> keep;
          for (const std::int8_t code : read_stacked_rows(matrix, begin, end).codes) {
            keep.push_back(code != 0 ? 1 : 0);
          }
          std::vector<PanelSparseSize> sizes;
          sizes.reserve(counts.size());
          for (const FormCount& count : counts) {
            sizes.push_back(panel_sparse_size(count.form, end - begin, matrix.columns(), keep));
          }
          const std::lock_guard lock(sums);
          zeros += std::ranges::count(keep, std::uint8_t{0});
          for (std::size_t i = 0; i < counts.size(); ++i) {
            counts[i].size.stored_weights += sizes[i].stored_weights;
            counts[i].size.code_bytes += sizes[i].code_bytes;
          }
        }
      });
  return zeros;
}

}  // namespace

std::string form_name(const PanelSparseForm& form) {
  return form.shared_rows == 1 ? "unstructured" : concat(form.shared_rows, "x", form.column_block);
}

SparseChoice choose_sparse_form(const StackedMatrix& matrix, const SparseOptions& options,
                                int num_threads) {
  SparseChoice choice;
  choice.reason = obstacle(matrix);
  if (!choice.reason.empty()) return choice;
  std::vector<FormCount> counts;
  counts.reserve(kFormRows.size());
  for (const FormRow& row : kFormRows) {
    counts.push_back({.form = form_of(row, matrix, options.scale_type), .size = {}});
  }
  const std::int64_t zeros = count_forms(matrix, counts, num_threads);
  const auto weights = static_cast<double>(matrix.rows() * matrix.columns());
  choice.zero_share = static_cast<double>(zeros) / weights;

  double most_left_out = -1;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto& [form, size] = counts[i];
    const double left_out = 1 - static_cast<double>(size.stored_weights) / weights;
    const double pays_from = options.threshold.value_or(
        form.bits == 4 ? kFormRows[i].pays_from_4bit : kFormRows[i].pays_from_8bit);
    const std::int64_t bytes =
        panel_sparse_bytes(form, matrix.rows(), matrix.columns(), size.code_bytes);
    const bool pays = left_out >= pays_from;
    const bool better =
        pays ? !choice.form || bytes < choice.blob_bytes : !choice.form && left_out > most_left_out;
    if (!better) continue;
    most_left_out = left_out;
    choice.reason = concat(form_name(form), " leaves out ", percent(left_out), ", pays from ",
                           percent(pays_from));
    if (!pays) continue;
    choice.form = form;
    choice.blob_bytes = bytes;
    choice.stored_share = 1 - left_out;
  }
  return choice;
}

}  // namespace edgecompress
