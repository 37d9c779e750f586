#include "panel_sparse/multiply.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/error.h"
#include "panel_sparse/code_layout.h"
#include "panel_sparse/little_endian.h"
#include "panel_sparse/runs.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

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
  if (avx2 && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi2")) {
    sets.push_back(InstructionSet::Avx512);
  }
#elif defined(__aarch64__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) {
    sets.push_back(InstructionSet::NeonDot);
    if ((getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) sets.push_back(InstructionSet::NeonI8mm);
  }
#endif
  return sets;
}

KernelSet kernels_for(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::Avx512) return avx512_kernels();
  if (set == InstructionSet::Avx2) return avx2_kernels();
#elif defined(__aarch64__)
  if (set == InstructionSet::NeonI8mm) return neon_i8mm_kernels();
  if (set == InstructionSet::NeonDot) return neon_kernels();
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
  const bool many = matrix.form.column_block == 4 && tokens >= kManyTokens;
  inputs_.biased = many ? fit(biased_, tokens * inputs_.stride + kReadAhead) : nullptr;
  const bool once = matrix.form.column_block == 4 && tokens == 1;
  inputs_.slots = once ? fit(slots_, matrix.groups * kSlotBytes) : nullptr;
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
    if (inputs_.biased != nullptr) {
      std::transform(codes, codes + group_columns, biased_.data() + token * inputs_.stride + first,
                     [](std::int8_t code) { return static_cast<std::uint8_t>(code + 128); });
    }
    if (inputs_.slots != nullptr) {
      std::copy_n(codes, group_columns, slots_.data() + group * kSlotBytes);
    }
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

namespace {

/// Multiplies the groups of one panel, each when its last run was seen.
class ExactPanel {
 public:
  ExactPanel(const PanelSparseView& matrix, const KernelSet& kernels, std::int64_t panel,
             std::span<const float> x, std::span<float> y)
      : matrix_(matrix),
        kernels_(kernels),
        panel_(panel),
        height_(panel_rows(matrix.form)),
        x_(x),
        y_(y.data() + panel * height_),
        tokens_(std::ssize(x) / matrix.columns),
        weights_(static_cast<std::size_t>(matrix.form.group * height_)) {}

  void multiply() {
    for (std::int64_t token = 0; token < tokens_; ++token) {
      std::fill_n(y_ + token * matrix_.rows, rows(), 0.0F);
    }
    const PanelSparseForm& form = matrix_.form;
    const std::uint8_t* codes = matrix_.codes + load_u64(matrix_.starts + 8 * panel_);
    for_each_run(matrix_, panel_, bitmaps_of(matrix_, panel_), [&](const Run& run) {
      if (run.first_column / form.group > group_) close_group();
      spread(run, codes);
      codes += bytes_of_codes(form.bits, run_codes(form, run.stored));
    });
    close_group();
  }

 private:
  std::int64_t rows() const { return std::min(height_, matrix_.rows - panel_ * height_); }

  void spread(const Run& run, const std::uint8_t* codes) {
    const PanelSparseForm& form = matrix_.form;
    const std::int64_t count = run_codes(form, run.stored);
    const std::int64_t first_row = run.first_row - panel_ * height_;
    for_each_stored(form, run, [&](std::int64_t column, std::int64_t number) {
      float* const to = weights_.data() + column % form.group * height_ + first_row;
      for (std::int64_t row = 0; row < form.shared_rows; ++row) {
        to[row] = load_code(codes, form.bits, code_index(form, row, number), count);
      }
    });
  }

  void close_group() {
    const PanelSparseForm& form = matrix_.form;
    const std::int64_t first = group_ * form.group;
    const std::int64_t first_scale =
        (panel_ * matrix_.scale_groups + group_ / form.groups_per_scale) * height_;
    std::array<float, 16> scales{};
    for (std::int64_t row = 0; row < height_; ++row) {
      scales[static_cast<std::size_t>(row)] =
          load_scale(matrix_.scales, form.scale_type == ScaleType::Float16, first_scale + row);
    }
    kernels_.add_exact_group(
        {.weights = weights_.data(),
         .columns = std::min<std::int64_t>(form.group, matrix_.columns - first),
         .height = height_,
         .rows = rows(),
         .scales = scales.data(),
         .x = x_.data() + first,
         .tokens = tokens_,
         .x_stride = matrix_.columns,
         .y = y_,
         .y_stride = matrix_.rows});
    std::fill(weights_.begin(), weights_.end(), 0.0F);
    ++group_;
  }

  const PanelSparseView& matrix_;
  const KernelSet& kernels_;
  std::int64_t panel_;
  std::int64_t height_;
  std::span<const float> x_;
  float* y_;
  std::int64_t tokens_;
  std::vector<float> weights_;  // of one group, [columns, height]
  std::int64_t group_ = 0;
};

}  // namespace

void multiply_exact(const PanelSparseView& matrix, const KernelSet& kernels,
                    std::span<const float> x, std::int64_t first_panel, std::int64_t last_panel,
                    std::span<float> y) {
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
    ExactPanel(matrix, kernels, panel, x, y).multiply();
  }
}

}  // namespace edgecompress
