#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "calibrate/hidden_states.h"
#include "decoder/block_forward.h"

namespace edgecompress {

/// What the states that a SequentialBlock was given are in the end: those at the block's input, or
/// those behind it. Advanced costs a set of states less.
enum class StatesAfter : std::uint8_t { Kept, Advanced };

/// The calibration tokens inside one decoder block. Each group of linear layers is shown its inputs
/// after the earlier groups have their final weights ("true-sequential", arXiv 2210.17323's code),
/// at the cost of about one forward pass.
///
/// What o_proj reads is kept for all windows, in memory or in a file as the hidden states are, and
/// so are the hidden states behind the attention: in place of the states where these advance. What
/// down_proj reads is kept for finish() where memory holds it, and computed a second time
/// otherwise, at half a forward pass more. Both give the same bytes.
class SequentialBlock {
 public:
  /// Sees [tokens, in_features] float on the CPU: of windows_at_once() windows in order, padding
  /// left out.
  using TokenSink = std::function<void(const at::Tensor& inputs)>;

  /// states, rotary: must outlive this object.
  SequentialBlock(HiddenStates& states, const RotaryTable& rotary, const ComputeTarget& target,
                  const HiddenStateStorage& storage, StatesAfter after = StatesAfter::Kept);

  /// Shows the inputs of a group. Groups in their order, each at most once, none left out before
  /// finish(); `block` must hold the final weights of all earlier groups.
  void show(InputGroup group, const BlockWeights& block, const TokenSink& sink);

  /// What the outputs of the group just shown are added to: O, the states at the block's input;
  /// Down, those behind the attention.
  HiddenStates& residual(InputGroup group);

  std::int64_t num_tokens() const { return states_.num_tokens(); }

  /// Replaces the states, which advance, by the outputs of the block, whose weights are now all
  /// final.
  void finish(const BlockWeights& block);

 private:
  at::Tensor tokens_of(std::int64_t begin, std::int64_t end, const at::Tensor& input) const;
  void show_attention_input(const BlockWeights& block, const TokenSink& sink);
  void show_attention_mix(const BlockWeights& block, const TokenSink& sink);
  void show_mlp_input(const BlockWeights& block, const TokenSink& sink);
  void show_mlp_activation(const BlockWeights& block, const TokenSink& sink);
  HiddenStates& attended();
  bool holds_activation_of(const BlockWeights& block) const;

  HiddenStates& states_;
  const RotaryTable& rotary_;
  const ComputeTarget target_;
  const HiddenStateStorage storage_;
  const StatesAfter after_;
  bool behind_attention_ = false;         ///< the MLP's inputs have been shown
  std::optional<HiddenStates> mixed_;     ///< what o_proj reads
  std::optional<HiddenStates> attended_;  ///< behind the attention, where the states are kept

  /// What down_proj reads, and the weights that it comes from.
  struct Activation {
    HiddenStates states;
    at::Tensor gate;
    at::Tensor up;
  };
  std::optional<Activation> activation_;
};

}  // namespace edgecompress
