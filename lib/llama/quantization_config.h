#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "weights/activation_rounding.h"
#include "weights/quant_scheme.h"

namespace edgecompress {

/// How compressed-tensors stores a quantized weight.
enum class QuantizedLayout {
  Packed,  ///< "pack-quantized": weight_packed I32, weight_scale, weight_shape, weight_zero_point
  Plain,   ///< "int-quantized" and "naive-quantized": weight I8, weight_scale, weight_zero_point
};

/// How compressed-tensors says which weights of a row share a scale.
enum class GroupStrategy {
  Channel,  ///< "channel": the whole row
  Group,    ///< "group": a group size that divides the row; every other is refused while loading
  Block,  ///< "block" of [1, group size]: the last group may be short; zero points are never packed
};

struct QuantizedModule {
  QuantScheme scheme;  ///< group_size 0 exactly with GroupStrategy::Channel
  QuantizedLayout layout = QuantizedLayout::Packed;
  GroupStrategy strategy = GroupStrategy::Group;
  ActivationRounding activations = ActivationRounding::None;  ///< None or Int8PerToken

  friend bool operator==(const QuantizedModule&, const QuantizedModule&) = default;
};

/// The quantization_config of a config.json that compressed-tensors wrote: which modules are
/// quantized, and how.
class QuantizationConfig {
 public:
  /// Returns nothing when `document` (a whole config.json) has no quantization_config.
  /// Throws Error{Unsupported} C15 for every method, format and option that is not integer
  /// quantization of weights, alone or with 8-bit activations per token, by name; Error{Malformed}
  /// C16.
  static std::optional<QuantizationConfig> parse(const nlohmann::ordered_json& document,
                                                 const std::string& source);

  /// The scheme of a module, or nothing when it stays float. class_name: of torch.nn, "Linear" or
  /// "Embedding". Source: compressed-tensors 0.20, utils/match.py: `ignore` wins; then exact names,
  /// "re:" patterns (anchored at the start) and class names in that order, each in text order.
  std::optional<QuantizedModule> find(std::string_view module, std::string_view class_name) const;

 private:
  class Pattern;
  struct Target {
    std::shared_ptr<const Pattern> pattern;
    QuantizedModule module;
  };
  static std::vector<Target> parse_group(const nlohmann::ordered_json& group,
                                         const std::string& format, const std::string& source);

  std::vector<Target> targets_;
  std::vector<std::shared_ptr<const Pattern>> ignored_;
};

}  // namespace edgecompress
