#pragma once

#include <cstdint>

#include "pipeline/walk_plan.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// What a run holds at its peak, from shapes alone; every number in bytes. The parts are added as
/// if their peaks fell together, so the sum is above what is measured.
struct MemoryPlan {
  std::int64_t program = 0;        ///< LibTorch and what it loads
  std::int64_t blocks = 0;         ///< a decoder block as floats, dense and after each step
  std::int64_t tables = 0;         ///< embedding and head as floats, when texts are run
  std::int64_t hessians = 0;       ///< of a group of layers, with what is derived from them
  std::int64_t hidden_states = 0;  ///< of all windows, when they are kept in memory
  std::int64_t forward = 0;        ///< activations of the windows that go through a block together
  std::int64_t spilled = 0;        ///< hidden states that lie in a file instead

  std::int64_t peak_memory() const {
    return program + blocks + tables + hessians + hidden_states + forward;
  }
};

MemoryPlan plan_memory(const WalkPlan& plan, const Recipe& recipe);

}  // namespace edgecompress
