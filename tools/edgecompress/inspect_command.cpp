#include "edgecompress/inspect_command.h"

#include <map>
#include <ostream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "checkpoint/safetensors.h"
#include "edgecompress/error_report.h"
#include "llama/folder_warnings.h"
#include "llama/model_folder.h"
#include "onnx_export/export_model.h"

namespace edgecompress::cli {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

Json tensor_json(const TensorEntry& tensor) {
  return {{"name", tensor.name},
          {"dtype", tensor.unreadable_dtype.empty() ? std::string(dtype_name(tensor.dtype))
                                                    : tensor.unreadable_dtype},
          {"shape", tensor.shape},
          {"bytes", tensor.bytes.size()}};
}

Json dtype_totals(const std::map<std::string, TensorEntry, std::less<>>& tensors) {
  std::map<std::string, std::uint64_t> bytes;
  for (const auto& [name, tensor] : tensors) {
    bytes[std::string(dtype_name(tensor.dtype))] += tensor.bytes.size();
  }
  return Json(bytes);
}

Json block_json(const BlockShape& block) {
  return {{"num_attention_heads", block.num_attention_heads},
          {"num_key_value_heads", block.num_key_value_heads},
          {"intermediate_size", block.intermediate_size}};
}

Json describe_model(const fs::path& folder) {
  const ModelFolder model = ModelFolder::open(folder);
  const LlamaConfig& config = model.config();
  Json result{{"kind", "model"},
              {"architecture", config.document.at("architectures").at(0)},
              {"quantized", model.is_quantized()},
              {"parameters", total_parameters(config)},
              {"weight_bytes", model.store().total_bytes()},
              {"tensors", model.store().tensors().size()},
              {"hidden_size", config.hidden_size},
              {"head_dim", config.head_dim},
              {"num_hidden_layers", config.num_blocks()},
              {"vocab_size", config.vocab_size},
              {"max_position_embeddings", config.max_position_embeddings},
              {"tie_word_embeddings", config.tie_word_embeddings}};
  if (config.is_uniform()) {
    result.update(block_json(config.blocks.front()));
  } else {
    for (const BlockShape& block : config.blocks) result["blocks"].push_back(block_json(block));
  }
  result["warnings"] = folder_warnings(model);
  result["bytes_by_dtype"] = dtype_totals(model.store().tensors());
  Json list = Json::array();
  for (const auto& [name, tensor] : model.store().tensors()) list.push_back(tensor_json(tensor));
  result["tensor_list"] = std::move(list);
  return result;
}

Json describe_safetensors(const fs::path& file) {
  const MappedFile mapped(file);
  const std::vector<TensorEntry> tensors = parse_safetensors(mapped.bytes(), file.string());
  Json list = Json::array();
  std::uint64_t bytes = 0;
  for (const TensorEntry& tensor : tensors) {
    list.push_back(tensor_json(tensor));
    bytes += tensor.bytes.size();
  }
  return {{"kind", "safetensors"},
          {"tensors", tensors.size()},
          {"weight_bytes", bytes},
          {"tensor_list", std::move(list)}};
}

Json describe_artifact(const fs::path& folder) {
  validate_onnx_folder(folder / "model.onnx");
  Json result{{"kind", "artifact"},
              {"graph_bytes", fs::file_size(folder / "model.onnx")},
              {"onnxruntime_genai", fs::exists(folder / "genai_config.json")}};
  std::uint64_t total = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    total += entry.file_size();
    result["files"][entry.path().filename().string()] = entry.file_size();
  }
  result["total_bytes"] = total;
  return result;
}

Json describe(const fs::path& path) {
  std::error_code ignored;  // whatever is no folder shows when it is opened as a file
  if (fs::is_directory(path, ignored)) {
    return fs::exists(path / "model.onnx") ? describe_artifact(path) : describe_model(path);
  }
  return describe_safetensors(path);
}

void print_tensors(const Json& list, std::ostream& out) {
  for (const Json& tensor : list) {
    out << "  " << printable(tensor.at("name").get<std::string>()) << "  "
        << tensor.at("dtype").get<std::string>() << " " << tensor.at("shape").dump() << "\n";
  }
}

}  // namespace

CLI::App* add_inspect(CLI::App& app, InspectOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "inspect", "show what a model folder, a safetensors file or an ONNX folder holds");
  command->add_option("path", options.path, "folder or *.safetensors file")->required();
  command->add_flag("--tensors", options.tensors, "list the tensors");
  command->add_flag("--json", options.json, "print JSON, tensors included");
  command->footer(
      "Examples:\n"
      "  edgecompress inspect tests/models/mini-llama\n"
      "  edgecompress inspect tests/models/mini-llama/model.safetensors --json");
  return command;
}

void run_inspect(const InspectOptions& options, std::ostream& out) {
  Json description = describe(options.path);
  if (options.json) {
    out << description.dump(1) << "\n";
    return;
  }
  const Json tensors = description.contains("tensor_list") ? description["tensor_list"] : Json();
  description.erase("tensor_list");
  for (const auto& [name, value] : description.items()) {
    out << name << std::string(name.size() < 26 ? 26 - name.size() : 1, ' ')
        << printable(value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
  }
  if (options.tensors) print_tensors(tensors, out);
}

}  // namespace edgecompress::cli
