#pragma once

#include <functional>
#include <optional>

#include "calibrate/hidden_states.h"
#include "decoder/block_forward.h"

namespace edgecompress {

/// The calibration tokens inside one decoder block. Each group of linear layers is shown its inputs
/// after the earlier groups have their final weights ("true-sequential", arXiv 2210.17323's code),
/// at the cost of about one forward pass.
///
/// What o_proj reads and the hidden states behind the attention are kept for all windows, in memory
/// or in a file as the hidden states are; what down_proj reads is kept where memory holds it, and
/// computed a second time otherwise, at half a forward pass more. Both give the same bytes.
class SequentialBlock {
 public:
  /// Sees [tokens, in_features] float on the CPU: of windows_at_once() windows in order, padding
  /// left out.
  using TokenSink = std::function<void(const at::Tensor& inputs)>;

  /// states, rotary: must outlive this object.
  SequentialBlock(HiddenStates& states, const RotaryTable& rotary, const ComputeTarget& target,
                  const HiddenStateStorage& storage);

  /// Shows the inputs of a group. Groups in their order, each at most once, none left out before
  /// finish(); `block` must hold the final weights of all earlier groups.
  void show(InputGroup group, const BlockWeights& block, const TokenSink& sink);

  /// What the outputs of the group just shown are added to: O, the states at the block's input;
  /// Down, those behind the attention.
  HiddenStates& residual(InputGroup group);

  std::int64_t num_tokens() const { return states_.num_tokens(); }

  /// Replaces the states by the outputs of the block, whose weights are now all final.
  void finish(const BlockWeights& block);

 private:
  at::Tensor tokens_of(std::int64_t begin, std::int64_t end, const at::Tensor& input) const;
  void show_attention_input(const BlockWeights& block, const TokenSink& sink);
  void show_attention_mix(const BlockWeights& block, const TokenSink& sink);
  void show_mlp_input(const BlockWeights& block, const TokenSink& sink);
  void show_mlp_activation(const BlockWeights& block, const TokenSink& sink);
  bool holds_activation_of(const BlockWeights& block) const;

  HiddenStates& states_;
  const RotaryTable& rotary_;
  const ComputeTarget target_;
  const HiddenStateStorage storage_;
  std::optional<HiddenStates> mixed_;     ///< what o_proj reads
  std::optional<HiddenStates> attended_;  ///< hidden states behind the attention

  /// What down_proj reads, and the weights that it comes from.
  struct Activation {
    HiddenStates states;
    at::Tensor gate;
    at::Tensor up;
  };
  std::optional<Activation> activation_;
};

}  // namespace edgecompress
