#pragma once

#include <string>
#include <vector>

#include "edgecompress/gate_flags.h"
#include "edgecompress/shared_options.h"
#include "recipe/recipe.h"

namespace edgecompress::cli {

struct QuantizeOptions {
  OutputFlags output;
  ComputeFlags compute;
  CalibrationFlags calibration;
  ScoreFlags score_text;
  GateFlags gates;
  std::string method = "rtn";
  int bits = 4;
  std::string group_size = "64";  ///< or "channel"
  bool asymmetric = false;
  std::string clip;  ///< empty: the method's own
  bool no_act_order = false;
  double damping = 0.01;
  int refine_rounds = 2;
  std::string on_singular = "fallback";
  int hqq_iterations = 20;
  std::string rounding = "nearest";  ///< of awq
  std::string embedding_bits = "8";  ///< or "none"
  std::string head_bits = "8";       ///< or "none"
  std::string head_rounding = "nearest";
  std::string precision = "uniform";
  std::string target_size;  ///< "12MB"; empty: none
  double target_bpw = 0;    ///< bits per weight; 0: none
  std::string sensitivity = "hidden-states";
  std::string activations = "none";
  std::string qat = "never";
  std::string qat_phases = "end-to-end";
  std::string qat_activations = "auto";
  std::filesystem::path training_text;  ///< empty: the calibration text
  std::vector<std::string> keep;        ///< patterns of modules that stay floating
};

CLI::App* add_quantize(CLI::App& app, QuantizeOptions& options);

/// The step these flags ask for. Throws Error{Usage}.
Recipe quantize_recipe(const QuantizeOptions& options);

}  // namespace edgecompress::cli
