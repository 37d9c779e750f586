#pragma once

#include <string>

#include "edgecompress/shared_options.h"
#include "methods/training_options.h"
#include "recipe/recipe.h"

namespace edgecompress::cli {

struct RecoverOptions {
  OutputFlags output;
  ComputeFlags compute;
  ScoreFlags score_text;
  std::filesystem::path teacher;
  std::filesystem::path training_text;
  std::int64_t samples = 0;  ///< 0: all
  std::int64_t sequence_length = 512;
  std::string phases = "end-to-end";
  std::string part = "auto";
  std::string loss = "auto";
  std::string zeros = "keep";
  std::string held_out = "10%";
  std::string activations = "auto";
  TrainingOptions training;
};

CLI::App* add_recover(CLI::App& app, RecoverOptions& options);

/// What these flags ask for. Throws Error{Usage}.
TrainingChoice training_choice(const RecoverOptions& options);

}  // namespace edgecompress::cli
