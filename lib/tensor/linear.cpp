#include "tensor/linear.h"

#include <algorithm>

#include <torch/csrc/autograd/custom_function.h>

#include "tensor/aten.h"
#include "tensor/one_thread.h"

namespace edgecompress {
namespace {

// Enough for MKL to multiply at full speed, few enough that every thread gets a tile.
constexpr std::int64_t kTileRows = 128;

at::Tensor as_matrix(const at::Tensor& values) {
  return values.reshape({-1, values.size(-1)});  // [tokens, features]
}

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight) {
    context->save_for_backward({input, weight});
    return at::linear(input, weight);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor& input = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor gradient = as_matrix(gradients[0]);  // [tokens, out]
    at::Tensor of_input;
    at::Tensor of_weight;
    if (context->needs_input_grad(0)) {
      of_input = stable_product(gradient, weight).view(input.sizes());
    }
    if (context->needs_input_grad(1)) {
      of_weight = stable_product(gradient.t(), as_matrix(input));  // [out, in]
    }
    return {of_input, of_weight};
  }
};

}  // namespace

at::Tensor stable_linear(const at::Tensor& input, const at::Tensor& weight) {
  const bool trains =
      at::GradMode::is_enabled() && (input.requires_grad() || weight.requires_grad());
  return trains ? LinearFunction::apply(input, weight) : at::linear(input, weight);
}

at::Tensor stable_product(const at::Tensor& a, const at::Tensor& b) {
  if (!a.device().is_cpu()) return at::mm(a, b);
  at::Tensor product = at::empty({a.size(0), b.size(1)}, a.options());
  const std::int64_t tiles = (a.size(0) + kTileRows - 1) / kTileRows;
  for_each_on_one_thread(tiles, [&](std::int64_t tile) {
    const at::NoGradGuard no_grad;  // a guard holds for one thread only
    const std::int64_t begin = tile * kTileRows;
    const std::int64_t rows = std::min(kTileRows, a.size(0) - begin);
    at::Tensor out = product.narrow(0, begin, rows);
    at::mm_out(out, a.narrow(0, begin, rows), b);
  });
  return product;
}

}  // namespace edgecompress
