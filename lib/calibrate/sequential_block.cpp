#include "calibrate/sequential_block.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

/// What down_proj reads. attended: the hidden states behind the attention.
at::Tensor activation_behind(const BlockWeights& block, const at::Tensor& attended) {
  return mlp_activation(block, rms_norm(attended, block.post_attention_norm, block.rms_norm_eps));
}

}  // namespace

SequentialBlock::SequentialBlock(HiddenStates& states, const RotaryTable& rotary,
                                 const ComputeTarget& target, const HiddenStateStorage& storage,
                                 StatesAfter after)
    : states_(states), rotary_(rotary), target_(target), storage_(storage), after_(after) {}

at::Tensor SequentialBlock::tokens_of(std::int64_t begin, std::int64_t end,
                                      const at::Tensor& input) const {
  return states_.without_padding(begin, end, input).cpu();
}

void SequentialBlock::show(InputGroup group, const BlockWeights& block, const TokenSink& sink) {
  switch (group) {
    case InputGroup::QKV:
      return show_attention_input(block, sink);
    case InputGroup::O:
      return show_attention_mix(block, sink);
    case InputGroup::GateUp:
      return show_mlp_input(block, sink);
    case InputGroup::Down:
      return show_mlp_activation(block, sink);
  }
}

void SequentialBlock::show_attention_input(const BlockWeights& block, const TokenSink& sink) {
  for_each_piece(
      states_, target_.device, [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
        sink(tokens_of(begin, end, rms_norm(hidden, block.input_norm, block.rms_norm_eps)));
      });
}

void SequentialBlock::show_attention_mix(const BlockWeights& block, const TokenSink& sink) {
  const std::int64_t width = block.shape.num_attention_heads * block.head_dim;
  mixed_.emplace(states_, width, storage_);
  for_each_piece(
      states_, target_.device, [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
        const at::Tensor mixed =
            attention_mix(block, rotary_, rms_norm(hidden, block.input_norm, block.rms_norm_eps));
        mixed_->windows(begin, end).copy_(mixed);
        mixed_->release(begin, end);
        sink(tokens_of(begin, end, mixed));
      });
}

void SequentialBlock::show_mlp_input(const BlockWeights& block, const TokenSink& sink) {
  ensure(mixed_.has_value(), "the attention's inputs to have been shown");
  const at::Tensor& o = block.weight(LinearKind::O);
  if (after_ == StatesAfter::Kept) attended_.emplace(states_, states_.hidden_size(), storage_);
  behind_attention_ = true;
  for_each_piece(
      states_, target_.device, [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
        at::Tensor mixed = mixed_->windows(begin, end).to(target_.device);
        ensure(mixed.size(2) == o.size(1), "o_proj to be as wide as what was shown");
        const at::Tensor behind = hidden + linear_output(block, LinearKind::O, mixed);
        attended().windows(begin, end).copy_(behind);
        attended().release(begin, end);
        mixed_->release(begin, end);
        sink(
            tokens_of(begin, end, rms_norm(behind, block.post_attention_norm, block.rms_norm_eps)));
      });
  mixed_.reset();
}

HiddenStates& SequentialBlock::attended() {
  ensure(behind_attention_, "the MLP's inputs to have been shown");
  return attended_ ? *attended_ : states_;
}

void SequentialBlock::show_mlp_activation(const BlockWeights& block, const TokenSink& sink) {
  const at::Tensor& gate = block.weight(LinearKind::Gate);
  if (after_ == StatesAfter::Advanced &&
      HiddenStates::bytes(states_, gate.size(0)) <= storage_.memory_limit_bytes) {
    activation_.emplace(HiddenStates(states_, gate.size(0), storage_), gate,
                        block.weight(LinearKind::Up));
  }
  for_each_piece(attended(), target_.device,
                 [&](std::int64_t begin, std::int64_t end, const at::Tensor& behind) {
                   const at::Tensor activated = activation_behind(block, behind);
                   if (activation_) activation_->states.windows(begin, end).copy_(activated);
                   sink(tokens_of(begin, end, activated));
                 });
}

HiddenStates& SequentialBlock::residual(InputGroup group) {
  ensure(group == InputGroup::O || group == InputGroup::Down,
         "a group that writes to the residual");
  return group == InputGroup::O ? states_ : attended();
}

/// A step may have scaled rows of up_proj since.
bool SequentialBlock::holds_activation_of(const BlockWeights& block) const {
  return activation_ && activation_->gate.is_same(block.weight(LinearKind::Gate)) &&
         activation_->up.is_same(block.weight(LinearKind::Up));
}

void SequentialBlock::finish(const BlockWeights& block) {
  ensure(after_ == StatesAfter::Advanced, "states that advance");
  const bool held = holds_activation_of(block);
  for_each_piece(attended(), target_.device,
                 [&](std::int64_t begin, std::int64_t end, const at::Tensor& behind) {
                   const at::Tensor activated =
                       held ? activation_->states.windows(begin, end).to(target_.device)
                            : activation_behind(block, behind);
                   states_.windows(begin, end)
                       .copy_(behind + linear_output(block, LinearKind::Down, activated));
                 });
  activation_.reset();
  behind_attention_ = false;  // nothing of this block is left to show or to finish
}

}  // namespace edgecompress
