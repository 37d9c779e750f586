#include "report/report_sections.h"

#include <cmath>

#include "base/error.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

std::string number(const std::optional<double>& value, const char* format = "%.4g") {
  return value ? formatted(format, *value) : "";
}
std::string percent(const std::optional<double>& value) {
  return value ? formatted("%.2f%%", 100 * *value) : "";
}
std::string ratio(std::int64_t before, std::int64_t after) {
  if (after <= 0) return "";
  return formatted("%.2fx", static_cast<double>(before) / static_cast<double>(after));
}
std::string change(const std::optional<double>& value, const std::optional<double>& first) {
  if (!value || !first) return "";
  return formatted("%+.2f%%", 100 * (*value / *first - 1));
}
std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string out;
  for (const std::int64_t size : shape) out += concat(out.empty() ? "" : " x ", size);
  return out;
}

void add_row(ReportTable& table, const std::string& name, const std::string& value) {
  if (!value.empty()) table.rows.push_back({name, value});
}

std::string speed(const std::optional<double>& value) {
  return value ? formatted("%.1f", *value) : "";
}

}  // namespace

ReportTable stages_section(const Report& report) {
  ReportTable table{.title = "Stages",
                    .head = {"stage", "parameters", "size", "ratio", "sparsity", "perplexity",
                             "change", "KL (nats)", "top-1"},
                    .rows = {}};
  for (const StageReport& stage : report.stages) {
    const StageReport& first = report.stages.front();
    table.rows.push_back({stage.stage, count_text(stage.parameters), size_text(stage.size_bytes),
                          ratio(first.size_bytes, stage.size_bytes), percent(stage.sparsity),
                          number(stage.perplexity, "%.3f"),
                          change(stage.perplexity, first.perplexity),
                          number(stage.kl_divergence_nats), percent(stage.top1_agreement)});
  }
  return table;
}

ReportTable gates_section(const Report& report) {
  ReportTable table{.title = "Gates", .head = {"gate", "limit", "found", "verdict"}, .rows = {}};
  for (const GateReport& gate : report.gates) {
    table.rows.push_back({std::string(gate_name(gate.metric)),
                          concat(is_upper_limit(gate.metric) ? "at most " : "at least ",
                                 gate_number(gate.metric, gate.limit)),
                          gate.value ? gate_number(gate.metric, *gate.value) : "not measured",
                          gate.passed ? "pass" : "FAIL"});
  }
  return table;
}

ReportTable artifact_section(const Report& report) {
  ReportTable table{.title = "Artifact", .head = {"", ""}, .rows = {}};
  if (!report.artifact) return table;
  const ArtifactReport& artifact = *report.artifact;
  add_row(table, "format", artifact.format);
  add_row(table, "size", size_text(artifact.size_bytes));
  add_row(table, "run by ONNX Runtime",
          artifact.onnxruntime_version.empty() ? "not run" : artifact.onnxruntime_version);
  add_row(table, "perplexity, as published", number(artifact.perplexity_published, "%.3f"));
  add_row(table, "perplexity, accuracy level 0", number(artifact.perplexity_exact, "%.3f"));
  add_row(table, "largest logit difference to the compressed model",
          number(artifact.max_logit_error, "%.2e"));
  add_row(table, "mean logit difference", number(artifact.mean_logit_error, "%.2e"));
  add_row(table, "KL to the compressed model (nats)", number(artifact.kl_divergence_nats, "%.2e"));
  add_row(table, "top-1 agreement with it", percent(artifact.top1_agreement));
  add_row(table, "prefill against token by token", number(artifact.cache_split_error, "%.2e"));
  return table;
}

ReportTable speed_section(const Report& report) {
  ReportTable table{.title = "Speed, tokens per second",
                    .head = {"", "dense artifact", "this artifact", "speedup"},
                    .rows = {}};
  const auto row = [&](const char* name, const std::optional<double>& dense,
                       const std::optional<double>& artifact) {
    if (!dense || !artifact) return;
    table.rows.push_back(
        {name, speed(dense), speed(artifact), formatted("%.2fx", *artifact / *dense)});
  };
  const RunEnvironment& environment = report.environment;
  row("prefill", environment.dense_prefill_tokens_per_second,
      environment.artifact_prefill_tokens_per_second);
  row("decode", environment.dense_decode_tokens_per_second,
      environment.artifact_decode_tokens_per_second);
  return table;
}

ReportTable evaluation_section(const Report& report) {
  ReportTable table{
      .title = "How perplexity was measured", .folded = true, .head = {"", ""}, .rows = {}};
  if (!report.evaluation) return table;
  const EvaluationReport& evaluation = *report.evaluation;
  add_row(table, "protocol", evaluation.protocol);
  add_row(table, "text", evaluation.text);
  add_row(table, "windows", concat(evaluation.windows, " of ", evaluation.window, " tokens"));
  add_row(table, "targets", std::to_string(evaluation.target_tokens));
  add_row(table, "SHA-256 of the token ids", evaluation.token_sha256);
  add_row(table, "arithmetic", evaluation.dtype);
  return table;
}

ReportTable tensors_section(const Report& report) {
  ReportTable table{.title = "Every matrix",
                    .folded = true,
                    .head = {"matrix", "shape", "stored as", "bits", "group", "sparsity",
                             "weight error", "output error", "clipped", "size"},
                    .rows = {}};
  for (const TensorReport& tensor : report.tensors) {
    const std::string group =
        !tensor.group_size ? ""
                           : (*tensor.group_size == 0 ? "row" : std::to_string(*tensor.group_size));
    table.rows.push_back({tensor.name, shape_text(tensor.shape_after), tensor.stored_as,
                          tensor.bits ? std::to_string(*tensor.bits) : "", group,
                          percent(tensor.sparsity), number(tensor.relative_weight_error, "%.2e"),
                          number(tensor.relative_output_error, "%.2e"),
                          percent(tensor.clipped_share), size_text(tensor.bytes_after)});
  }
  return table;
}

ReportTable warnings_section(const Report& report) {
  ReportTable table{.title = "Warnings", .head = {"warning"}, .rows = {}};
  for (const std::string& warning : report.warnings) table.rows.push_back({warning});
  return table;
}

ReportTable fallbacks_section(const Report& report) {
  ReportTable table{.title = "Fallbacks", .head = {"matrix", "what was done"}, .rows = {}};
  for (const TensorReport& tensor : report.tensors) {
    for (const std::string& fallback : tensor.fallbacks) {
      table.rows.push_back({tensor.name, fallback});
    }
    if (tensor.damping_rung.value_or(0) > 0) {
      table.rows.push_back(
          {tensor.name, concat("damping raised ", *tensor.damping_rung, " times")});
    }
  }
  return table;
}

ReportTable files_section(const Report& report) {
  ReportTable table{
      .title = "Files of the artifact", .folded = true, .head = {"file", "SHA-256"}, .rows = {}};
  if (!report.artifact) return table;
  for (const auto& [name, sha256] : report.artifact->file_sha256)
    table.rows.push_back({name, sha256});
  return table;
}

ReportTable origin_section(const Report& report) {
  ReportTable table{.title = "What it was made from", .folded = true, .head = {"", ""}, .rows = {}};
  add_row(table, "edgecompress", report.tool_version);
  add_row(table, "instruction set", report.environment.instruction_set);
  add_row(table, "model config, SHA-256", report.model_config_sha256);
  add_row(table, "list of input files, SHA-256", report.input_manifest_sha256);
  return table;
}

std::vector<ReportFact> headline_facts(const Report& report) {
  std::vector<ReportFact> facts;
  facts.push_back({"size", size_text(report.bytes_after),
                   concat("was ", size_text(report.bytes_before), ", ",
                          ratio(report.bytes_before, report.bytes_after), " smaller")});
  facts.push_back({"parameters", count_text(report.parameters_after),
                   concat("was ", count_text(report.parameters_before))});
  if (report.sparsity > 0) {
    facts.push_back({"sparsity", percent(report.sparsity), "zeros in the blocks' weights"});
  }
  const std::optional<double> increase = gate_value(report, GateMetric::PerplexityIncrease);
  if (increase) {
    const double first = *report.stages.front().perplexity;
    facts.push_back(
        {"perplexity", formatted("%.3f", first * (1 + *increase)),
         concat("was ", formatted("%.3f", first), ", ", formatted("%+.2f%%", 100 * *increase))});
  }
  if (const auto speedup = gate_value(report, GateMetric::Speedup)) {
    facts.push_back({"decoding", formatted("%.2fx", *speedup), "as fast as the dense artifact"});
  }
  if (!report.gates.empty()) {
    const bool passed = all_passed(report.gates);
    facts.push_back({"gates", passed ? "passed" : "FAILED",
                     concat(report.gates.size(), report.gates.size() == 1 ? " gate" : " gates")});
  }
  return facts;
}

std::string reproduce_command(const Report& report) {
  if (report.recipe.empty()) {
    return concat("edgecompress ", report.command, " --model ", report.model_name,
                  " -o out ...  # edgecompress ", report.tool_version);
  }
  return concat("edgecompress run recipe.ec.yaml --model ", report.model_name,
                " -o out  # the effective recipe as recipe.ec.yaml; edgecompress ",
                report.tool_version);
}

}  // namespace edgecompress
