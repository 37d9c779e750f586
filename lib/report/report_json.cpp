#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "report/report.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

/// Text that JSON can carry: bytes that are not UTF-8, as file names may have, become U+FFFD.
Json text(const std::string& value) {
  return Json::parse(Json(value).dump(-1, ' ', false, Json::error_handler_t::replace));
}

/// Makes the parts of a report and remembers whether a number was not finite.
class ReportWriter {
 public:
  bool nonfinite() const { return nonfinite_; }

  Json number(double value) {
    if (std::isfinite(value)) return value;
    nonfinite_ = true;
    if (std::isnan(value)) return "NaN";
    return value > 0 ? "Infinity" : "-Infinity";
  }

  void put(Json& object, const char* key, const std::optional<double>& value) {
    if (value) object[key] = number(*value);
  }
  template <typename T>
  static void put_exact(Json& object, const char* key, const std::optional<T>& value) {
    if (value) object[key] = *value;
  }

  Json totals(const Report& report) {
    Json out = Json::object();
    out["parameters_before"] = report.parameters_before;
    out["parameters_after"] = report.parameters_after;
    out["bytes_before"] = report.bytes_before;
    out["bytes_after"] = report.bytes_after;
    if (report.bytes_after > 0) {
      out["size_ratio"] =
          static_cast<double>(report.bytes_before) / static_cast<double>(report.bytes_after);
    }
    out["sparsity"] = number(report.sparsity);
    return out;
  }

  Json stage(const StageReport& stage, const StageReport& first) {
    Json out = Json::object();
    out["stage"] = text(stage.stage);
    out["parameters"] = stage.parameters;
    out["size_bytes"] = stage.size_bytes;
    out["flops_per_token"] = stage.flops_per_token;
    out["sparsity"] = number(stage.sparsity);
    put(out, "perplexity", stage.perplexity);
    if (stage.perplexity && first.perplexity) {
      out["perplexity_change"] = number(*stage.perplexity / *first.perplexity - 1);
    }
    put(out, "kl_divergence_nats", stage.kl_divergence_nats);
    put(out, "top1_agreement", stage.top1_agreement);
    return out;
  }

  Json evaluation(const EvaluationReport& evaluation) {
    Json out = Json::object();
    out["protocol"] = text(evaluation.protocol);
    out["text"] = text(evaluation.text);
    out["window"] = evaluation.window;
    out["windows"] = evaluation.windows;
    out["target_tokens"] = evaluation.target_tokens;
    out["token_sha256"] = text(evaluation.token_sha256);
    out["dtype"] = text(evaluation.dtype);
    return out;
  }

  Json product(const ProductReport& product) {
    Json out = Json::object();
    out["module"] = text(product.module);
    out["form"] = text(product.form);
    out["weights"] = product.weights;
    out["sparsity"] = number(product.sparsity);
    out["stored_share"] = number(product.stored_share);
    out["bytes"] = product.bytes;
    out["bytes_per_weight"] =
        number(static_cast<double>(product.bytes) / static_cast<double>(product.weights));
    out["reason"] = text(product.reason);
    return out;
  }

  void put_outcome(Json& out, const TrainingOutcome& outcome) {
    out["trained_parameters"] = outcome.trained_parameters;
    out["steps_planned"] = outcome.steps_planned;
    out["steps_done"] = outcome.steps_done;
    out["kept_step"] = outcome.kept_step;
    out["held_out_loss_before"] = number(outcome.held_out_loss_before);
    out["held_out_loss_after"] = number(outcome.held_out_loss_after);
  }

  Json training(const TrainingReport& training) {
    Json out = Json::object();
    out["trained"] = text(training.trained);
    out["loss"] = text(training.loss);
    out["text"] = text(training.text);
    out["token_sha256"] = text(training.token_sha256);
    out["window"] = training.window;
    out["training_windows"] = training.training_windows;
    out["held_out_windows"] = training.held_out_windows;
    put_outcome(out, training.outcome);
    if (training.activations) out["activations"] = text(*training.activations);
    put(out, "gate", training.gate);
    put(out, "perplexity_increase", training.perplexity_increase);
    out["curve"] = Json::array();
    for (const TrainingPoint& point : training.curve) out["curve"].push_back(curve_point(point));
    return out;
  }

  Json block_training(const BlockTrainingReport& training) {
    Json out = Json::object();
    out["text"] = text(training.text);
    out["token_sha256"] = text(training.token_sha256);
    out["window"] = training.window;
    out["training_windows"] = training.training_windows;
    out["held_out_windows"] = training.held_out_windows;
    out["perplexity_before"] = number(training.perplexity_before);
    out["perplexity_after"] = number(training.perplexity_after);
    out["kept"] = training.kept;
    if (training.activations) out["activations"] = text(*training.activations);
    put(out, "gate", training.gate);
    put(out, "perplexity_increase", training.perplexity_increase);
    out["blocks"] = Json::array();
    for (const TrainedBlockReport& block : training.blocks) {
      out["blocks"].push_back(trained_block(block));
    }
    return out;
  }

  Json trained_block(const TrainedBlockReport& block) {
    Json out = Json::object();
    out["block"] = block.block;
    put_outcome(out, block.outcome);
    return out;
  }

  Json curve_point(const TrainingPoint& point) {
    Json out = Json::object();
    out["step"] = point.step;
    out["tokens"] = point.tokens;
    out["learning_rate_share"] = number(point.learning_rate_share);
    put(out, "loss", point.loss);
    out["held_out_loss"] = number(point.held_out_loss);
    return out;
  }

  Json artifact(const ArtifactReport& artifact) {
    Json out = Json::object();
    out["format"] = text(artifact.format);
    if (artifact.activations) out["activations"] = text(*artifact.activations);
    if (!artifact.onnxruntime_version.empty()) {
      out["onnxruntime_version"] = text(artifact.onnxruntime_version);
    }
    put(out, "max_logit_error", artifact.max_logit_error);
    put(out, "mean_logit_error", artifact.mean_logit_error);
    put(out, "kl_divergence_nats", artifact.kl_divergence_nats);
    put(out, "top1_agreement", artifact.top1_agreement);
    put(out, "cache_split_error", artifact.cache_split_error);
    put(out, "perplexity_exact", artifact.perplexity_exact);
    put(out, "perplexity_published", artifact.perplexity_published);
    out["size_bytes"] = artifact.size_bytes;
    for (const ProductReport& each : artifact.products) out["products"].push_back(product(each));
    Json files = Json::object();
    for (const auto& [name, sha256] : artifact.file_sha256)
      files[text(name).get<std::string>()] = text(sha256);
    out["file_sha256"] = std::move(files);
    return out;
  }

  Json tensor(const TensorReport& tensor) {
    Json out = Json::object();
    out["name"] = text(tensor.name);
    out["shape_before"] = tensor.shape_before;
    out["shape_after"] = tensor.shape_after;
    out["stored_as"] = text(tensor.stored_as);
    put_exact(out, "bits", tensor.bits);
    put_exact(out, "group_size", tensor.group_size);
    put_exact(out, "symmetric", tensor.symmetric);
    if (tensor.activations) out["activations"] = text(*tensor.activations);
    put(out, "sparsity_target", tensor.sparsity_target);
    out["sparsity"] = number(tensor.sparsity);
    put(out, "relative_weight_error", tensor.relative_weight_error);
    put(out, "relative_output_error", tensor.relative_output_error);
    put(out, "relative_nearest_error", tensor.relative_nearest_error);
    put_exact(out, "damping_rung", tensor.damping_rung);
    put(out, "clipped_share", tensor.clipped_share);
    put(out, "input_scale_exponent", tensor.input_scale_exponent);
    put(out, "block_error_before", tensor.block_error_before);
    put(out, "block_error_after", tensor.block_error_after);
    if (!tensor.fallbacks.empty()) {
      for (const std::string& fallback : tensor.fallbacks)
        out["fallbacks"].push_back(text(fallback));
    }
    out["bytes_before"] = tensor.bytes_before;
    out["bytes_after"] = tensor.bytes_after;
    return out;
  }

  Json gate(const GateReport& gate) {
    Json out = Json::object();
    out["gate"] = text(std::string(gate_name(gate.metric)));
    out["bound"] = is_upper_limit(gate.metric) ? "max" : "min";
    out["limit"] = number(gate.limit);
    put(out, "value", gate.value);
    out["passed"] = gate.passed;
    return out;
  }

  Json environment(const RunEnvironment& environment) {
    Json out = Json::object();
    out["started_at"] = text(environment.started_at);
    out["wall_seconds"] = number(environment.wall_seconds);
    Json seconds = Json::object();
    for (const auto& [stage, duration] : environment.stage_seconds) {
      seconds[text(stage).get<std::string>()] = number(duration);
    }
    out["stage_seconds"] = std::move(seconds);
    out["peak_rss_bytes"] = environment.peak_rss_bytes;
    out["cpu"] = text(environment.cpu);
    if (!environment.instruction_set.empty()) {
      out["instruction_set"] = text(environment.instruction_set);
    }
    out["num_threads"] = environment.num_threads;
    put(out, "dense_prefill_tokens_per_second", environment.dense_prefill_tokens_per_second);
    put(out, "dense_decode_tokens_per_second", environment.dense_decode_tokens_per_second);
    put(out, "artifact_prefill_tokens_per_second", environment.artifact_prefill_tokens_per_second);
    put(out, "artifact_decode_tokens_per_second", environment.artifact_decode_tokens_per_second);
    return out;
  }

 private:
  bool nonfinite_ = false;
};

}  // namespace

nlohmann::ordered_json tensor_report_json(const TensorReport& tensor) {
  return ReportWriter().tensor(tensor);
}

nlohmann::ordered_json training_report_json(const TrainingReport& training) {
  return ReportWriter().training(training);
}

nlohmann::ordered_json block_training_report_json(const BlockTrainingReport& training) {
  return ReportWriter().block_training(training);
}

nlohmann::ordered_json gate_json(const GateReport& gate) { return ReportWriter().gate(gate); }

nlohmann::ordered_json report_json(const Report& report) {
  ReportWriter writer;
  Json out = Json::object();
  out["schema"] = "edgecompress.report/v1";
  out["nonfinite"] = false;  // keeps its place near the top; set when all numbers are known
  out["tool_version"] = text(report.tool_version);
  out["command"] = text(report.command);
  out["model"] = {{"name", text(report.model_name)},
                  {"config_sha256", text(report.model_config_sha256)}};
  if (!report.input_manifest_sha256.empty()) {
    out["model"]["input_manifest_sha256"] = text(report.input_manifest_sha256);
  }
  if (!report.recipe.empty()) {
    out["recipe"] = {{"text", text(report.recipe)}, {"sha256", text(report.recipe_sha256)}};
  }
  out["totals"] = writer.totals(report);
  out["stages"] = Json::array();
  for (const StageReport& stage : report.stages) {
    out["stages"].push_back(writer.stage(stage, report.stages.front()));
  }
  if (report.evaluation) out["evaluation"] = writer.evaluation(*report.evaluation);
  if (report.block_training) out["block_training"] = writer.block_training(*report.block_training);
  if (report.training) out["training"] = writer.training(*report.training);
  if (report.artifact) out["artifact"] = writer.artifact(*report.artifact);
  out["tensors"] = Json::array();
  for (const TensorReport& tensor : report.tensors) out["tensors"].push_back(writer.tensor(tensor));
  for (const GateReport& gate : report.gates) out["gates"].push_back(writer.gate(gate));
  out["warnings"] = Json::array();
  for (const std::string& warning : report.warnings) out["warnings"].push_back(text(warning));
  out["environment"] = writer.environment(report.environment);
  out["nonfinite"] = writer.nonfinite();
  return out;
}

}  // namespace edgecompress
