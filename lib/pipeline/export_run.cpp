#include "pipeline/export_run.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file_hash.h"
#include "base/mapped_file.h"
#include "base/version.h"
#include "llama/folder_warnings.h"
#include "llama/linear_layers.h"
#include "ort/session.h"
#include "pipeline/run_environment.h"
#include "pipeline/run_fingerprint.h"
#include "pipeline/tokenizer_warnings.h"
#include "report/html_report.h"
#include "report/model_card.h"
#include "verify/input_manifest.h"
#include "verify/manifest.h"

namespace edgecompress {
namespace {

std::string source_license(const std::filesystem::path& model) {
  constexpr std::uint64_t kLargestCard = std::uint64_t{1} << 20;
  const std::filesystem::path card = model / "README.md";
  std::error_code error;
  if (!std::filesystem::is_regular_file(card, error) ||
      std::filesystem::file_size(card, error) > kLargestCard) {
    return {};
  }
  return license_of_card(read_text_file(card, kLargestCard));
}

}  // namespace

std::string format_name(const ExportOptions& exporting) {
  const std::string dense =
      std::holds_alternative<GenaiFormat>(exporting.format) ? "genai" : "onnx";
  return exporting.sparse ? dense + "-sparse" : dense;
}

ExportOptions with_operator_library(ExportOptions exporting) {
  if (exporting.sparse) exporting.sparse->operator_library = find_operator_library();
  return exporting;
}

ArtifactReport describe_artifact(const ModelFolder& model, const ExportOptions& exporting,
                                 const OnnxArtifact& artifact, ArtifactReport checked) {
  checked.format = format_name(exporting);
  const ActivationRounding rounding = artifact_activations(model, exporting).rounding;
  if (rounding != ActivationRounding::None) checked.activations = activation_name(rounding);
  checked.size_bytes = static_cast<std::int64_t>(artifact.total_bytes);
  checked.file_sha256 = artifact.file_sha256;
  for (const ProductStorage& product : artifact.products) {
    checked.products.push_back({.module = product.module,
                                .form = product.form,
                                .weights = product.weights,
                                .sparsity = product.zero_share,
                                .stored_share = product.stored_share,
                                .bytes = product.bytes,
                                .reason = product.reason});
  }
  return checked;
}

ExportOptions export_options(const ExportStep& step, int num_threads) {
  ExportOptions exporting;
  if (is_genai(step.format)) {
    exporting.format = GenaiFormat{.accuracy_level = step.accuracy_level};
  } else {
    exporting.format = StandardFormat{};
  }
  if (is_sparse(step.format)) {
    exporting.sparse = SparseOptions{
        .threshold = step.sparse_from,
        .scale_type = step.scale_bits == 16 ? ScaleType::Float16 : ScaleType::Float32};
  }
  exporting.activations = step.activations;
  exporting.context_length = step.context_length;
  exporting.num_threads = num_threads;
  return exporting;
}

Report report_of_input(const ModelFolder& model, const std::string& command,
                       const RunOptions& options, const Progress& progress) {
  Report report;
  if (!options.input_manifest.empty()) {
    report.input_manifest_sha256 = check_input_hashes(options.model, options.input_manifest,
                                                      options.compute.num_threads, progress);
  }
  report.warnings = folder_warnings(model);
  report.tool_version = kVersion;
  report.command = command;
  report.model_name = std::filesystem::canonical(model.path()).filename().string();
  report.model_config_sha256 = sha256_of_file(MappedFile(model.path() / "config.json"));
  report.parameters_before = total_parameters(model.config());
  report.parameters_after = report.parameters_before;
  report.bytes_before = static_cast<std::int64_t>(model.store().total_bytes());
  report.bytes_after = report.bytes_before;
  return report;
}

void publish_with_report(StagedFolder& output, const Report& report,
                         std::map<std::string, std::string> files,
                         const std::filesystem::path& source,
                         const std::vector<std::string>& discarded) {
  files["report.json"] = output.write("report.json", report_json(report).dump(1) + "\n");
  files["report.html"] = output.write("report.html", html_report(report));
  files["report.md"] = output.write("report.md", markdown_report(report));
  if (!files.contains("README.md")) {
    files["README.md"] = output.write("README.md", model_card(report, source_license(source)));
  }
  output.write(kManifestName, manifest_text(manifest_of(output.path(), files)));
  output.publish(discarded);
}

void add_export_warnings(Report& report, const ModelFolder& model, const ExportOptions& exporting,
                         const OnnxArtifact& artifact) {
  std::vector<std::string>& out = report.warnings;
  out.insert(out.end(), artifact.warnings.begin(), artifact.warnings.end());
  if (!std::holds_alternative<GenaiFormat>(exporting.format)) return;
  for (std::string& warning : genai_tokenizer_warnings(model)) out.push_back(std::move(warning));
}

Report run_export(const ExportOptions& wanted, const RunOptions& options,
                  const Progress& progress) {
  RunClock clock;
  const ExportOptions exporting = with_operator_library(wanted);
  const ModelFolder model = ModelFolder::open(options.model);
  StagedFolder output(options.output, {options.model}, options.existing, Leftovers::Keep);
  Report report = report_of_input(model, "export", options, progress);
  // An export has no parts to go on with; the journal keeps it from deleting another run's.
  const RunJournal journal(output, run_fingerprint("export", options, model, nullptr, nullptr),
                           options.resume);
  const OnnxArtifact artifact = export_onnx(model, exporting, output, "", progress);
  clock.finish_stage("export");

  add_export_warnings(report, model, exporting, artifact);
  ArtifactReport checked;
  if (options.artifact_check == ArtifactCheck::Run) {
    const ArtifactActivations activations = artifact_activations(model, exporting);
    RunOptions as_artifact = options;
    as_artifact.compute.activations = activations.instead;
    checked = check_on_random_tokens(model,
                                     {.path = output.path() / artifact.graph,
                                      .context_tokens = context_tokens(model.config(), exporting)},
                                     artifact_tolerance(exporting, activations.rounding),
                                     as_artifact, progress);
    clock.finish_stage("check_artifact");
  }
  report.artifact = describe_artifact(model, exporting, artifact, checked);
  report.bytes_after = report.artifact->size_bytes;
  report.environment = clock.environment(options.compute.num_threads);
  publish_with_report(output, report, artifact.file_sha256, options.model);
  return report;
}

}  // namespace edgecompress
