#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace edgecompress::tokenizer_internal {

/// Replaces one text by another wherever it stands, left to right.
struct Replacement {
  std::string from;  ///< not empty
  std::string to;

  std::string apply(std::string_view text) const;
};

/// Reads {"pattern": {"String": ...}, "content": ...}; `role` and T14 are named in errors.
Replacement read_replacement(const nlohmann::ordered_json& part, const char* role);

/// The normalizers Prepend and Replace, in order.
class Normalizer {
 public:
  /// Throws Error{Unsupported, "T14"} by name, Error{Malformed, "T14"}.
  explicit Normalizer(const nlohmann::ordered_json& part);

  std::string apply(std::string_view text) const;

 private:
  struct Step {
    std::string prepend;  // for Prepend
    Replacement replace;  // for Replace, when `from` is not empty
  };
  std::vector<Step> steps_;
};

}  // namespace edgecompress::tokenizer_internal
