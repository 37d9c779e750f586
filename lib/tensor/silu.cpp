#include "tensor/silu.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kPiece = 16384;  // LibTorch never splits so few elements

/// Calls body(begin, end) for pieces of fixed size.
template <typename Body>
void for_each_piece(std::int64_t size, const Body& body) {
  at::parallel_for(0, (size + kPiece - 1) / kPiece, 1, [&](std::int64_t first, std::int64_t last) {
    const at::NoGradGuard no_grad;  // a guard holds for one thread only
    for (std::int64_t piece = first; piece < last; ++piece) {
      body(piece * kPiece, std::min((piece + 1) * kPiece, size));
    }
  });
}

at::Tensor silu_values(const at::Tensor& x) {
  if (!x.device().is_cpu()) return at::silu(x);
  const at::Tensor flat = x.contiguous().view({-1});
  const at::Tensor result = at::empty_like(flat);
  for_each_piece(flat.numel(), [&](std::int64_t begin, std::int64_t end) {
    at::Tensor out = result.slice(0, begin, end);
    at::silu_out(out, flat.slice(0, begin, end));
  });
  return result.view(x.sizes());
}

at::Tensor silu_gradient(const at::Tensor& gradient, const at::Tensor& x) {
  if (!x.device().is_cpu()) return at::silu_backward(gradient, x);
  const at::Tensor flat = x.contiguous().view({-1});
  const at::Tensor flat_gradient = gradient.contiguous().view({-1});
  const at::Tensor result = at::empty_like(flat);
  for_each_piece(flat.numel(), [&](std::int64_t begin, std::int64_t end) {
    at::Tensor out = result.slice(0, begin, end);
    at::silu_backward_out(out, flat_gradient.slice(0, begin, end), flat.slice(0, begin, end));
  });
  return result.view(x.sizes());
}

class SiluFunction : public torch::autograd::Function<SiluFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return silu_values(x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {silu_gradient(gradients[0], context->get_saved_variables()[0])};
  }
};

}  // namespace

at::Tensor stable_silu(const at::Tensor& x) {
  const bool trains = at::GradMode::is_enabled() && x.requires_grad();
  return trains ? SiluFunction::apply(x) : silu_values(x);
}

}  // namespace edgecompress
