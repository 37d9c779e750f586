#include "pipeline/export_run.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/version.h"
#include "llama/linear_layers.h"
#include "pipeline/run_environment.h"
#include "pipeline/run_fingerprint.h"
#include "verify/manifest.h"

namespace edgecompress {
std::string format_name(const OnnxFormat& format) {
  return std::holds_alternative<GenaiFormat>(format) ? "genai" : "onnx";
}

Report report_of_input(const ModelFolder& model, const std::string& command) {
  Report report;
  report.warnings = model.store().warnings();
  report.tool_version = kVersion;
  report.command = command;
  report.model_name = std::filesystem::canonical(model.path()).filename().string();
  const MappedFile config(model.path() / "config.json");
  report.model_config_sha256 = sha256_hex(config.bytes());
  report.parameters_before = total_parameters(model.config());
  report.parameters_after = report.parameters_before;
  report.bytes_before = static_cast<std::int64_t>(model.store().total_bytes());
  report.bytes_after = report.bytes_before;
  return report;
}

void publish_with_report(StagedFolder& output, const Report& report,
                         std::map<std::string, std::string> files) {
  files["report.json"] = output.write("report.json", report_json(report).dump(1) + "\n");
  output.write(kManifestName, manifest_text(manifest_of(output.path(), files)));
  output.publish();
}

Report run_export(const ExportOptions& exporting, const RunOptions& options,
                  const Progress& progress) {
  RunClock clock;
  const ModelFolder model = ModelFolder::open(options.model);
  StagedFolder output(options.output, {options.model}, options.existing, Leftovers::Keep);
  // An export has no parts to go on with; the journal keeps it from deleting another run's.
  const RunJournal journal(output, run_fingerprint("export", options, model, nullptr, nullptr),
                           options.resume);
  const OnnxArtifact artifact = export_onnx(model, exporting, output, "", progress);
  clock.finish_stage("export");

  Report report = report_of_input(model, "export");
  report.warnings.insert(report.warnings.end(), artifact.warnings.begin(), artifact.warnings.end());
  ArtifactReport checked;
  if (options.artifact_check == ArtifactCheck::Run) {
    checked = check_on_random_tokens(model, output.path() / artifact.graph, options, progress);
    clock.finish_stage("check_artifact");
  }
  checked.format = format_name(exporting.format);
  checked.size_bytes = static_cast<std::int64_t>(artifact.total_bytes);
  checked.file_sha256 = artifact.file_sha256;
  report.artifact = checked;
  report.bytes_after = checked.size_bytes;
  report.environment = clock.environment(options.compute.num_threads);
  publish_with_report(output, report, artifact.file_sha256);
  return report;
}

}  // namespace edgecompress
