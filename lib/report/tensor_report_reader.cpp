#include <limits>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "report/report.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

/// A number as ReportWriter writes it: text when it is not finite.
double number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const std::string text = value.get<std::string>();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return kInfinity;
  if (text == "-Infinity") return -kInfinity;
  throw Error(ErrorKind::Malformed, "J-JSON", concat("\"", text, "\" is no number of a report"));
}

std::optional<double> optional_number(const Json& row, const char* key) {
  return row.contains(key) ? std::optional(number(row.at(key))) : std::nullopt;
}

template <typename T>
std::optional<T> optional_exact(const Json& row, const char* key) {
  return row.contains(key) ? std::optional(row.at(key).get<T>()) : std::nullopt;
}

}  // namespace

TensorReport parse_tensor_report(const Json& row) {
  try {
    TensorReport tensor;
    tensor.name = row.at("name").get<std::string>();
    tensor.shape_before = row.at("shape_before").get<std::vector<std::int64_t>>();
    tensor.shape_after = row.at("shape_after").get<std::vector<std::int64_t>>();
    tensor.stored_as = row.at("stored_as").get<std::string>();
    tensor.bits = optional_exact<std::int64_t>(row, "bits");
    tensor.group_size = optional_exact<std::int64_t>(row, "group_size");
    tensor.symmetric = optional_exact<bool>(row, "symmetric");
    tensor.sparsity_target = optional_number(row, "sparsity_target");
    tensor.sparsity = number(row.at("sparsity"));
    tensor.relative_weight_error = optional_number(row, "relative_weight_error");
    tensor.relative_output_error = optional_number(row, "relative_output_error");
    tensor.damping_rung = optional_exact<std::int64_t>(row, "damping_rung");
    tensor.clipped_share = optional_number(row, "clipped_share");
    tensor.input_scale_exponent = optional_number(row, "input_scale_exponent");
    if (row.contains("fallbacks")) {
      tensor.fallbacks = row.at("fallbacks").get<std::vector<std::string>>();
    }
    tensor.bytes_before = row.at("bytes_before").get<std::int64_t>();
    tensor.bytes_after = row.at("bytes_after").get<std::int64_t>();
    return tensor;
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::Malformed, "J-JSON",
                concat("a tensor's row of a report lacks something: ", error.what()));
  }
}

}  // namespace edgecompress
