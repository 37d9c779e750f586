#include "weights/activation_rounding.h"

#include <algorithm>
#include <cstddef>

namespace edgecompress {

std::string_view activation_name(ActivationRounding rounding) {
  return kActivationNames.at(static_cast<std::size_t>(rounding));
}

std::optional<ActivationRounding> activation_of_name(std::string_view name) {
  const auto found = std::find(kActivationNames.begin(), kActivationNames.end(), name);
  if (found == kActivationNames.end()) return std::nullopt;
  return static_cast<ActivationRounding>(found - kActivationNames.begin());
}

std::optional<ActivationRounding> rounding_of_int8_style(std::string_view name) {
  if (name == "weight-only") return ActivationRounding::None;
  if (name == "dynamic") return ActivationRounding::Int8PerTensor;
  if (name == "dynamic-per-token") return ActivationRounding::Int8PerToken;
  return std::nullopt;
}

}  // namespace edgecompress
