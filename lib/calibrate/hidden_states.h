#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "calibrate/token_windows.h"
#include "decoder/block_forward.h"

namespace edgecompress {

/// Where hidden states lie.
struct HiddenStateStorage {
  std::uint64_t memory_limit_bytes = std::uint64_t{1} << 30;  ///< larger ones go to a file
  std::filesystem::path spill_folder;  ///< empty: the system's temporary folder
};

/// The hidden states of some token windows on their way through the decoder blocks, [count, length,
/// hidden_size] float on the CPU. Larger than the limit they are a mapped, already deleted file,
/// which the kernel writes behind the walk.
class HiddenStates {
 public:
  /// Starts with the embeddings of the windows' tokens. Reads only the rows of the embedding that
  /// occur.
  HiddenStates(const TokenWindows& windows, const StoredMatrix& embedding,
               const HiddenStateStorage& storage);
  /// Uninitialized activations of any width, kept the same way.
  HiddenStates(std::int64_t count, std::int64_t length, std::int64_t width,
               const HiddenStateStorage& storage);
  /// The same of the windows that `like` has.
  HiddenStates(const HiddenStates& like, std::int64_t width, const HiddenStateStorage& storage);
  /// The same from a float matrix [vocab_size, hidden_size].
  HiddenStates(const TokenWindows& windows, const at::Tensor& embedding,
               const HiddenStateStorage& storage);

  /// Of activations of this width for the windows that `like` has.
  static std::uint64_t bytes(const HiddenStates& like, std::int64_t width);

  std::int64_t count() const { return states_.size(0); }
  std::int64_t length() const { return states_.size(1); }
  std::int64_t hidden_size() const { return states_.size(2); }

  /// Windows [begin, end) as a view that may be written.
  at::Tensor windows(std::int64_t begin, std::int64_t end) { return states_.slice(0, begin, end); }

  /// values: of windows [begin, end), [end - begin, length, width]. Returns those of their tokens,
  /// padding left out, [tokens, width].
  at::Tensor without_padding(std::int64_t begin, std::int64_t end, const at::Tensor& values) const;

  /// Tokens of a window, and of all, padding left out.
  std::int64_t tokens_of(std::int64_t window) const;
  std::int64_t num_tokens() const;

  /// Lets the kernel write back and forget the windows' pages when they are a file.
  void release(std::int64_t begin, std::int64_t end);

 private:
  at::Tensor states_;
  std::vector<std::int64_t> lengths_;  ///< tokens of each window; empty: all are
  bool in_file_ = false;
};

/// Windows that go through a block together: about 2048 tokens, whatever the memory, so that
/// results do not depend on it.
std::int64_t windows_at_once(std::int64_t length);

/// Calls body(begin, end, states of these windows on the device) for all windows in order, and
/// releases them afterwards.
void for_each_piece(HiddenStates& states, at::Device device,
                    const std::function<void(std::int64_t, std::int64_t, const at::Tensor&)>& body);

/// Replaces the states by the block's outputs. `block` must lie on `target` (to_target).
void advance(HiddenStates& states, const BlockWeights& block, const RotaryTable& rotary,
             const ComputeTarget& target);

/// Shows the inputs of the block's linear layers for all windows, without changing the states.
void observe(HiddenStates& states, const BlockWeights& block, const RotaryTable& rotary,
             const ComputeTarget& target, const InputObserver& observer);

}  // namespace edgecompress
