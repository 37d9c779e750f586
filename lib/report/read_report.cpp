#include "report/read_report.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/strict_json.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

/// An object of the report and its place in it.
class ReportReader {
 public:
  ReportReader(const Json& value, std::string place, const std::string& source)
      : value_(value), place_(std::move(place)), source_(source) {
    if (!value.is_object()) refuse(place_, "an object");
  }

  bool has(const char* key) const { return value_.contains(key); }
  ReportReader object(const char* key) const { return {at(key), place_of(key), source_}; }

  std::string text(const char* key) const {
    if (!at(key).is_string()) refuse(place_of(key), "text");
    return at(key).get<std::string>();
  }
  std::int64_t integer(const char* key) const {
    if (!at(key).is_number_integer()) refuse(place_of(key), "an integer");
    return at(key).get<std::int64_t>();
  }
  bool boolean(const char* key) const {
    if (!at(key).is_boolean()) refuse(place_of(key), "true or false");
    return at(key).get<bool>();
  }
  double number(const char* key) const {
    const Json& value = at(key);
    if (value.is_number()) return value.get<double>();
    if (value == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (value == "Infinity") return std::numeric_limits<double>::infinity();
    if (value == "-Infinity") return -std::numeric_limits<double>::infinity();
    refuse(place_of(key), "a number");
  }
  std::optional<double> optional_number(const char* key) const {
    return has(key) ? std::optional(number(key)) : std::nullopt;
  }
  std::optional<std::int64_t> optional_integer(const char* key) const {
    return has(key) ? std::optional(integer(key)) : std::nullopt;
  }

  /// Calls body(reader) for each object of a list; none when the key is absent.
  template <typename Body>
  void each(const char* key, const Body& body) const {
    if (!has(key)) return;
    if (!at(key).is_array()) refuse(place_of(key), "a list");
    for (std::size_t i = 0; i < at(key).size(); ++i) {
      body(ReportReader(at(key)[i], concat(place_of(key), "[", i, "]"), source_));
    }
  }
  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> out;
    if (!has(key)) return out;
    if (!at(key).is_array()) refuse(place_of(key), "a list");
    for (const Json& item : at(key)) {
      if (!item.is_string()) refuse(place_of(key), "a list of texts");
      out.push_back(item.get<std::string>());
    }
    return out;
  }
  std::vector<std::int64_t> integers(const char* key) const {
    std::vector<std::int64_t> out;
    if (!at(key).is_array()) refuse(place_of(key), "a list");
    for (const Json& item : at(key)) {
      if (!item.is_number_integer()) refuse(place_of(key), "a list of integers");
      out.push_back(item.get<std::int64_t>());
    }
    return out;
  }
  template <typename Body>
  void each_key(const Body& body) const {
    for (const auto& [key, value] : value_.items()) body(key);
  }

 private:
  std::string place_of(const char* key) const { return place_.empty() ? key : place_ + "." + key; }

  const Json& at(const char* key) const {
    if (!value_.contains(key)) {
      throw Error(ErrorKind::Malformed, "J-REPORT",
                  concat(source_, ": key ", place_of(key), " is missing; is it a report?"));
    }
    return value_.at(key);
  }

  [[noreturn]] void refuse(const std::string& place, const std::string& expected) const {
    throw Error(ErrorKind::Malformed, "J-REPORT",
                concat(source_, ": ", place, " must be ", expected));
  }

  const Json& value_;
  std::string place_;
  const std::string& source_;
};

StageReport read_stage(const ReportReader& in) {
  return {.stage = in.text("stage"),
          .parameters = in.integer("parameters"),
          .size_bytes = in.integer("size_bytes"),
          .flops_per_token = in.integer("flops_per_token"),
          .sparsity = in.number("sparsity"),
          .perplexity = in.optional_number("perplexity"),
          .kl_divergence_nats = in.optional_number("kl_divergence_nats"),
          .top1_agreement = in.optional_number("top1_agreement")};
}

TensorReport read_tensor(const ReportReader& in) {
  TensorReport out;
  out.name = in.text("name");
  out.shape_before = in.integers("shape_before");
  out.shape_after = in.integers("shape_after");
  out.stored_as = in.text("stored_as");
  out.bits = in.optional_integer("bits");
  out.group_size = in.optional_integer("group_size");
  if (in.has("symmetric")) out.symmetric = in.boolean("symmetric");
  if (in.has("activations")) out.activations = in.text("activations");
  out.sparsity_target = in.optional_number("sparsity_target");
  out.sparsity = in.number("sparsity");
  out.relative_output_error = in.optional_number("relative_output_error");
  out.relative_nearest_error = in.optional_number("relative_nearest_error");
  out.damping_rung = in.optional_integer("damping_rung");
  out.clipped_share = in.optional_number("clipped_share");
  out.input_scale_exponent = in.optional_number("input_scale_exponent");
  out.block_error_before = in.optional_number("block_error_before");
  out.block_error_after = in.optional_number("block_error_after");
  out.fallbacks = in.texts("fallbacks");
  out.relative_weight_error = in.optional_number("relative_weight_error");
  out.bytes_before = in.integer("bytes_before");
  out.bytes_after = in.integer("bytes_after");
  return out;
}

EvaluationReport read_evaluation(const ReportReader& in) {
  return {.protocol = in.text("protocol"),
          .text = in.text("text"),
          .window = in.integer("window"),
          .windows = in.integer("windows"),
          .target_tokens = in.integer("target_tokens"),
          .token_sha256 = in.text("token_sha256"),
          .dtype = in.text("dtype")};
}

TrainingPoint read_training_point(const ReportReader& in) {
  return {.step = in.integer("step"),
          .tokens = in.integer("tokens"),
          .learning_rate_share = in.number("learning_rate_share"),
          .loss = in.optional_number("loss"),
          .held_out_loss = in.number("held_out_loss")};
}

TrainingOutcome read_outcome(const ReportReader& in) {
  return {.trained_parameters = in.integer("trained_parameters"),
          .steps_planned = in.integer("steps_planned"),
          .steps_done = in.integer("steps_done"),
          .kept_step = in.integer("kept_step"),
          .held_out_loss_before = in.number("held_out_loss_before"),
          .held_out_loss_after = in.number("held_out_loss_after")};
}

TrainingReport read_training(const ReportReader& in) {
  TrainingReport out;
  out.trained = in.text("trained");
  out.loss = in.text("loss");
  out.text = in.text("text");
  out.token_sha256 = in.text("token_sha256");
  out.window = in.integer("window");
  out.training_windows = in.integer("training_windows");
  out.held_out_windows = in.integer("held_out_windows");
  out.outcome = read_outcome(in);
  if (in.has("activations")) out.activations = in.text("activations");
  out.gate = in.optional_number("gate");
  out.perplexity_increase = in.optional_number("perplexity_increase");
  in.each("curve",
          [&](const ReportReader& point) { out.curve.push_back(read_training_point(point)); });
  return out;
}

TrainedBlockReport read_trained_block(const ReportReader& in) {
  return {.block = in.integer("block"), .outcome = read_outcome(in)};
}

BlockTrainingReport read_block_training(const ReportReader& in) {
  BlockTrainingReport out;
  out.text = in.text("text");
  out.token_sha256 = in.text("token_sha256");
  out.window = in.integer("window");
  out.training_windows = in.integer("training_windows");
  out.held_out_windows = in.integer("held_out_windows");
  out.perplexity_before = in.number("perplexity_before");
  out.perplexity_after = in.number("perplexity_after");
  out.kept = in.boolean("kept");
  if (in.has("activations")) out.activations = in.text("activations");
  out.gate = in.optional_number("gate");
  out.perplexity_increase = in.optional_number("perplexity_increase");
  in.each("blocks",
          [&](const ReportReader& block) { out.blocks.push_back(read_trained_block(block)); });
  return out;
}

ProductReport read_product(const ReportReader& in) {
  return {.module = in.text("module"),
          .form = in.text("form"),
          .weights = in.integer("weights"),
          .sparsity = in.number("sparsity"),
          .stored_share = in.number("stored_share"),
          .bytes = in.integer("bytes"),
          .reason = in.text("reason")};
}

ArtifactReport read_artifact(const ReportReader& in) {
  ArtifactReport out;
  out.format = in.text("format");
  if (in.has("activations")) out.activations = in.text("activations");
  if (in.has("onnxruntime_version")) out.onnxruntime_version = in.text("onnxruntime_version");
  out.max_logit_error = in.optional_number("max_logit_error");
  out.mean_logit_error = in.optional_number("mean_logit_error");
  out.kl_divergence_nats = in.optional_number("kl_divergence_nats");
  out.top1_agreement = in.optional_number("top1_agreement");
  out.cache_split_error = in.optional_number("cache_split_error");
  out.perplexity_exact = in.optional_number("perplexity_exact");
  out.perplexity_published = in.optional_number("perplexity_published");
  out.size_bytes = in.integer("size_bytes");
  in.each("products",
          [&](const ReportReader& product) { out.products.push_back(read_product(product)); });
  const ReportReader files = in.object("file_sha256");
  files.each_key(
      [&](const std::string& name) { out.file_sha256[name] = files.text(name.c_str()); });
  return out;
}

GateReport read_gate(const ReportReader& in) {
  const std::string name = in.text("gate");
  for (std::size_t i = 0; i < kNumGateMetrics; ++i) {
    const auto metric = static_cast<GateMetric>(i);
    if (gate_name(metric) != name) continue;
    return {.metric = metric,
            .limit = in.number("limit"),
            .value = in.optional_number("value"),
            .passed = in.boolean("passed")};
  }
  throw Error(ErrorKind::Malformed, "J-REPORT", concat("unknown gate \"", name, "\""));
}

RunEnvironment read_environment(const ReportReader& in) {
  RunEnvironment out;
  out.started_at = in.text("started_at");
  out.wall_seconds = in.number("wall_seconds");
  const ReportReader seconds = in.object("stage_seconds");
  seconds.each_key(
      [&](const std::string& stage) { out.stage_seconds[stage] = seconds.number(stage.c_str()); });
  out.peak_rss_bytes = in.integer("peak_rss_bytes");
  out.cpu = in.text("cpu");
  if (in.has("instruction_set")) out.instruction_set = in.text("instruction_set");
  out.num_threads = static_cast<int>(in.integer("num_threads"));
  out.dense_prefill_tokens_per_second = in.optional_number("dense_prefill_tokens_per_second");
  out.dense_decode_tokens_per_second = in.optional_number("dense_decode_tokens_per_second");
  out.artifact_prefill_tokens_per_second = in.optional_number("artifact_prefill_tokens_per_second");
  out.artifact_decode_tokens_per_second = in.optional_number("artifact_decode_tokens_per_second");
  return out;
}

}  // namespace

TensorReport parse_tensor_report(const Json& row) {
  return read_tensor(ReportReader(row, "row", "a tensor's report"));
}

TrainingReport parse_training_report(const Json& training) {
  return read_training(ReportReader(training, "training", "a training's report"));
}

BlockTrainingReport parse_block_training_report(const Json& training) {
  return read_block_training(ReportReader(training, "training", "a training's report"));
}

Report read_report(std::string_view text, const std::string& source) {
  const Json document = parse_strict_json(text, source);
  const ReportReader in(document, "", source);
  if (in.text("schema") != "edgecompress.report/v1") {
    throw Error(ErrorKind::Malformed, "J-REPORT",
                concat(source, ": schema must be edgecompress.report/v1, found \"",
                       in.text("schema"), "\""));
  }
  Report out;
  out.tool_version = in.text("tool_version");
  out.command = in.text("command");
  out.model_name = in.object("model").text("name");
  out.model_config_sha256 = in.object("model").text("config_sha256");
  if (in.object("model").has("input_manifest_sha256")) {
    out.input_manifest_sha256 = in.object("model").text("input_manifest_sha256");
  }
  if (in.has("recipe")) {
    out.recipe = in.object("recipe").text("text");
    out.recipe_sha256 = in.object("recipe").text("sha256");
  }
  const ReportReader totals = in.object("totals");
  out.parameters_before = totals.integer("parameters_before");
  out.parameters_after = totals.integer("parameters_after");
  out.bytes_before = totals.integer("bytes_before");
  out.bytes_after = totals.integer("bytes_after");
  out.sparsity = totals.number("sparsity");
  in.each("stages", [&](const ReportReader& stage) { out.stages.push_back(read_stage(stage)); });
  if (in.has("evaluation")) out.evaluation = read_evaluation(in.object("evaluation"));
  if (in.has("block_training")) {
    out.block_training = read_block_training(in.object("block_training"));
  }
  if (in.has("training")) out.training = read_training(in.object("training"));
  if (in.has("artifact")) out.artifact = read_artifact(in.object("artifact"));
  in.each("tensors",
          [&](const ReportReader& tensor) { out.tensors.push_back(read_tensor(tensor)); });
  in.each("gates", [&](const ReportReader& gate) { out.gates.push_back(read_gate(gate)); });
  out.warnings = in.texts("warnings");
  out.environment = read_environment(in.object("environment"));
  return out;
}

}  // namespace edgecompress
