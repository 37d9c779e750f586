#pragma once

#include "base/progress.h"
#include "onnx_export/export_model.h"
#include "pipeline/artifact_check.h"
#include "pipeline/run_options.h"
#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// Exports a model folder (floating or quantized) and, unless told not to, runs the artifact in
/// ONNX Runtime and compares it with the folder before the output appears. Returns the report that
/// was written beside the artifact.
Report run_export(const ExportOptions& wanted, const RunOptions& options, const Progress& progress);

/// What a recipe's export step asks for.
ExportOptions export_options(const ExportStep& step, int num_threads);

/// "genai", "onnx", "genai-sparse" or "onnx-sparse".
std::string format_name(const ExportOptions& exporting);

/// With the operator library that a sparse export copies.
/// Throws Error{Missing} O08.
ExportOptions with_operator_library(ExportOptions exporting);

/// What was measured of an artifact, with what export says about it.
ArtifactReport describe_artifact(const ModelFolder& model, const ExportOptions& exporting,
                                 const OnnxArtifact& artifact, ArtifactReport checked);

/// Writes report.json, report.html, report.md, a model card (README.md) and
/// edgecompress.manifest.json (size and SHA-256 of every file) and publishes the folder.
/// files: name -> SHA-256 of what is in the folder already. source: the model folder, whose
/// README.md may state a license. discarded: as in StagedFolder::publish.
void publish_with_report(StagedFolder& output, const Report& report,
                         std::map<std::string, std::string> files,
                         const std::filesystem::path& source,
                         const std::vector<std::string>& discarded = {});

/// The warnings of an export: the artifact's, and for the genai format those of its tokenizer.
void add_export_warnings(Report& report, const ModelFolder& model, const ExportOptions& exporting,
                         const OnnxArtifact& artifact);

/// The parts of a report that describe the input. Refuses a model that is not the one of
/// options.input_manifest, as check_input_hashes does.
Report report_of_input(const ModelFolder& model, const std::string& command,
                       const RunOptions& options, const Progress& progress);

}  // namespace edgecompress
