#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace edgecompress::tokenizer_internal {

/// Puts special tokens around the ids of a text: TemplateProcessing for a single text, ByteLevel
/// (which moves only offsets) and Sequences of them.
class PostProcessor {
 public:
  /// id_limit: ids are below it. Throws Error{Unsupported, "T14"} by name, Error{Malformed} T14,
  /// T15.
  PostProcessor(const nlohmann::ordered_json& part, std::int64_t id_limit);

  /// with_special: whether the template's special tokens are put in.
  std::vector<std::int32_t> apply(std::vector<std::int32_t> ids, bool with_special) const;

 private:
  struct Piece {
    bool is_text;
    std::vector<std::int32_t> special;
  };
  using Template = std::vector<Piece>;
  static Template read_template(const nlohmann::ordered_json& part, std::int64_t id_limit);

  std::vector<Template> templates_;
};

}  // namespace edgecompress::tokenizer_internal
