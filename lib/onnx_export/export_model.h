#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/progress.h"
#include "base/staged_output.h"
#include "llama/model_folder.h"

namespace edgecompress {

/// What onnxruntime-genai loads: MatMulNBits and GroupQueryAttention of the com.microsoft domain,
/// genai_config.json.
struct GenaiFormat {
  int accuracy_level =
      4;  ///< of 4-bit MatMulNBits, 0 ... 4; 8-bit ones always have 4 in the published graph
};
/// Only operators of the ONNX standard, opset 21.
struct StandardFormat {};

using OnnxFormat = std::variant<GenaiFormat, StandardFormat>;

struct ExportOptions {
  OnnxFormat format = GenaiFormat{};
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

/// What export wrote. Exists only when the graph passed our own checks (unique names, topological
/// order, data in bounds).
struct OnnxArtifact {
  std::filesystem::path graph;  ///< model.onnx in the folder that is being staged
  std::vector<ExportedTensor> tensors;
  std::map<std::string, std::string> file_sha256;  ///< every file written, by name
  std::uint64_t total_bytes = 0;
  std::vector<std::string> warnings;
};

/// Writes `model` (float or quantized) as an ONNX folder: model.onnx, model.onnx.data,
/// genai_config.json, and byte copies of config.json and the tokenizer files. Weights are streamed:
/// the graph never holds them, and no more than a few rows or columns of one matrix are in memory,
/// besides the mapped pages of that matrix. The same model gives the same bytes on any number of
/// threads. Throws   Error{Usage} X3 for an option out of range; Error{Unsupported} X1 for a group
/// size that MatMulNBits does not
///          take (the standard format takes it) and X4 for a graph above 2 GiB; Error{Malformed} X2
///          for a scale that is not finite; Error{Io}. X1, X3 and X4 come before a weight is read.
OnnxArtifact export_onnx(const ModelFolder& model, const ExportOptions& options,
                         StagedFolder& output, const std::string& subfolder,
                         const Progress& progress);

/// Sizes of the files that export_onnx would write.
struct ArtifactSizes {
  std::uint64_t data_bytes = 0;   ///< model.onnx.data
  std::uint64_t graph_bytes = 0;  ///< model.onnx
  std::uint64_t other_bytes = 0;  ///< genai_config.json and the copied files
  std::vector<std::string> warnings;
  std::uint64_t total() const { return data_bytes + graph_bytes + other_bytes; }
};

/// To the byte. Builds the whole graph and reads what lies in it: norms, biases, tensors below
/// 1 KiB. Throws as export_onnx does before a weight is read.
ArtifactSizes plan_onnx(const ModelFolder& model, const ExportOptions& options);

/// Writes the graph of an artifact once more, over the same data file and so into the same folder,
/// with every MatMulNBits at accuracy level 0: the form that computes exactly with the dequantized
/// weights, for comparison. 8-bit layers run some 60 times slower in it. Throws Error{Usage} X5 for
/// another folder.
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
/// Graphs inside node attributes are not looked into.
void validate_onnx_folder(const std::filesystem::path& graph);

}  // namespace edgecompress
