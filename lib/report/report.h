#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "report/gate.h"

namespace edgecompress {

/// What happened to one tensor.
struct TensorReport {
  std::string name;  ///< the module, for example "model.layers.3.mlp.up_proj"
  std::vector<std::int64_t> shape_before;
  std::vector<std::int64_t> shape_after;
  std::string stored_as;  ///< "F16", "int4", ...
  std::optional<std::int64_t> bits;
  std::optional<std::int64_t> group_size;  ///< 0: per channel
  std::optional<bool> symmetric;
  std::optional<std::string> activations = {};  ///< how its inputs are rounded: "int8-per-token"
  std::optional<double> sparsity_target;        ///< 0..1
  double sparsity = 0;                          ///< counted in what was written, 0..1
  std::optional<double> relative_output_error =
      {};  ///< E ||(W - W') x||^2 / E ||W x||^2 on the
           ///< calibration text, W as for the weight error
  std::optional<double> relative_nearest_error =
      {};  ///< the same, had the quantize step rounded to the nearest on a grid of the same bits
           ///< and groups, without search or compensation
  std::optional<std::int64_t> damping_rung =
      {};                                    ///< how often the damping of the Hessian was raised
  std::optional<double> clipped_share = {};  ///< of the weights: beyond the end of their grid, 0..1
  std::optional<double> input_scale_exponent =
      {};  ///< of the scales of the inputs (awq, smoothquant); 0: they stay as they are
  std::optional<double> block_error_before =
      {};  ///< mean over held-out calibration tokens of ||y - d||^2 / ||d||^2, y the hidden states
           ///< behind the cut block, d the dense model's: before its reconstruction
  std::optional<double> block_error_after = {};  ///< the same, behind it
  std::vector<std::string> fallbacks = {};       ///< what was done instead of what was asked for
  std::optional<double>
      relative_weight_error;  ///< ||W - W'||^2 / ||W||^2 over what is left of W after cutting
  std::int64_t bytes_before = 0;
  std::int64_t bytes_after = 0;
};

/// A model at one stage of the work.
struct StageReport {
  std::string stage;  ///< "dense", "shortened", "pruned", "masked", "quantized", "artifact"
  std::int64_t parameters = 0;       ///< of the whole model, zeros included
  std::int64_t size_bytes = 0;       ///< of the weights as that stage stores them
  std::int64_t flops_per_token = 0;  ///< of the products with weights, 2 a weight, zeros included
  double sparsity = 0;  ///< share of zeros among the decoder blocks' linear weights, 0..1
  std::optional<double> perplexity;
  std::optional<double> kl_divergence_nats;  ///< mean KL(dense || stage)
  std::optional<double> top1_agreement;  ///< share of positions with the dense model's argmax, 0..1
};

/// How the perplexities were measured.
struct EvaluationReport {
  std::string protocol;
  std::string text;         ///< the text's file name, no folder
  std::int64_t window = 0;  ///< tokens
  std::int64_t windows = 0;
  std::int64_t target_tokens = 0;
  std::string token_sha256;  ///< of the windows' ids, little-endian int32
  std::string dtype;         ///< of the arithmetic
};

/// How a sparse export stores the weights of one product.
struct ProductReport {
  std::string module;  ///< several joined by commas
  std::string form;    ///< "16x4", ..., or "dense"
  std::int64_t weights = 0;
  double sparsity = 0;      ///< zeros among them, 0..1
  double stored_share = 1;  ///< those that have a code, 0..1
  std::int64_t bytes = 0;
  std::string reason;
};

/// The artifact against the compressed model in memory.
struct ArtifactReport {
  std::string format;  ///< "genai", "onnx", "genai-sparse" or "onnx-sparse"
  std::optional<std::string> activations =
      {};                           ///< how its products round their inputs: "int8-per-token" ...
  std::string onnxruntime_version;  ///< empty when the artifact was not run
  std::optional<double> max_logit_error;  ///< at accuracy level 0
  std::optional<double> mean_logit_error;
  std::optional<double> kl_divergence_nats;  ///< mean KL(compressed || artifact), level 0
  std::optional<double> top1_agreement;
  std::optional<double>
      cache_split_error;  ///< largest logit difference of a prefill in one piece and token by token
  std::optional<double> perplexity_exact;      ///< accuracy level 0
  std::optional<double> perplexity_published;  ///< as the artifact is written
  std::int64_t size_bytes = 0;
  std::vector<ProductReport> products = {};  ///< of a sparse format
  std::map<std::string, std::string> file_sha256;
};

/// The loss at one moment of a training.
struct TrainingPoint {
  std::int64_t step = 0;           ///< steps done
  std::int64_t tokens = 0;         ///< trained on until then
  double learning_rate_share = 0;  ///< of the learning rates at the start
  std::optional<double> loss;      ///< mean over the steps since the point before
  double held_out_loss = 0;
};

/// What a training did with its parameters.
struct TrainingOutcome {
  std::int64_t trained_parameters = 0;
  std::int64_t steps_planned = 0;
  std::int64_t steps_done = 0;
  std::int64_t kept_step = 0;  ///< 0: nothing was changed
  double held_out_loss_before = 0;
  double held_out_loss_after = 0;
};

/// A short training and what it brought. Losses are means per predicted token, in nats.
struct TrainingReport {
  std::string trained;       ///< "scales" or "weights"
  std::string loss;          ///< "divergence" or "cross-entropy"
  std::string text;          ///< the text's file name, no folder
  std::string token_sha256;  ///< of the windows' ids, little-endian int32
  std::int64_t window = 0;   ///< tokens
  std::int64_t training_windows = 0;
  std::int64_t held_out_windows = 0;
  TrainingOutcome outcome;
  std::optional<std::string> activations = {};  ///< how inputs were rounded: "int8-per-token" ...
  std::optional<double> gate;  ///< training only beyond this share of lost perplexity
  std::optional<double> perplexity_increase;  ///< share of the teacher's, on the held-out windows
  std::vector<TrainingPoint> curve;
  std::vector<std::string> warnings;
};

/// One decoder block that was trained by itself. Loss: the mean over tokens of
/// |output - dense output|^2 / |dense output|^2.
struct TrainedBlockReport {
  std::int64_t block = 0;
  TrainingOutcome outcome;
};

/// A training of the decoder blocks one by one, and what it brought.
struct BlockTrainingReport {
  std::string text;          ///< the text's file name, no folder
  std::string token_sha256;  ///< of the windows' ids, little-endian int32
  std::int64_t window = 0;   ///< tokens
  std::int64_t training_windows = 0;
  std::int64_t held_out_windows = 0;
  double perplexity_before = 0;  ///< of the whole model on the held-out windows
  double perplexity_after = 0;
  bool kept = false;  ///< whether the blocks were taken: only with lower perplexity
  std::optional<std::string> activations = {};  ///< as TrainingReport's, as are the next two
  std::optional<double> gate;
  std::optional<double> perplexity_increase;
  std::vector<TrainedBlockReport> blocks;
  std::vector<std::string> warnings;
};

/// What differs between two equal runs.
struct RunEnvironment {
  std::string started_at;  ///< UTC, RFC 3339
  double wall_seconds = 0;
  std::map<std::string, double> stage_seconds;
  std::int64_t peak_rss_bytes = 0;
  std::string cpu;
  std::string instruction_set;  ///< that LibTorch's own kernels use: "AVX2", "AVX512" ...
  int num_threads = 0;
  std::optional<double> dense_prefill_tokens_per_second;
  std::optional<double> dense_decode_tokens_per_second;
  std::optional<double> artifact_prefill_tokens_per_second;
  std::optional<double> artifact_decode_tokens_per_second;
};

/// What a run did and measured. Schema edgecompress.report/v1, docs/report-format.md.
struct Report {
  std::string tool_version;
  std::string command;     ///< "run", "prune", ...
  std::string model_name;  ///< the folder's name
  std::string model_config_sha256;
  std::string input_manifest_sha256;  ///< that the model's files were compared with; empty: none
  std::string recipe;                 ///< the effective recipe's text; empty without one
  std::string recipe_sha256;
  std::int64_t parameters_before = 0;
  std::int64_t parameters_after = 0;
  std::int64_t bytes_before = 0;
  std::int64_t bytes_after = 0;
  double sparsity = 0;
  std::vector<StageReport> stages;
  std::optional<EvaluationReport> evaluation;
  std::optional<BlockTrainingReport> block_training;
  std::optional<TrainingReport> training;
  std::optional<ArtifactReport> artifact;
  std::vector<TensorReport> tensors;
  std::vector<GateReport> gates = {};
  std::vector<std::string> warnings;
  RunEnvironment environment;
};

/// The report as JSON in a fixed key order. Numbers that are not finite appear as text ("NaN",
/// "Infinity") beside "nonfinite": true in the document's root.
nlohmann::ordered_json report_json(const Report& report);

/// One row of "tensors" in report_json, and back: every field survives.
/// Throws Error{Malformed} J-REPORT for JSON that tensor_report_json did not write.
nlohmann::ordered_json tensor_report_json(const TensorReport& tensor);
TensorReport parse_tensor_report(const nlohmann::ordered_json& row);

/// "training" and "block_training" in report_json, and back, without the warnings.
/// Throws Error{Malformed} J-REPORT for JSON that these did not write.
nlohmann::ordered_json training_report_json(const TrainingReport& training);
TrainingReport parse_training_report(const nlohmann::ordered_json& training);
nlohmann::ordered_json block_training_report_json(const BlockTrainingReport& training);
BlockTrainingReport parse_block_training_report(const nlohmann::ordered_json& training);

/// One entry of the report's `gates`.
nlohmann::ordered_json gate_json(const GateReport& gate);

/// A table for the terminal: one row per stage, then the artifact, gates and warnings. ASCII, at
/// most 100 columns.
std::string report_table(const Report& report);

}  // namespace edgecompress
