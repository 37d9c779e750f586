#include "calibrate/dense_reference.h"

#include <optional>
#include <utility>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "linear_algebra/product.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

bool writes_to_residual(InputGroup group) {
  return group == InputGroup::O || group == InputGroup::Down;
}

/// Windows that arrive in order, some at a time.
class WindowCursor {
 public:
  explicit WindowCursor(std::int64_t length) : length_(length) {}

  /// Returns the next windows, of `num_tokens` tokens together, as [begin, end).
  std::pair<std::int64_t, std::int64_t> next(std::int64_t num_tokens) {
    const std::int64_t begin = next_;
    next_ += num_tokens / length_;
    return {begin, next_};
  }

 private:
  std::int64_t length_;
  std::int64_t next_ = 0;
};

}  // namespace

DenseReference::DenseReference(HiddenStates& states, BlockWeights dense, const RotaryTable& rotary,
                               const ComputeTarget& target, const HiddenStateStorage& storage)
    : dense_(std::move(dense)), storage_(storage), tokens_(states, rotary, target, storage) {}

ReferencedInputs DenseReference::gather(SequentialBlock& tokens, InputGroup group,
                                        const BlockWeights& block) {
  std::optional<HiddenStates> recorded;
  WindowCursor writing(tokens_.window_length());
  tokens_.show(group, dense_, [&](const at::Tensor& inputs) {
    if (!recorded) {
      recorded.emplace(tokens_.num_windows(), tokens_.window_length(), inputs.size(1), storage_);
    }
    const auto [begin, end] = writing.next(inputs.size(0));
    at::Tensor place = recorded->windows(begin, end);
    place.copy_(inputs.view(place.sizes()));
    recorded->release(begin, end);
  });

  std::optional<CrossMoment> cross;
  std::optional<CrossMoment> residual;
  WindowCursor reading(tokens.window_length());
  const auto compare = [&](const at::Tensor& inputs) {
    const auto [begin, end] = reading.next(inputs.size(0));
    if (!cross) cross.emplace(recorded->hidden_size(), inputs.size(1));
    cross->add(recorded->windows(begin, end).flatten(0, 1), inputs);
    recorded->release(begin, end);
    if (!writes_to_residual(group)) return;
    HiddenStates& wanted = tokens_.residual(group);
    HiddenStates& found = tokens.residual(group);
    if (!residual) residual.emplace(wanted.hidden_size(), inputs.size(1));
    residual->add((wanted.windows(begin, end) - found.windows(begin, end)).flatten(0, 1), inputs);
    wanted.release(begin, end);
    found.release(begin, end);
  };
  ReferencedInputs result{gather_inputs(tokens, group, block, InputDetail::Hessian, compare), {}};
  result.dense.inputs = cross->matrix();
  if (residual) result.dense.residual = residual->matrix();
  return result;
}

void DenseReference::skip(InputGroup group) {
  tokens_.show(group, dense_, [](const at::Tensor&) {});
}

at::Tensor wanted_outputs(const at::Tensor& dense_weight, const DenseMoments& moments) {
  const at::Tensor negated = dense_weight.cpu().to(at::kDouble).neg().contiguous();
  at::Tensor outputs = moments.residual.defined()
                           ? moments.residual.clone(at::MemoryFormat::Contiguous)
                           : at::zeros({negated.size(0), moments.inputs.size(1)}, at::kDouble);
  const auto view = [](const at::Tensor& matrix) {
    return MatrixView<double>{matrix.data_ptr<double>(), matrix.size(0), matrix.size(1),
                              matrix.size(1)};
  };
  subtract_product_parallel(view(negated), view(moments.inputs), view(outputs),
                            at::get_num_threads());
  return outputs;
}

}  // namespace edgecompress
