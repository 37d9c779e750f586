#include "panel_sparse/multiply.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "panel_sparse/code_layout.h"
#include "panel_sparse/little_endian.h"
#include "panel_sparse/runs.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kReadAhead = 64;  // kernels load whole vectors

}  // namespace

std::vector<InstructionSet> supported_instruction_sets() {
  std::vector<InstructionSet> sets{InstructionSet::Scalar};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt") &&
                    __builtin_cpu_supports("f16c");
  if (avx2) sets.push_back(InstructionSet::Avx2);
  if (avx2 && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") &&
      __builtin_cpu_supports("avx512vbmi2")) {
    sets.push_back(InstructionSet::Avx512);
  }
#endif
  return sets;
}

KernelSet kernels_for(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::Avx512) return avx512_kernels();
  if (set == InstructionSet::Avx2) return avx2_kernels();
#endif
  ensure(set == InstructionSet::Scalar, "an instruction set of this processor");
  return scalar_kernels();
}

void InputBuffer::prepare(const PanelSparseView& matrix, std::int64_t tokens) {
  const auto fit = [](auto& buffer, std::int64_t count) {
    if (std::ssize(buffer) < count) buffer.resize(static_cast<std::size_t>(count));
    return buffer.data();
  };
  const std::int64_t padded = matrix.groups * matrix.form.group;
  inputs_.tokens = tokens;
  // Rows a multiple of 4096 bytes apart would share the few cache lines of one set.
  inputs_.stride = padded + 64;
  inputs_.codes = fit(codes_, tokens * inputs_.stride + kReadAhead);
  inputs_.scales = fit(scales_, tokens * matrix.groups);
  inputs_.offsets = fit(offsets_, tokens * matrix.groups);
}

void InputBuffer::quantize_token(const PanelSparseView& matrix, const KernelSet& kernels,
                                 std::int64_t token, const float* x) {
  const int group_columns = matrix.form.group;
  for (std::int64_t group = 0; group < matrix.groups; ++group) {
    const std::int64_t first = group * group_columns;
    const std::int64_t at = token * matrix.groups + group;
    std::int8_t* const codes = codes_.data() + token * inputs_.stride + first;
    scales_[static_cast<std::size_t>(at)] = kernels.quantize_group(
        x + first, std::min<std::int64_t>(group_columns, matrix.columns - first), group_columns,
        codes);
    const int sum = std::accumulate(codes, codes + group_columns, 0);
    offsets_[static_cast<std::size_t>(at)] = -sum * (1 << (matrix.form.bits - 1));
  }
}

std::size_t scratch_bytes(const PanelSparseView& matrix) {
  return static_cast<std::size_t>(kScratchRows * matrix.groups * matrix.form.group + kScratchExtra);
}

void multiply_panel_sparse(const PanelSparseView& matrix, InstructionSet set,
                           std::span<const float> x, std::span<float> y) {
  const std::int64_t tokens = std::ssize(x) / matrix.columns;
  ensure(std::ssize(x) == tokens * matrix.columns && std::ssize(y) == tokens * matrix.rows,
         "x [tokens, columns] and y [tokens, rows]");
  const KernelSet kernels = kernels_for(set);
  InputBuffer buffer;
  buffer.prepare(matrix, tokens);
  for (std::int64_t token = 0; token < tokens; ++token) {
    buffer.quantize_token(matrix, kernels, token, x.data() + token * matrix.columns);
  }
  std::vector<std::uint8_t> scratch(scratch_bytes(matrix));
  kernels.multiply(matrix, buffer.inputs(), 0, matrix.panels, y.data(), scratch.data());
}

void multiply_exact(const PanelSparseView& matrix, std::span<const float> x,
                    std::int64_t first_panel, std::int64_t last_panel, std::span<float> y) {
  const PanelSparseForm& form = matrix.form;
  const std::int64_t tokens = std::ssize(x) / matrix.columns;
  const std::int64_t height = panel_rows(form);
  const bool half = form.scale_type == ScaleType::Float16;
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
    for (std::int64_t token = 0; token < tokens; ++token) {
      float* const out = y.data() + token * matrix.rows + panel * height;
      const std::int64_t rows = std::min(height, matrix.rows - panel * height);
      std::fill_n(out, rows, 0.0F);
      std::vector<float> sums(static_cast<std::size_t>(height));
      std::int64_t group = 0;
      const auto close_group = [&] {
        const std::int64_t first_scale =
            (panel * matrix.scale_groups + group / form.groups_per_scale) * height;
        for (std::int64_t row = 0; row < rows; ++row) {
          out[row] += sums[static_cast<std::size_t>(row)] *
                      load_scale(matrix.scales, half, first_scale + row);
        }
        std::fill(sums.begin(), sums.end(), 0.0F);
        ++group;
      };
      const std::uint8_t* codes = matrix.codes + load_u64(matrix.starts + 8 * panel);
      for_each_run(matrix, panel, bitmaps_of(matrix, panel), [&](const Run& run) {
        while (run.first_column / form.group > group) close_group();
        const std::int64_t count = run_codes(form, run.stored);
        for_each_stored(form, run, [&](std::int64_t column, std::int64_t number) {
          if (column >= matrix.columns) return;
          const float input = x[static_cast<std::size_t>(token * matrix.columns + column)];
          for (std::int64_t row = 0; row < form.shared_rows; ++row) {
            const int code = load_code(codes, form.bits, code_index(form, row, number), count);
            sums[static_cast<std::size_t>(run.first_row - panel * height + row)] +=
                static_cast<float>(code) * input;
          }
        });
        codes += bytes_of_codes(form.bits, count);
      });
      while (group < matrix.groups) close_group();
    }
  }
}

}  // namespace edgecompress
