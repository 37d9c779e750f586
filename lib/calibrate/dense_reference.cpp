#include "calibrate/dense_reference.h"

#include <algorithm>
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

/// Things that arrive in order, some at a time.
class Cursor {
 public:
  /// Returns the next `count` as [begin, end).
  std::pair<std::int64_t, std::int64_t> next(std::int64_t count) {
    const std::int64_t begin = next_;
    next_ += count;
    return {begin, next_};
  }

 private:
  std::int64_t next_ = 0;
};

/// wanted - found of the next windows' tokens.
at::Tensor drift(HiddenStates& wanted, HiddenStates& found, Cursor& windows) {
  const std::int64_t step = windows_at_once(wanted.length());
  const auto [begin, next] = windows.next(step);
  const std::int64_t end = std::min(next, wanted.count());
  const at::Tensor difference =
      wanted.without_padding(begin, end, wanted.windows(begin, end) - found.windows(begin, end));
  wanted.release(begin, end);
  found.release(begin, end);
  return difference;
}

}  // namespace

DenseReference::DenseReference(HiddenStates& states, BlockWeights dense, const RotaryTable& rotary,
                               const ComputeTarget& target, const HiddenStateStorage& storage)
    : dense_(std::move(dense)), storage_(storage), tokens_(states, rotary, target, storage) {}

ReferencedInputs DenseReference::gather(SequentialBlock& tokens, InputGroup group,
                                        const BlockWeights& block, CalibrationNeed need) {
  std::optional<HiddenStates> recorded;
  Cursor writing;
  tokens_.show(group, dense_, [&](const at::Tensor& inputs) {
    if (!recorded) {
      recorded.emplace(tokens_.num_tokens(), 1, inputs.size(1), storage_);  // a window a token
    }
    const auto [begin, end] = writing.next(inputs.size(0));
    recorded->windows(begin, end).copy_(inputs.unsqueeze(1));
    recorded->release(begin, end);
  });

  std::optional<CrossMoment> cross;
  std::optional<CrossMoment> residual;
  Cursor reading;
  Cursor windows;
  const auto compare = [&](const at::Tensor& inputs) {
    const auto [begin, end] = reading.next(inputs.size(0));
    if (!cross) cross.emplace(recorded->hidden_size(), inputs.size(1));
    cross->add(recorded->windows(begin, end).flatten(0, 1), inputs);
    recorded->release(begin, end);
    if (!writes_to_residual(group)) return;
    HiddenStates& wanted = tokens_.residual(group);
    HiddenStates& found = tokens.residual(group);
    if (!residual) residual.emplace(wanted.hidden_size(), inputs.size(1));
    residual->add(drift(wanted, found, windows), inputs);
  };
  ReferencedInputs result{gather_inputs(tokens, group, block, need, compare), {}};
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
