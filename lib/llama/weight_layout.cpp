#include "llama/weight_layout.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>

#include "base/error.h"
#include "weights/code_packing.h"
#include "weights/float_rows.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kPieceElements = std::int64_t{1} << 18;

std::span<const std::byte> bytes_of(std::span<const std::int8_t> values) {
  return std::as_bytes(values);
}

/// Converts and appends a piece at a time, so that a second copy of the matrix never exists.
void append_floats(SafetensorsWriter& writer, const std::string& name,
                   std::span<const float> values, DType dtype) {
  std::vector<std::byte> piece;
  for (std::size_t begin = 0; begin < values.size();) {
    const std::size_t count =
        std::min<std::size_t>(static_cast<std::size_t>(kPieceElements), values.size() - begin);
    piece.resize(count * dtype_bytes(dtype));
    bytes_from_floats(values.subspan(begin, count), dtype, piece);
    writer.append(name, piece);
    begin += count;
  }
}

void append_packed(SafetensorsWriter& writer, const std::string& name,
                   const QuantizedMatrix& matrix) {
  const auto columns = static_cast<std::size_t>(matrix.columns());
  const int bits = matrix.scheme().bits;
  std::vector<std::byte> row(static_cast<std::size_t>(packed_row_bytes(matrix.columns(), bits)));
  for (std::size_t begin = 0; begin < matrix.codes().size(); begin += columns) {
    pack_codes(matrix.codes().subspan(begin, columns), bits, row);
    writer.append(name, row);
  }
}

/// A group of config_groups: modules that are stored alike.
struct Group {
  QuantizedModule stored;
  std::vector<std::string> targets;
};

Group& group_of(std::vector<Group>& groups, const QuantizedModule& stored) {
  const auto found = std::find_if(groups.begin(), groups.end(),
                                  [&](const Group& group) { return group.stored == stored; });
  if (found != groups.end()) return *found;
  return groups.emplace_back(Group{stored, {}});
}

std::optional<QuantizedModule> find_quantized(const WeightForms& forms, std::string_view module,
                                              std::int64_t in_features) {
  const auto found = forms.find(module);
  if (found == forms.end()) return std::nullopt;
  const auto* const form = std::get_if<QuantizedForm>(&found->second);
  if (form == nullptr) return std::nullopt;
  QuantizedModule stored = written_module(module, form->scheme, in_features);
  stored.activations = form->activations;
  return stored;
}

/// One pattern for all blocks when they agree, otherwise each module by its name.
void add_linear_targets(std::vector<Group>& groups, LinearKind kind, const WeightForms& forms,
                        const LlamaConfig& config) {
  const auto find = [&](std::int64_t block) {
    return find_quantized(forms, module_name({block, kind}),
                          linear_shape(config, {block, kind}).in_features);
  };
  const std::optional<QuantizedModule> first = find(0);
  bool uniform = true;
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    uniform = uniform && find(block) == first;
  }
  if (first && uniform) {
    const std::string name = module_name({0, kind});  // "model.layers.0.mlp.up_proj"
    const std::string_view layer = std::string_view(name).substr(std::strlen("model.layers.0."));
    const std::size_t dot = layer.find('.');
    group_of(groups, *first)
        .targets.push_back(concat("re:model[.]layers[.][0-9]+[.]", layer.substr(0, dot), "[.]",
                                  layer.substr(dot + 1), "$"));
    return;
  }
  for (std::int64_t block = 0; block < config.num_blocks(); ++block) {
    const std::optional<QuantizedModule> stored = find(block);
    if (stored) group_of(groups, *stored).targets.push_back(module_name({block, kind}));
  }
}

void add_table_targets(std::vector<Group>& groups, const WeightForms& forms,
                       const LlamaConfig& config) {
  const auto embedding = find_quantized(forms, kEmbeddingModule, config.hidden_size);
  if (embedding) {
    Group& group = group_of(groups, *embedding);
    group.targets.emplace_back(kEmbeddingModule);
    if (config.tie_word_embeddings) group.targets.emplace_back(kHeadModule);
  }
  const auto head = find_quantized(forms, kHeadModule, config.hidden_size);
  if (head && !config.tie_word_embeddings) {
    group_of(groups, *head).targets.emplace_back(kHeadModule);
  }
}

const char* format_name(QuantizedLayout layout) {
  return layout == QuantizedLayout::Packed ? "pack-quantized" : "naive-quantized";
}

const char* strategy_name(GroupStrategy strategy) {
  switch (strategy) {
    case GroupStrategy::Channel:
      return "channel";
    case GroupStrategy::Group:
      return "group";
    case GroupStrategy::Block:
      return "block";
  }
  ensure(false, "a strategy");
  return "";
}

Json activations_document(ActivationRounding activations) {
  if (activations == ActivationRounding::None) return nullptr;
  ensure(activations == ActivationRounding::Int8PerToken, "activations that a folder can ask for");
  return {{"num_bits", 8},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", "token"},
          {"dynamic", true}};
}

Json group_document(const Group& group) {
  const QuantScheme& scheme = group.stored.scheme;
  const GroupStrategy strategy = group.stored.strategy;
  Json weights = {
      {"num_bits", scheme.bits},
      {"type", "int"},
      {"symmetric", scheme.symmetry == Symmetry::Symmetric},
      {"strategy", strategy_name(strategy)},
      {"group_size", strategy == GroupStrategy::Group ? Json(scheme.group_size) : Json(nullptr)},
      {"dynamic", false}};
  if (strategy == GroupStrategy::Block) weights["block_structure"] = {1, scheme.group_size};
  return {{"targets", group.targets},
          {"weights", weights},
          {"input_activations", activations_document(group.stored.activations)},
          {"output_activations", nullptr},
          {"format", format_name(group.stored.layout)}};
}

}  // namespace

QuantizedModule written_module(std::string_view module, const QuantScheme& scheme,
                               std::int64_t in_features) {
  const bool plain = module == kEmbeddingModule || scheme.symmetry == Symmetry::Asymmetric;
  QuantizedModule stored{.scheme = scheme,
                         .layout = plain ? QuantizedLayout::Plain : QuantizedLayout::Packed,
                         .strategy = GroupStrategy::Group};
  if (scheme.group_size == 0 || scheme.group_size > in_features) {
    stored.scheme.group_size = 0;
    stored.strategy = GroupStrategy::Channel;
  } else if (in_features % scheme.group_size != 0) {
    stored.strategy = GroupStrategy::Block;
  }
  return stored;
}

std::vector<TensorHeader> grid_headers(const std::string& module, const MatrixShape& shape,
                                       const QuantScheme& scheme) {
  const std::int64_t groups = scheme.groups_per_row(shape.in_features);
  std::vector<TensorHeader> headers{
      {module + ".weight_scale", DType::F32, {shape.out_features, groups}}};
  if (scheme.symmetry == Symmetry::Asymmetric) {
    headers.push_back({module + ".weight_zero_point", DType::I8, {shape.out_features, groups}});
  }
  return headers;
}

std::vector<TensorHeader> weight_headers(const std::string& module, const MatrixShape& shape,
                                         const StoredForm& form) {
  if (const auto* const floats = std::get_if<FloatForm>(&form)) {
    return {{module + ".weight", floats->dtype, {shape.out_features, shape.in_features}}};
  }
  const QuantScheme& scheme = std::get<QuantizedForm>(form).scheme;
  std::vector<TensorHeader> headers;
  if (written_module(module, scheme, shape.in_features).layout == QuantizedLayout::Plain) {
    headers.push_back({module + ".weight", DType::I8, {shape.out_features, shape.in_features}});
  } else {
    const std::int64_t words = packed_row_bytes(shape.in_features, scheme.bits) / 4;
    headers.push_back({module + ".weight_packed", DType::I32, {shape.out_features, words}});
    headers.push_back({module + ".weight_shape", DType::I64, {2}});
  }
  for (TensorHeader& header : grid_headers(module, shape, scheme)) {
    headers.push_back(std::move(header));
  }
  return headers;
}

void append_weight(SafetensorsWriter& writer, const std::string& module, const MatrixShape& shape,
                   const StoredForm& form, const WeightValue& value) {
  if (const auto* const floats = std::get_if<FloatForm>(&form)) {
    const auto* const values = std::get_if<std::vector<float>>(&value);
    ensure(values != nullptr, "floats for a float form");
    ensure(values->size() == static_cast<std::size_t>(shape.out_features * shape.in_features),
           "a value for every weight");
    append_floats(writer, module + ".weight", *values, floats->dtype);
    return;
  }
  const QuantScheme& scheme = std::get<QuantizedForm>(form).scheme;
  const auto* const matrix = std::get_if<QuantizedMatrix>(&value);
  ensure(matrix != nullptr && matrix->scheme() == scheme, "codes of the announced scheme");
  ensure(matrix->rows() == shape.out_features && matrix->columns() == shape.in_features,
         "a code for every weight");
  if (written_module(module, scheme, shape.in_features).layout == QuantizedLayout::Plain) {
    writer.append(module + ".weight", bytes_of(matrix->codes()));
  } else {
    append_packed(writer, module + ".weight_packed", *matrix);
    const std::array<std::int64_t, 2> dimensions{shape.out_features, shape.in_features};
    writer.append(module + ".weight_shape", std::as_bytes(std::span(dimensions)));
  }
  append_grid(writer, module, *matrix);
}

void append_grid(SafetensorsWriter& writer, const std::string& module,
                 const QuantizedMatrix& matrix) {
  append_floats(writer, module + ".weight_scale", matrix.scales(), DType::F32);
  if (matrix.scheme().symmetry == Symmetry::Asymmetric) {
    writer.append(module + ".weight_zero_point", bytes_of(matrix.zero_points()));
  }
}

Json quantization_document(const WeightForms& forms, const LlamaConfig& config) {
  std::vector<Group> groups;
  for (const LinearKind kind : kLinearKinds) add_linear_targets(groups, kind, forms, config);
  add_table_targets(groups, forms, config);
  if (groups.empty()) return nullptr;
  Json config_groups = Json::object();
  bool one_format = true;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    config_groups[concat("group_", i)] = group_document(groups[i]);
    one_format = one_format && groups[i].stored.layout == groups.front().stored.layout;
  }
  return {{"quant_method", "compressed-tensors"},
          {"format", one_format ? format_name(groups.front().stored.layout) : "mixed-precision"},
          {"quantization_status", "compressed"},
          {"config_groups", config_groups},
          {"ignore", Json::array()}};
}

DType written_dtype(const WeightForms& forms) {
  std::optional<DType> common;
  for (const auto& [module, form] : forms) {
    const auto* const floats = std::get_if<FloatForm>(&form);
    const DType dtype = floats == nullptr ? DType::F32 : floats->dtype;
    if (common && *common != dtype) return DType::F32;
    common = dtype;
  }
  return common.value_or(DType::F32);
}

Json written_config(LlamaConfig config, const WeightForms& forms) {
  config.dtype = written_dtype(forms);
  Json document = llama_config_document(config);
  Json quantization = quantization_document(forms, config);
  if (!quantization.is_null()) document["quantization_config"] = std::move(quantization);
  return document;
}

}  // namespace edgecompress
