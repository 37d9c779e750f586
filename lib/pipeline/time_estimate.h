#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "llama/model_folder.h"
#include "pipeline/run_options.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// One kind of work of a run.
struct TimePart {
  std::string name;      ///< "gptq"
  double seconds = 0;    ///< of all of it, at the measured speed
  std::string measured;  ///< the speed: "8.1e+07 weights/s"
};

/// What a run may take on this machine as loaded as it is now. Never part of a report.
struct TimeEstimate {
  std::vector<TimePart> parts;
  double probe_seconds = 0;  ///< what measuring took

  double seconds() const;
  /// Work is counted from shapes, speeds are measured on small matrices, and disks are not measured
  /// at all: a run may take half or twice as long.
  double least() const;
  double most() const;
};

/// Measures the speed of each kind of work that the recipe's steps do, on made-up matrices, for at
/// most some three seconds, and counts how much of it the model needs: weights that a data-free
/// method rounds, products of calibration, scoring and training, factors of Hessians and the
/// columns compensated with them, bytes read and hashed. Left out are waiting for disks, the
/// artifact's check and its speed test.
/// Reads no weight. Throws as plan_walk does.
TimeEstimate estimate_time(const ModelFolder& model, const Recipe& recipe,
                           const RunOptions& options);

/// {"seconds", "least_seconds", "most_seconds", "parts": [{"name", "seconds", "measured"}]}
nlohmann::ordered_json time_json(const TimeEstimate& estimate);
/// A line for the terminal, "time        about 4 min (2 to 8 min), ...", and one for each part.
std::string time_text(const TimeEstimate& estimate);

}  // namespace edgecompress
