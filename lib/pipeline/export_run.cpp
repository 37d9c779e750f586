#include "pipeline/export_run.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/version.h"
#include "llama/linear_layers.h"
#include "pipeline/run_environment.h"
#include "report/html_report.h"
#include "report/model_card.h"

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

std::string format_name(const OnnxFormat& format) {
  return std::holds_alternative<GenaiFormat>(format) ? "genai" : "onnx";
}

ExportOptions export_options(const ExportStep& step, int num_threads) {
  ExportOptions exporting;
  if (step.format == ExportFormat::Genai) {
    exporting.format = GenaiFormat{.accuracy_level = step.accuracy_level};
  } else {
    exporting.format = StandardFormat{};
  }
  exporting.context_length = step.context_length;
  exporting.num_threads = num_threads;
  return exporting;
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
                         std::map<std::string, std::string> files,
                         const std::filesystem::path& source) {
  files["report.json"] = output.write("report.json", report_json(report).dump(1) + "\n");
  files["report.html"] = output.write("report.html", html_report(report));
  files["report.md"] = output.write("report.md", markdown_report(report));
  if (!files.contains("README.md")) {
    files["README.md"] = output.write("README.md", model_card(report, source_license(source)));
  }
  nlohmann::ordered_json manifest{{"schema", "edgecompress.manifest/v1"},
                                  {"tool_version", kVersion},
                                  {"files", nlohmann::ordered_json::object()}};
  for (const auto& [name, sha256] : files) {
    manifest["files"][name] = {{"bytes", std::filesystem::file_size(output.path() / name)},
                               {"sha256", sha256}};
  }
  output.write("edgecompress.manifest.json", manifest.dump(1) + "\n");
  output.publish();
}

Report run_export(const ExportOptions& exporting, const RunOptions& options,
                  const Progress& progress) {
  RunClock clock;
  const ModelFolder model = ModelFolder::open(options.model);
  StagedFolder output(options.output, {options.model}, options.existing);
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
  publish_with_report(output, report, artifact.file_sha256, options.model);
  return report;
}

}  // namespace edgecompress
