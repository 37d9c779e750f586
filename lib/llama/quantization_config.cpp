#include "llama/quantization_config.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/pcre2_handles.h"
#include "checkpoint/file_kind.h"
#include "llama/config_text.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void unsupported(const std::string& source, const std::string& message) {
  throw Error(
      ErrorKind::Unsupported, "C15",
      concat(source, ": ", message,
             "; edgecompress reads integer checkpoints of compressed-tensors, weight-only or "
             "with 8-bit activations per token"));
}

[[noreturn]] void malformed(const std::string& source, const std::string& message) {
  throw Error(ErrorKind::Malformed, "C16", concat(source, ": ", message));
}

const Json* find_field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_field(const Json& object, const char* name, const std::string& fallback,
                       const std::string& source) {
  const Json* const value = find_field(object, name);
  if (value == nullptr) return fallback;
  if (!value->is_string()) {
    malformed(source, concat(name, " must be text, found ", shown_json(*value)));
  }
  return value->get<std::string>();
}

std::int64_t integer_field(const Json& object, const char* name, std::int64_t fallback,
                           const std::string& source) {
  const Json* const value = find_field(object, name);
  if (value == nullptr) return fallback;
  const std::optional<std::int64_t> number = whole_number(*value);
  if (!number || *number < -1 || *number > INT32_MAX) {
    malformed(source, concat(name, " must be an integer, found ", shown_json(*value)));
  }
  return *number;
}

bool flag_field(const Json& object, const char* name, bool fallback, const std::string& source) {
  const Json* const value = find_field(object, name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    malformed(source, concat(name, " must be true or false, found ", shown_json(*value)));
  }
  return value->get<bool>();
}

/// Refuses what changes the meaning of the stored integers or of the forward pass.
void refuse_options(const Json& object, const std::vector<const char*>& names,
                    const std::string& source) {
  for (const char* const name : names) {
    const Json* const value = find_field(object, name);
    const bool off =
        value == nullptr || *value == false || (value->is_structured() && value->empty());
    if (!off) unsupported(source, concat(name, " ", shown_json(*value), " is not supported"));
  }
}

/// sparsity_config {"format": "dense"} says nothing; every other format stores weights in another
/// way.
void refuse_sparsity(const Json& config, const std::string& source) {
  const Json* const sparsity = find_field(config, "sparsity_config");
  if (sparsity == nullptr || sparsity->empty()) return;
  if (!sparsity->is_object()) malformed(source, "sparsity_config must be an object");
  const std::string format = text_field(*sparsity, "format", "dense", source);
  if (format != "dense") unsupported(source, concat("sparsity format ", shown_text(format)));
}

QuantizedLayout parse_layout(const std::string& format, const std::string& source) {
  if (format == "pack-quantized") return QuantizedLayout::Packed;
  if (format == "int-quantized" || format == "naive-quantized") return QuantizedLayout::Plain;
  unsupported(source, concat("format \"", shown_text(format),
                             "\" is none of pack-quantized, int-quantized, naive-quantized"));
}

/// The length of a block of one row: the second side of "block_structure": [1, length].
std::int64_t parse_block_length(const Json& weights, const std::string& source) {
  const Json* const value = find_field(weights, "block_structure");
  if (value == nullptr) malformed(source, "strategy block needs a block_structure");
  std::array<std::int64_t, 2> sides{};
  if (value->is_array() && value->size() == sides.size()) {
    for (std::size_t i = 0; i < sides.size(); ++i) sides[i] = whole_number((*value)[i]).value_or(0);
  }
  if (sides[0] <= 0 || sides[1] <= 0 || sides[1] > INT32_MAX) {
    malformed(source,
              concat("block_structure must be two positive integers, found ", shown_json(*value)));
  }
  if (sides[0] != 1) unsupported(source, concat("blocks of ", sides[0], " rows"));
  return sides[1];
}

struct Grouping {
  GroupStrategy strategy;
  std::int64_t size;  // 0: the whole row
};

Grouping parse_grouping(const Json& weights, const std::string& source) {
  const std::int64_t size = integer_field(weights, "group_size", 0, source);
  const std::string inferred = size > 0 ? "group" : size == -1 ? "channel" : "tensor";
  const std::string strategy = text_field(weights, "strategy", inferred, source);
  if (size > 0 && strategy != "group" && strategy != "tensor_group") {
    malformed(source, concat("strategy ", shown_text(strategy), " has a group_size"));
  }
  if (strategy == "block") return {GroupStrategy::Block, parse_block_length(weights, source)};
  refuse_options(weights, {"block_structure"}, source);
  if (strategy == "group") {
    if (size <= 0) malformed(source, "strategy group needs a group_size above 0");
    return {GroupStrategy::Group, size};
  }
  if (strategy == "channel") return {GroupStrategy::Channel, 0};
  if (strategy == "tensor" || strategy == "token" || strategy == "tensor_group" ||
      strategy == "attn_head") {
    unsupported(source, concat("strategy ", strategy, " is none of group, channel and block"));
  }
  malformed(source, concat("unknown strategy \"", shown_text(strategy), "\""));
}

void refuse_activation_order(const Json& weights, const std::string& source) {
  const Json* const order = find_field(weights, "actorder");
  if (order == nullptr || *order == false || *order == "weight" || *order == "static") return;
  unsupported(source, concat("actorder ", shown_json(*order),
                             " needs the column order of weight_g_idx, which is not supported"));
}

QuantizedModule parse_weights(const Json& weights, QuantizedLayout layout,
                              const std::string& source) {
  const std::string type = text_field(weights, "type", "int", source);
  if (type != "int") unsupported(source, concat("weights of type ", shown_text(type)));
  const std::int64_t bits = integer_field(weights, "num_bits", 8, source);
  if (bits < 1) malformed(source, concat("num_bits ", bits, " is not positive"));
  if (bits != 4 && bits != 8) unsupported(source, concat(bits, "-bit weights; 4 and 8 are read"));
  refuse_options(weights, {"dynamic"}, source);
  refuse_activation_order(weights, source);
  const bool symmetric = flag_field(weights, "symmetric", true, source);
  const Grouping grouping = parse_grouping(weights, source);
  return {.scheme = {.bits = static_cast<int>(bits),
                     .group_size = grouping.size,
                     .symmetry = symmetric ? Symmetry::Symmetric : Symmetry::Asymmetric},
          .layout = layout,
          .strategy = grouping.strategy};
}

/// Dynamic, symmetric, one range for each token: the one rounding of inputs that a folder may ask
/// for.
ActivationRounding parse_activations(const Json& group, const std::string& source) {
  const Json* const inputs = find_field(group, "input_activations");
  if (inputs == nullptr || *inputs == false || (inputs->is_structured() && inputs->empty())) {
    return ActivationRounding::None;
  }
  if (!inputs->is_object()) malformed(source, "input_activations must be an object");
  const bool per_token = integer_field(*inputs, "num_bits", 8, source) == 8 &&
                         text_field(*inputs, "type", "int", source) == "int" &&
                         flag_field(*inputs, "symmetric", true, source) &&
                         text_field(*inputs, "strategy", "tensor", source) == "token" &&
                         inputs->value("dynamic", Json(false)) == true;
  if (!per_token) {
    unsupported(source, concat("input_activations ", shown_json(*inputs), " is not supported"));
  }
  return ActivationRounding::Int8PerToken;
}

std::vector<std::string> texts(const Json& object, const char* name, const std::string& source) {
  const Json* const list = find_field(object, name);
  std::vector<std::string> out;
  if (list == nullptr) return out;
  if (!list->is_array()) malformed(source, concat(name, " must be a list of texts"));
  for (const Json& item : *list) {
    if (!item.is_string()) {
      malformed(source, concat(name, " must hold texts, found ", shown_json(item)));
    }
    out.push_back(item.get<std::string>());
  }
  return out;
}

}  // namespace

/// A target or an entry of `ignore`: a module's name, a class, or "re:" and a regular expression.
class QuantizationConfig::Pattern {
 public:
  enum class Rank { Name, Expression };

  Pattern(std::string text, const std::string& source) : text_(std::move(text)) {
    if (!text_.starts_with("re:")) return;
    int error = 0;
    PCRE2_SIZE offset = 0;
    const std::string_view expression = std::string_view(text_).substr(3);
    code_.reset(pcre2_compile(pcre2_units(expression), expression.size(), PCRE2_ANCHORED, &error,
                              &offset, nullptr));
    if (code_ == nullptr) {
      refuse_pcre2_without_memory(error);
      malformed(source, concat("the pattern \"", shown_text(text_),
                               "\" is no regular expression from its character ", offset));
    }
  }
  const std::string& text() const { return text_; }
  Rank rank() const { return code_ == nullptr ? Rank::Name : Rank::Expression; }

  bool matches_name(std::string_view module) const {
    if (code_ == nullptr) return text_ == module;
    const auto limits = pcre2_owned(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(limits.get(), kMatchLimit);
    const auto match = pcre2_owned(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    const int found = pcre2_match(code_.get(), pcre2_units(module), module.size(), 0, 0,
                                  match.get(), limits.get());
    refuse_pcre2_without_memory(found);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
      throw Error(ErrorKind::Malformed, "C16",
                  concat("the pattern \"", shown_text(text_), "\" takes too long on \"", module,
                         "\" (PCRE2 error ", found, ")"));
    }
    return found >= 0;
  }
  bool matches_class(std::string_view class_name) const {
    return code_ == nullptr && (text_ == class_name || text_ == "Module");
  }

 private:
  static constexpr std::uint32_t kMatchLimit =
      100'000;  // a module's name is short: honest patterns take hundreds

  std::string text_;
  Pcre2Handle<pcre2_code> code_;
};

std::vector<QuantizationConfig::Target> QuantizationConfig::parse_group(const Json& group,
                                                                        const std::string& format,
                                                                        const std::string& source) {
  if (!group.is_object()) unsupported(source, "preset schemes are not supported");
  refuse_options(group, {"output_activations"}, source);
  const Json* const weights = find_field(group, "weights");
  if (weights == nullptr) unsupported(source, "a group without weights");
  if (!weights->is_object()) malformed(source, "weights must be an object");
  QuantizedModule module = parse_weights(
      *weights, parse_layout(text_field(group, "format", format, source), source), source);
  module.activations = parse_activations(group, source);
  std::vector<Target> targets;
  for (std::string& text : texts(group, "targets", source)) {
    targets.push_back({std::make_shared<const Pattern>(std::move(text), source), module});
  }
  if (targets.empty()) malformed(source, "targets names no module");
  return targets;
}

std::optional<QuantizationConfig> QuantizationConfig::parse(const Json& document,
                                                            const std::string& source) {
  const Json* const config = find_field(document, "quantization_config");
  if (config == nullptr) return std::nullopt;
  const std::string where = source + ": quantization_config";
  if (!config->is_object()) malformed(where, "must be an object");
  const std::string method = text_field(*config, "quant_method", "", where);
  if (method.empty()) malformed(where, "has no quant_method");
  if (method != "compressed-tensors") {
    unsupported(where, concat("the model is already quantized by \"", shown_text(method), "\""));
  }
  refuse_options(*config, {"kv_cache_scheme", "transform_config"}, where);
  refuse_sparsity(*config, where);
  const std::string status = text_field(*config, "quantization_status", "compressed", where);
  if (status != "compressed") {
    unsupported(where, concat("quantization_status \"", shown_text(status), "\""));
  }
  const Json* const groups = find_field(*config, "config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty()) {
    malformed(where, "config_groups must be an object with at least one group");
  }
  const std::string format = text_field(*config, "format", "dense", where);
  QuantizationConfig out;
  for (const auto& [name, group] : groups->items()) {
    const std::string place = concat(where, ": ", shown_text(name));
    for (Target& target : parse_group(group, format, place)) {
      // a target named twice belongs to the later group
      std::erase_if(out.targets_, [&](const Target& earlier) {
        return earlier.pattern->text() == target.pattern->text();
      });
      out.targets_.push_back(std::move(target));
    }
  }
  std::sort(out.targets_.begin(), out.targets_.end(), [](const Target& a, const Target& b) {
    const auto rank = [](const Target& t) {
      return std::pair(t.pattern->rank(), t.pattern->text());
    };
    return rank(a) < rank(b);
  });
  for (std::string& text : texts(*config, "ignore", where)) {
    out.ignored_.push_back(std::make_shared<const Pattern>(std::move(text), where));
  }
  return out;
}

std::optional<QuantizedModule> QuantizationConfig::find(std::string_view module,
                                                        std::string_view class_name) const {
  for (const auto& pattern : ignored_) {
    if (pattern->matches_name(module) || pattern->matches_class(class_name)) return std::nullopt;
  }
  for (const Target& target : targets_) {
    if (target.pattern->matches_name(module)) return target.module;
  }
  for (const Target& target : targets_) {
    if (target.pattern->matches_class(class_name)) return target.module;
  }
  return std::nullopt;
}

}  // namespace edgecompress
