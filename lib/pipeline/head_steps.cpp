#include "pipeline/head_steps.h"

#include <algorithm>

#include "base/error.h"
#include "decoder/block_forward.h"
#include "stats/hessian.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRowsAtOnce = 4096;  // enough for the damped Hessian to be made seldom

/// Sums over the rows of a head.
class HeadRows {
 public:
  HeadRows(GroupInputs& inputs, const QuantScheme& scheme, const GptqOptions& options,
           int num_threads)
      : inputs_(inputs),
        hessian_(relative_hessian(inputs.hessian())),
        scheme_(scheme),
        options_(options),
        num_threads_(num_threads) {}

  QuantizedMatrix round(std::span<const float> weights, std::int64_t rows) {
    const at::Tensor weight =
        at::from_blob(const_cast<float*>(weights.data()),  // only read
                      {rows, static_cast<std::int64_t>(weights.size()) / rows}, at::kFloat);
    LayerState layer{.weight = weight, .dense = weight};
    energy_ += output_energy(weight, hessian_);
    nearest_ += nearest_output_error(layer, hessian_, scheme_, num_threads_);
    layer = quantize_layer(std::move(layer), &inputs_, scheme_, options_, num_threads_);
    lost_ += output_energy(weight - layer.weight, hessian_);
    damping_rung_ = layer.damping_rung;
    fallbacks_ = layer.fallbacks;
    if (layer.clipped_share) clipped_ += *layer.clipped_share * static_cast<double>(rows);
    return std::move(*layer.codes);
  }

  NewHead head(NewMatrix stored, std::int64_t rows) const {
    NewHead head{.stored = std::move(stored),
                 .relative_output_error = energy_ > 0 ? lost_ / energy_ : 0,
                 .relative_nearest_error = energy_ > 0 ? nearest_ / energy_ : 0,
                 .damping_rung = damping_rung_,
                 .clipped_share = {},
                 .fallbacks = fallbacks_};
    if (damping_rung_) head.clipped_share = clipped_ / static_cast<double>(rows);
    return head;
  }

 private:
  GroupInputs& inputs_;
  const RelativeHessian hessian_;
  const QuantScheme& scheme_;
  const GptqOptions& options_;
  const int num_threads_;
  double energy_ = 0;
  double nearest_ = 0;
  double lost_ = 0;
  double clipped_ = 0;  // weighted by rows
  std::optional<int> damping_rung_;
  std::vector<std::string> fallbacks_;
};

}  // namespace

LayerInputs gather_head_inputs(HiddenStates& states, const at::Tensor& final_norm, double eps) {
  Hessian hessian(states.hidden_size());
  for_each_piece(
      states, at::kCPU, [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
        hessian.add(states.without_padding(begin, end, rms_norm(hidden, final_norm, eps)));
      });
  const at::Tensor matrix = hessian.matrix();
  const auto tokens = static_cast<double>(hessian.tokens());
  return {.norm = (matrix.diagonal() * tokens).sqrt().to(at::kFloat),
          .deviation = {},
          .hessian = matrix};
}

NewHead quantize_head(const StoredMatrix& head, GroupInputs& inputs, const QuantScheme& scheme,
                      const QuantizeMethod& method, int num_threads) {
  const auto* const given = std::get_if<GptqOptions>(&method);
  const GptqOptions options = given == nullptr ? GptqOptions{} : *given;
  HeadRows rounding(inputs, scheme, options, num_threads);
  NewMatrix stored = quantize_stored_rows(
      head, scheme, kRowsAtOnce,
      [&](std::span<const float> weights, std::int64_t rows) {
        return rounding.round(weights, rows);
      },
      num_threads);
  return rounding.head(std::move(stored), matrix_shape(head).out_features);
}

}  // namespace edgecompress
