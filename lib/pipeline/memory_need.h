#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "calibrate/hidden_states.h"
#include "pipeline/compression_walk.h"
#include "pipeline/walk_plan.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// What a walk, and a training behind it, hold at their peak, from shapes alone, in bytes; hidden
/// states are not counted, as they can lie in a file. Embedding and head are there before and
/// behind the decoder blocks; all other parts are added as if their peaks fell together.
struct MemoryNeed {
  std::uint64_t program = 0;     ///< LibTorch and what it loads
  std::uint64_t blocks = 0;      ///< a decoder block as floats, dense and after each step
  std::uint64_t tables = 0;      ///< embedding and head, codes and floats
  std::uint64_t hessians = 0;    ///< of a group of layers, with what is derived from them
  std::uint64_t forward = 0;     ///< activations of the windows that go through a block together
  std::uint64_t training = 0;    ///< parameters with gradients and moments, and one block's graph
  std::uint64_t state_sets = 0;  ///< sets of hidden states that are there at a time
  std::uint64_t states = 0;      ///< bytes of all of them

  std::uint64_t least() const {
    return program + std::max({tables + forward, blocks + hessians + forward, tables + training});
  }
};

/// Token windows of a text.
struct WindowSizes {
  std::int64_t count = 0;
  std::int64_t length = 0;  ///< tokens of a window
};
struct TextSizes {
  std::optional<WindowSizes> calibration = {};
  std::optional<WindowSizes> evaluation = {};
};

TextSizes text_sizes(const WalkTexts& texts);

/// Before any text is encoded: as many windows as the recipe allows and the text may have, at two
/// bytes a token, which is fewer than tokenizers make of plain text; a text that is not there
/// counts as 1 MiB.
TextSizes expected_text_sizes(const WalkPlan& plan, const Recipe& recipe);

MemoryNeed memory_need(const WalkPlan& plan, const TextSizes& texts);

/// Adds what a recover step needs behind the walk, for so many windows of its text.
void add_training_need(MemoryNeed& need, const WalkPlan& plan, const RecoverStep& step,
                       WindowSizes windows);

/// As many windows of its text as a recover step may train on, estimated as expected_text_sizes
/// does.
WindowSizes expected_training_size(const RecoverStep& step);

/// Where hidden states lie when a run may take `budget` bytes: in memory as long as what is left
/// holds them, else in files.
/// Throws Error{Memory} M-BUDGET with the bytes that are needed when it is too little for the rest.
HiddenStateStorage storage_within(std::uint64_t budget, const MemoryNeed& need);

}  // namespace edgecompress
