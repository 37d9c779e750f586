#include "onnx_export/export_model.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/outside_link.h"
#include "llama/foreign_fields.h"
#include "onnx_export/external_data.h"
#include "onnx_export/genai_config.h"
#include "onnx_export/graph_builder.h"
#include "onnx_export/llama_graph.h"
#include "onnx_export/onnx_version.h"

namespace edgecompress {
namespace {

const std::string kGraphFile = "model.onnx";
const std::string kDataFile = "model.onnx.data";
constexpr std::string_view kEmptyConfig = "{}\n";
constexpr std::int64_t kLongestContext = 1 << 24;  // as in recipes
constexpr std::uint64_t kLargestCopiedFile = std::uint64_t{256} << 20;

constexpr std::array kArtifactCopies{
    "config.json",           "generation_config.json",  "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "tokenizer.model",       "chat_template.jinja"};

/// Writes files of one artifact and keeps count.
class ArtifactFolder {
 public:
  ArtifactFolder(StagedFolder& output, const std::string& subfolder, OnnxArtifact& artifact)
      : output_(output), subfolder_(subfolder), artifact_(artifact) {}

  std::filesystem::path name_of(const std::string& file) const { return subfolder_ / file; }

  void write(const std::string& file, std::string_view content) {
    record(file, output_.write(name_of(file), content), content.size());
  }
  void record(const std::string& file, const std::string& sha256, std::uint64_t bytes) {
    artifact_.file_sha256.emplace(file, sha256);
    artifact_.total_bytes += bytes;
  }
  StagedFile create(const std::string& file, std::uint64_t bytes) {
    return output_.create(name_of(file), bytes);
  }
  std::filesystem::path path_of(const std::string& file) const {
    return output_.path() / name_of(file);
  }

 private:
  StagedFolder& output_;
  std::filesystem::path subfolder_;
  OnnxArtifact& artifact_;
};

void check_options(const ExportOptions& options) {
  const auto require_at_least = [](const char* name, std::int64_t value, std::int64_t least) {
    if (value >= least) return;
    throw Error(ErrorKind::Usage, "X3",
                concat(name, " must be at least ", least, ", found ", value));
  };
  const std::int64_t context = options.context_length;
  if (context != 0 && (context < 2 || context > kLongestContext)) {
    throw Error(ErrorKind::Usage, "X3",
                concat("context_length must be 2 to ", kLongestContext,
                       ", or 0 for the model's own, found ", context));
  }
  require_at_least("max_generation_length", options.max_generation_length, 1);
  require_at_least("num_threads", options.num_threads, 1);
  if (options.sparse && options.sparse->threshold) {
    const double share = *options.sparse->threshold;
    if (!(share >= 0 && share <= 1)) {
      throw Error(ErrorKind::Usage, "X3", concat("sparse_from must be 0 ... 1, found ", share));
    }
  }
  if (const auto* genai = std::get_if<GenaiFormat>(&options.format)) {
    if (genai->accuracy_level < 0 || genai->accuracy_level > 4) {
      throw Error(ErrorKind::Usage, "X3",
                  concat("accuracy_level must be 0 ... 4, found ", genai->accuracy_level));
    }
  }
}

void warn_about_widths(const LlamaConfig& config, std::vector<std::string>& warnings) {
  const auto differs = [&](const BlockShape& shape) {
    return shape.num_key_value_heads != config.blocks.front().num_key_value_heads;
  };
  if (std::ranges::any_of(config.blocks, differs)) {
    warnings.push_back(
        "decoder blocks have different numbers of key-value heads: onnxruntime-genai loads that "
        "from 0.15 on");
  }
}

void write_data(ArtifactFolder& folder, const ModelFolder& model,
                const std::vector<Initializer>& tensors, const ExternalDataPlan& plan,
                const Progress& progress) {
  StagedFile file = folder.create(kDataFile, plan.total_bytes);
  std::uint64_t written_bytes = 0;
  std::uint64_t all_bytes = 0;
  for (const Initializer& tensor : tensors) {
    if (plan.offsets.contains(tensor.name) && tensor.same_bytes_as.empty()) {
      all_bytes += tensor.bytes();
    }
  }
  write_external_data(tensors, plan, file, [&](const Initializer& tensor) {
    // vectors of floats were read while the graph was built
    if (tensor.dims.size() > 1 || tensor.type == OnnxType::Uint8) {
      for (const std::string& module : tensor.modules) model.drop(module);
    }
    written_bytes += tensor.bytes();
    if (progress) {
      progress({.stage = "export",
                .done = static_cast<std::int64_t>(written_bytes),
                .total = static_cast<std::int64_t>(all_bytes)});
    }
  });
  const std::uint64_t size = file.size_bytes();
  folder.record(kDataFile, file.close(), size);
}

/// config.json as it is, unless it has fields that must not be passed on.
std::string without_foreign_fields(const std::string& config_json, const ModelFolder& model) {
  nlohmann::ordered_json document = model.config().document;
  std::size_t erased = 0;
  for (const char* const name : kForeignFields) erased += document.erase(name);
  return erased == 0 ? config_json : document.dump(2) + "\n";
}

void copy_files(ArtifactFolder& folder, const ModelFolder& model, OnnxArtifact& artifact) {
  for (const std::string file : kArtifactCopies) {
    const std::filesystem::path source = model.path() / file;
    if (std::filesystem::exists(source)) {
      refuse_outside_link(model.path(), source);
      const std::string content = read_text_file(source, kLargestCopiedFile);
      folder.write(file, file == "config.json" ? without_foreign_fields(content, model) : content);
    }
  }
  if (!artifact.file_sha256.contains("tokenizer.json")) {
    artifact.warnings.push_back(
        "the model folder has no tokenizer.json: onnxruntime-genai loads the model but no "
        "tokenizer");
  } else if (!artifact.file_sha256.contains("tokenizer_config.json")) {
    folder.write("tokenizer_config.json", kEmptyConfig);
    artifact.warnings.push_back(
        "the model folder has no tokenizer_config.json: an empty one was written, so "
        "onnxruntime-genai takes token 0 as the begin token");
  }
}

/// Fills `graph` in the chosen format and returns what genai_config.json has to say about it.
GenaiConfigOptions build_graph(ExportContext& context, const ExportOptions& options) {
  GenaiConfigOptions config{.context_length = context.context_length,
                            .max_generation_length = options.max_generation_length};
  config.cache_head_dim = context.cache_head_dim;
  if (const auto* genai = std::get_if<GenaiFormat>(&options.format)) {
    context.operators = OperatorSet::Contrib;
    context.accuracy_level = genai->accuracy_level;
    build_genai_graph(context);
    config.positions = genai_position_input(context.config());
    warn_about_widths(context.config(), context.warnings);
  } else {
    context.operators = OperatorSet::Standard;
    build_standard_graph(context);
    config.positions = PositionInput::Present;
    config.cache = GenaiConfigOptions::Cache::Separate;
  }
  return config;
}

bool is_sparse(const ProductStorage& product) { return product.form != "dense"; }

void count_product_bytes(OnnxArtifact& artifact) {
  for (ProductStorage& product : artifact.products) {
    for (const ExportedTensor& tensor : artifact.tensors) {
      if (tensor.module == product.module) product.bytes += tensor.bytes;
    }
  }
}

/// Fills `graph` for a model and returns what genai_config.json has to say. artifact: gets warnings
/// and products.
GenaiConfigOptions fill_graph(const ModelFolder& model, const ExportOptions& options,
                              GraphBuilder& graph, OnnxArtifact& artifact) {
  check_options(options);
  const ArtifactActivations activations = artifact_activations(model, options);
  if (!activations.warning.empty()) artifact.warnings.push_back(activations.warning);
  ExportContext context{.model = model,
                        .graph = graph,
                        .context_length = context_tokens(model.config(), options),
                        .cache_head_dim = std::holds_alternative<GenaiFormat>(options.format)
                                              ? genai_cache_head_dim(model.config())
                                              : model.config().head_dim,
                        .num_threads = options.num_threads,
                        .sparse = options.sparse ? &*options.sparse : nullptr,
                        .activations = activations.instead,
                        .warnings = artifact.warnings,
                        .products = artifact.products};
  GenaiConfigOptions config = build_graph(context, options);
  config.integer_products =
      context.operators == OperatorSet::Contrib && !context.rounded_inputs.empty();
  if (!options.graph_metadata.empty()) graph.add_metadata("edgecompress", options.graph_metadata);
  return config;
}

}  // namespace

std::int64_t context_tokens(const LlamaConfig& config, const ExportOptions& options) {
  return options.context_length == 0 ? config.max_position_embeddings : options.context_length;
}

OnnxArtifact export_onnx(const ModelFolder& model, const ExportOptions& options,
                         StagedFolder& output, const std::string& subfolder,
                         const Progress& progress) {
  OnnxArtifact artifact;
  GraphBuilder graph(kOnnxOpset);
  GenaiConfigOptions config = fill_graph(model, options, graph, artifact);

  const std::vector<Initializer>& tensors = graph.initializers();
  const ExternalDataPlan plan = plan_external_data(tensors);
  // before the weights, which take long: a graph that is too large is refused at once
  const std::string graph_bytes = graph.serialize(plan.offsets, kDataFile);
  ArtifactFolder folder(output, subfolder, artifact);
  if (plan.total_bytes > 0) write_data(folder, model, tensors, plan, progress);
  folder.write(kGraphFile, graph_bytes);
  if (options.sparse && std::ranges::any_of(artifact.products, is_sparse)) {
    config.operator_library = kOperatorLibrary;
    folder.write(config.operator_library,
                 read_text_file(options.sparse->operator_library, kLargestCopiedFile));
  } else if (options.sparse) {
    artifact.warnings.push_back(
        "no matrix is stored sparse: the artifact is a dense one; the report says why, matrix by "
        "matrix");
  }
  folder.write("genai_config.json", genai_config_text(model.config(), config));
  copy_files(folder, model, artifact);
  for (const Initializer& tensor : tensors) {
    const bool shares = !tensor.same_bytes_as.empty() && plan.offsets.contains(tensor.name);
    artifact.tensors.push_back({.name = tensor.name,
                                .module = joined_modules(tensor.modules),
                                .bytes = shares ? 0 : static_cast<std::int64_t>(tensor.bytes())});
  }
  count_product_bytes(artifact);
  artifact.graph = folder.path_of(kGraphFile);
  validate_onnx_folder(artifact.graph);
  return artifact;
}

ArtifactSizes plan_onnx(const ModelFolder& model, const ExportOptions& options) {
  ArtifactSizes sizes;
  GraphBuilder graph(kOnnxOpset);
  OnnxArtifact artifact;
  const GenaiConfigOptions config = fill_graph(model, options, graph, artifact);
  sizes.warnings = artifact.warnings;
  const ExternalDataPlan plan = plan_external_data(graph.initializers());
  sizes.data_bytes = plan.total_bytes;
  sizes.graph_bytes = graph.serialize(plan.offsets, kDataFile).size();
  sizes.other_bytes = genai_config_text(model.config(), config).size();
  for (const std::string file : kArtifactCopies) {
    const std::filesystem::path source = model.path() / file;
    if (std::filesystem::exists(source)) sizes.other_bytes += std::filesystem::file_size(source);
  }
  const bool adds_config = std::filesystem::exists(model.path() / "tokenizer.json") &&
                           !std::filesystem::exists(model.path() / "tokenizer_config.json");
  if (adds_config) sizes.other_bytes += kEmptyConfig.size();
  return sizes;
}

}  // namespace edgecompress
