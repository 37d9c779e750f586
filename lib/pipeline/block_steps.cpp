#include "pipeline/block_steps.h"

#include "base/error.h"
#include "base/parallel.h"
#include "llama/linear_layers.h"
#include "prune/keep_mask.h"
#include "quantize/quantize.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowsAtOnce = 64;

at::Tensor index_tensor(const std::vector<std::int64_t>& indices) {
  return at::tensor(indices, at::kLong);
}

/// Rows (or columns) of the elements of the kept units, each `width` elements wide.
at::Tensor element_index(const std::vector<std::int64_t>& units, std::int64_t width) {
  return (index_tensor(units).unsqueeze(1) * width + at::arange(width, at::kLong)).flatten();
}

std::span<const float> values_of(const at::Tensor& matrix) {
  ensure(matrix.is_contiguous() && matrix.scalar_type() == at::kFloat, "a contiguous float matrix");
  return {matrix.data_ptr<float>(), static_cast<std::size_t>(matrix.numel())};
}

BlockMatrices matrices_of(const BlockWeights& block) {
  return {.q = block.weight(LinearKind::Q),
          .k = block.weight(LinearKind::K),
          .v = block.weight(LinearKind::V),
          .o = block.weight(LinearKind::O),
          .gate = block.weight(LinearKind::Gate),
          .up = block.weight(LinearKind::Up),
          .down = block.weight(LinearKind::Down)};
}

BlockInputNorms norms_of(const std::optional<InputNorms>& norms) {
  if (!norms) return {};
  return {.o = norms->of(InputGroup::O), .down = norms->of(InputGroup::Down)};
}

}  // namespace

KeptParts choose_parts(const BlockWeights& block, const std::optional<InputNorms>& norms,
                       const StructuredScore& score, const CutWidths& widths) {
  const BlockMatrices matrices = matrices_of(block);
  const BlockInputNorms inputs = norms_of(norms);
  return {
      .kv_groups = keep_largest(kv_group_scores(matrices, inputs, block.head_dim, score),
                                widths.num_key_value_heads),
      .channels = keep_largest(channel_scores(matrices, inputs, score), widths.intermediate_size)};
}

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

MaskedBlock mask_block(const BlockWeights& block, std::int64_t block_index,
                       const std::optional<InputNorms>& norms, const MaskStep& step) {
  MaskedBlock masked{.block = block, .masks = {}};
  for (const LinearKind kind : kLinearKinds) {
    const std::string module = module_name({block_index, kind});
    if (!targets(step.targets, module)) continue;
    const at::Tensor norm = norms ? norms->of(input_group(kind)) : at::Tensor();
    const at::Tensor mask = with_context(concat("masking ", module), [&] {
      return keep_mask(block.weight(kind), norm, step.method, step.pattern);
    });
    masked.block.weight(kind) = at::where(mask, block.weight(kind), 0.0F);
    masked.masks.emplace(kind, mask);
  }
  return masked;
}

QuantizedMatrix quantize_tensor(const at::Tensor& weight, const QuantScheme& scheme,
                                const QuantizeMethod& method, int num_threads) {
  return quantize(values_of(weight), weight.size(0), weight.size(1), scheme, method, num_threads);
}

at::Tensor dequantized(const QuantizedMatrix& matrix, int num_threads) {
  at::Tensor values = at::empty({matrix.rows(), matrix.columns()}, at::kFloat);
  float* const data = values.data_ptr<float>();
  parallel_for(matrix.rows(), kRowsAtOnce, num_threads, [&](std::int64_t begin, std::int64_t end) {
    matrix.dequantize_rows(begin, end,
                           {data + begin * matrix.columns(),
                            static_cast<std::size_t>((end - begin) * matrix.columns())});
  });
  return values;
}

QuantizedBlock quantize_block(const BlockWeights& block, std::int64_t block_index,
                              const QuantizeStep& step, int num_threads) {
  QuantizedBlock quantized{.block = block, .codes = {}};
  for (const LinearKind kind : kLinearKinds) {
    const std::string module = module_name({block_index, kind});
    const std::optional<QuantScheme> scheme = scheme_of(step, {.module = module});
    if (!scheme) continue;
    QuantizedMatrix codes = with_context(concat("quantizing ", module), [&] {
      return quantize_tensor(block.weight(kind), *scheme, step.method, num_threads);
    });
    quantized.block.weight(kind) = dequantized(codes, num_threads);
    quantized.codes.emplace(kind, std::move(codes));
  }
  return quantized;
}

}  // namespace edgecompress
