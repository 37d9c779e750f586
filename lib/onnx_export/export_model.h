#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/progress.h"
#include "base/staged_output.h"
#include "llama/model_folder.h"
#include "panel_sparse/panel_sparse_view.h"
#include "weights/activation_rounding.h"

namespace edgecompress {

/// What onnxruntime-genai loads: MatMulNBits and GroupQueryAttention of the com.microsoft domain,
/// genai_config.json.
struct GenaiFormat {
  int accuracy_level = 4;  ///< of every MatMulNBits, 0 ... 4
};
/// Only operators of the ONNX standard, opset 21.
struct StandardFormat {};

using OnnxFormat = std::variant<GenaiFormat, StandardFormat>;

/// For products with PanelSparseMatMul (docs/sparse-format.md) where a matrix is empty enough.
struct SparseOptions {
  /// Share of weights a form must leave out to be used; nothing: the measured table of
  /// sparse_choice.cpp.
  std::optional<double> threshold = {};
  /// Float32 keeps every scale; Float16 halves their bytes and rounds each by up to 2^-11 of it.
  ScaleType scale_type = ScaleType::Float32;
  std::filesystem::path operator_library = {};  ///< libedgecompress_ops.so, copied beside the graph
};

struct ExportOptions {
  OnnxFormat format = GenaiFormat{};
  std::optional<SparseOptions> sparse = {};  ///< nothing: every product is dense
  /// How products with 8-bit weights round their inputs: None, Int8PerToken or Int8PerTensor;
  /// nothing: as the folder says, see artifact_activations().
  std::optional<ActivationRounding> activations = {};
  std::int64_t context_length =
      0;  ///< rows of the rotary tables; 0: the config's max_position_embeddings
  std::int64_t max_generation_length =
      4096;  ///< bound of genai_config's search.max_length: genai allocates that cache
  int num_threads = 1;
  std::string graph_metadata = {};  ///< stored under "edgecompress" in the graph's metadata, unless
                                    ///< empty; "edgecompress_version" is always there
};

/// One tensor of the artifact.
struct ExportedTensor {
  std::string name;
  std::string module;  ///< the checkpoint's module it comes from, several joined by commas (packed
                       ///< q, k and v); empty for tables and constants
  std::int64_t bytes = 0;  ///< stored for it; 0 when it shares another tensor's bytes
};

/// How a sparse export stores the weights of one product of a decoder block.
struct ProductStorage {
  std::string module;  ///< several joined by commas
  std::string form;    ///< "16x4", "16x1", "8x1", "4x1", "unstructured", or "dense"
  std::int64_t weights = 0;
  double zero_share = 0;    ///< of the weights, 0 ... 1
  double stored_share = 1;  ///< of the weights: those that have a code
  std::int64_t bytes = 0;   ///< codes, scales and what belongs to them
  std::string reason;
};

/// What export wrote. Exists only when the graph passed our own checks (unique names, topological
/// order, data in bounds).
struct OnnxArtifact {
  std::filesystem::path graph;  ///< model.onnx in the folder that is being staged
  std::vector<ExportedTensor> tensors;
  std::map<std::string, std::string> file_sha256;  ///< every file written, by name
  std::uint64_t total_bytes = 0;
  std::vector<ProductStorage> products;  ///< of a sparse export
  std::vector<std::string> warnings;
};

/// Writes `model` (float or quantized) as an ONNX folder: model.onnx, model.onnx.data,
/// genai_config.json, byte copies of the tokenizer files, and config.json (without the fields of
/// llama/foreign_fields.h). Weights are streamed: the graph never holds them, and no more
/// than a few rows or columns of one matrix are in memory, besides the mapped pages of that matrix.
/// The same model gives the same bytes on any number of threads. Throws   Error{Usage} X3 for an
/// option out of range; Error{Unsupported} X1 for a group size that MatMulNBits does not
///          take (the standard format takes it), X4 for a graph above 2 GiB and X-INT8 for a
///          rounding of activations that cannot be; Error{Malformed} X2 for a scale that is not
///          finite; Error{Io}. X1, X3, X4 and X-INT8 come before a weight is read.
OnnxArtifact export_onnx(const ModelFolder& model, const ExportOptions& options,
                         StagedFolder& output, const std::string& subfolder,
                         const Progress& progress);

/// How the artifact rounds the inputs of its products.
struct ArtifactActivations {
  ActivationRounding rounding = ActivationRounding::None;  ///< of the products that round
  /// Of every layer of the decoder blocks, whatever the model's folder says; nothing: as it says.
  std::optional<ActivationRounding> instead = {};
  std::string warning = {};  ///< when the folder says something else than the artifact does
};

/// A folder's rounding is followed where MatMulInteger can compute it: every layer that rounds has
/// 8-bit weights, one scale a row, and the format is not sparse. Otherwise, and with
/// accuracy_level, MatMulNBits rounds as it does for every folder.
/// Throws Error{Unsupported} X-INT8 when `options` ask for a rounding that cannot be.
ArtifactActivations artifact_activations(const ModelFolder& model, const ExportOptions& options);

/// Sizes of the files that export_onnx would write.
struct ArtifactSizes {
  std::uint64_t data_bytes = 0;   ///< model.onnx.data
  std::uint64_t graph_bytes = 0;  ///< model.onnx
  std::uint64_t other_bytes = 0;  ///< genai_config.json and the copied files
  std::vector<std::string> warnings;
  std::uint64_t total() const { return data_bytes + graph_bytes + other_bytes; }
};

/// How many tokens an artifact made with these options can hold.
std::int64_t context_tokens(const LlamaConfig& config, const ExportOptions& options);

/// To the byte. Builds the whole graph and reads what lies in it: norms, biases, tensors below
/// 1 KiB. Throws as export_onnx does before a weight is read.
ArtifactSizes plan_onnx(const ModelFolder& model, const ExportOptions& options);

/// Writes the graph of an artifact once more, over the same data file and so into the same folder,
/// with every MatMulNBits and PanelSparseMatMul at accuracy level 0: the form that computes exactly
/// with the dequantized weights, for comparison. 8-bit layers run several times slower in it.
/// Throws Error{Usage} X5 for another folder.
void write_exact_graph(const std::filesystem::path& graph,
                       const std::filesystem::path& exact_graph);

/// Checks a graph file of ours on its own. ONNX Runtime accepts several of these silently.
/// Throws Error{Malformed} with the code
///   O1   no ONNX model              O2   operator set not imported, or twice   O3   value named
///   twice or not at all O4   two nodes of one name      O5   input that nothing before produces O6
///   output that nothing produces O7   element type unknown       O8   impossible dimensions O9
///   external data entry malformed O10  length and dims x type differ (data in the graph: raw_data
///   only)      O11  data file absent or outside the folder O12  data beyond the file's end O13
///   tensors that overlap without being the same bytes
///   O14  node of our own domain that is unknown or whose weights are no initializer, or of another
///   shape; weights of such a node that break their format: B01, B02
/// Graphs inside node attributes are not looked into.
void validate_onnx_folder(const std::filesystem::path& graph);

/// Name of the operator library in an artifact's folder.
inline constexpr std::string_view kOperatorLibrary = "libedgecompress_ops.so";

/// Whether a session needs the operator library to load the graph.
bool needs_operator_library(const std::filesystem::path& graph);

}  // namespace edgecompress
