#pragma once

#include "edgecompress/shared_options.h"
#include "recipe/recipe.h"

namespace edgecompress::cli {

/// A recipe without steps, with the texts that the flags name.
inline Recipe recipe_with_texts(const CalibrationFlags& calibration, const ScoreFlags& score) {
  Recipe recipe;
  if (!calibration.text.empty()) {
    recipe.calibration = Calibration{.text = calibration.text,
                                     .sha256 = {},
                                     .samples = calibration.samples,
                                     .sequence_length = calibration.sequence_length};
  }
  if (!score.text.empty()) {
    recipe.evaluation = Evaluation{.text = score.text, .window = score.window, .max_windows = {}};
    if (score.windows > 0) recipe.evaluation->max_windows = score.windows;
  }
  return recipe;
}

}  // namespace edgecompress::cli
