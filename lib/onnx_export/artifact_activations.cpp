#include <string>

#include "base/error.h"
#include "llama/linear_layers.h"
#include "onnx_export/export_model.h"

namespace edgecompress {
namespace {

/// Whether MatMulInteger can multiply with the codes of a matrix as they are.
bool has_integer_product(const StoredQuantizedMatrix& matrix) {
  return matrix.scheme.bits == 8 && matrix.scheme.groups_per_row(matrix.shape.in_features) == 1;
}

std::vector<std::string> products_of(const LlamaConfig& config) {
  std::vector<std::string> modules;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    for (const LinearKind kind : kLinearKinds) modules.push_back(module_name({block, kind}));
  }
  modules.emplace_back(kHeadModule);
  return modules;
}

std::string wanted_name(ActivationRounding rounding) {
  return rounding == ActivationRounding::Int8PerTensor ? "dynamic" : "dynamic-per-token";
}

/// Every quantized layer of the blocks must have an integer product, and one must be there.
void refuse_other_weights(const ModelFolder& model, ActivationRounding rounding) {
  bool found = false;
  for (const std::string& module : products_of(model.config())) {
    const StoredMatrix matrix = model.matrix(module);
    const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix);
    const bool stays = module == kHeadModule && quantized != nullptr &&
                       quantized->activations == ActivationRounding::None;
    if (quantized == nullptr || stays) continue;
    found = true;
    if (has_integer_product(*quantized)) continue;
    throw Error(ErrorKind::Unsupported, "X-INT8",
                concat("int8-style ", wanted_name(rounding),
                       " multiplies 8-bit codes with one scale a row, but ", module, " has ",
                       quantized->scheme.bits, " bits",
                       quantized->scheme.group_size == 0
                           ? std::string()
                           : concat(" in groups of ", quantized->scheme.group_size),
                       "; quantize with --bits 8 --group-size channel, or export weight-only"));
  }
  if (found) return;
  throw Error(ErrorKind::Unsupported, "X-INT8",
              concat("int8-style ", wanted_name(rounding),
                     " multiplies 8-bit codes, but no layer of the decoder blocks is quantized; "
                     "quantize with --bits 8 --group-size channel first"));
}

/// What the folder asks for.
struct FolderActivations {
  bool rounds = false;
  bool has_products = true;  ///< for every layer that rounds
};

FolderActivations folder_activations(const ModelFolder& model) {
  FolderActivations folder;
  for (const std::string& module : products_of(model.config())) {
    const StoredMatrix matrix = model.matrix(module);
    const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix);
    if (quantized == nullptr || quantized->activations == ActivationRounding::None) continue;
    folder.rounds = true;
    folder.has_products = folder.has_products && has_integer_product(*quantized);
  }
  return folder;
}

constexpr const char* kOtherwise =
    "X-A8: the model folder rounds the inputs of its layers to 8 bits per token, the artifact does "
    "not: ";

constexpr const char* kSharedRange =
    "X-RANGE: int8-style dynamic has one range for all tokens that are computed together: one "
    "large activation takes the precision of every token, and a prompt is computed otherwise than "
    "the same tokens one by one. dynamic-per-token has neither trouble";

}  // namespace

ArtifactActivations artifact_activations(const ModelFolder& model, const ExportOptions& options) {
  const FolderActivations folder = folder_activations(model);
  const auto weight_only = [&](const std::string& why) {
    ArtifactActivations floating;
    if (!folder.rounds) return floating;
    floating.instead = ActivationRounding::None;
    floating.warning = kOtherwise + why;
    return floating;
  };
  if (options.activations == ActivationRounding::None) return weight_only("int8-style weight-only");
  if (!options.activations) {
    if (options.sparse) return weight_only("sparse products round in their own way");
    if (!folder.has_products) {
      return weight_only(
          "that needs 8-bit weights with one scale a row. MatMulNBits at accuracy level 4 rounds "
          "inputs by blocks of a token");
    }
    return {.rounding =
                folder.rounds ? ActivationRounding::Int8PerToken : ActivationRounding::None};
  }
  const ActivationRounding wanted = *options.activations;
  ensure(wanted != ActivationRounding::Int8PerBlock, "a rounding that MatMulInteger computes");
  if (options.sparse) {
    throw Error(ErrorKind::Unsupported, "X-INT8",
                concat("int8-style ", wanted_name(wanted),
                       " is for dense formats; leave it out, or export without -sparse"));
  }
  refuse_other_weights(model, wanted);
  ArtifactActivations rounds{.rounding = wanted, .instead = wanted};
  if (wanted == ActivationRounding::Int8PerTensor) rounds.warning = kSharedRange;
  return rounds;
}

}  // namespace edgecompress
