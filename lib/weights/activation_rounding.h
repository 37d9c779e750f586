#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace edgecompress {

/// How what a linear layer reads is rounded to 8 bits while the model runs. The range is found anew
/// for every input; the formulas are in docs/numerics.md.
enum class ActivationRounding {
  None,
  Int8PerToken,  ///< a symmetric range for each token (compressed-tensors: dynamic, strategy token)
  Int8PerTensor,  ///< one asymmetric range for all tokens of a sequence (ONNX
                  ///< DynamicQuantizeLinear)
  Int8PerBlock,   ///< a symmetric range for each block of a token's inputs (MatMulNBits at accuracy
                  ///< level 4)
};

/// The rounding of one layer's inputs.
struct ActivationScheme {
  ActivationRounding rounding = ActivationRounding::None;
  std::int64_t block = 0;  ///< inputs that share a range; with Int8PerBlock only

  friend bool operator==(const ActivationScheme&, const ActivationScheme&) = default;
};

/// "none", "int8-per-token", "int8-per-tensor", "int8-per-block".
std::string_view activation_name(ActivationRounding rounding);

/// The rounding of that name, or nothing.
std::optional<ActivationRounding> activation_of_name(std::string_view name);

/// All names, in the order of the enumeration.
inline constexpr std::array<std::string_view, 4> kActivationNames{
    "none", "int8-per-token", "int8-per-tensor", "int8-per-block"};

/// What recipes and flags call a rounding that replaces the one of the model's folder: "auto"
/// leaves it to the folder, and activation_of_name has nothing for it.
inline constexpr std::array<std::string_view, 5> kActivationChoiceNames{
    "auto", "none", "int8-per-token", "int8-per-tensor", "int8-per-block"};

/// What recipes and flags call the rounding of an artifact's inputs: "auto" leaves it to the
/// model's folder.
inline constexpr std::array<std::string_view, 4> kInt8StyleNames{"auto", "weight-only", "dynamic",
                                                                 "dynamic-per-token"};
/// Nothing for "auto", and for other names.
std::optional<ActivationRounding> rounding_of_int8_style(std::string_view name);

}  // namespace edgecompress
