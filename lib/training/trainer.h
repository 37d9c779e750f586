#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/progress.h"
#include "methods/training_options.h"
#include "report/report.h"
#include "training/adamw.h"
#include "training/training_windows.h"
#include "training/window_pieces.h"

namespace edgecompress {

/// What is minimized, as functions of the parameters' present values.
struct TrainingObjective {
  std::function<double(WindowIndices)> loss;           ///< mean over the windows
  std::function<double(WindowIndices)> add_gradients;  ///< the same; adds to the gradients
  std::function<void()> settle;                        ///< to be called after each step
};

/// Where a training stands between two steps.
struct TrainingState {
  /// Of one parameter; all of its shape.
  struct Tensors {
    at::Tensor value;
    AdamW::Moments moments;
    at::Tensor best;  ///< the value with the lowest held-out loss
  };

  TrainingReport report;  ///< so far
  double rate_share = 1;  ///< of the schedule's learning rate
  std::int64_t optimizer_steps = 0;
  std::int64_t rises = 0;  ///< of the held-out loss, measurements in a row
  std::vector<Tensors> parameters;
};

/// Whoever waits for the training.
struct TrainingControl {
  Progress progress;
  std::function<bool()> stop_requested;  ///< asked before every step; may be empty
  std::string stage = "train";           ///< as progress names it
  /// Called after each measurement of the held-out loss; may be empty.
  std::function<void(const TrainingState&)> keep_state = {};
  /// Where an interrupted training of the same work stood; the rest then gives the same bytes.
  const TrainingState* start = nullptr;
};

/// Trains by AdamW with a cosine schedule. The parameters then have the values with the lowest loss
/// on the held-out windows, which are those at the start when no others were better.
///
/// window_tokens: tokens of a window, for what is reported.
/// Ends early when the held-out loss has risen three measurements in a row, in the second half of
/// the steps, or a stop is requested. A loss or gradient that is not finite: the step is left out
/// and the learning rate halved, once. Returns what was done: steps, losses, warnings; what the
/// parameters belong to is the caller's to add. The same bytes for any number of threads when the
/// objective's are. Throws Error{Numeric} T-FINITE when a loss or a gradient is not finite again.
TrainingReport train(const std::vector<Parameter>& parameters, const TrainingObjective& objective,
                     const TrainingSplit& split, std::int64_t window_tokens,
                     const TrainingOptions& options, const TrainingControl& control);

}  // namespace edgecompress
