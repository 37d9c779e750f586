#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tokenizer/vocabulary.h"

namespace edgecompress::tokenizer_internal {

/// A tokenizer.json whose two long parts are already in the form the model wants: a document tree
/// of a vocabulary with 280,000 merges would take ten times their space and time.
struct TokenizerJson {
  nlohmann::ordered_json document;  ///< all but model.vocab and model.merges
  Vocabulary vocabulary;            ///< indexed by id
  std::vector<std::pair<std::string, std::string>> merges;  ///< by rank
  bool has_vocabulary = false;
  bool has_merges = false;
};

/// source:  named in errors.
/// Throws   Error{Malformed} T1, T4 ... T8, T17.
TokenizerJson read_tokenizer_json(std::string_view text, const std::string& source);

template <typename... Parts>
[[noreturn]] void refuse(const char* code, const Parts&... parts) {
  throw Error(ErrorKind::Malformed, code, concat("tokenizer.json: ", parts...));
}

template <typename... Parts>
[[noreturn]] void refuse_unsupported(const char* code, const Parts&... parts) {
  throw Error(ErrorKind::Unsupported, code, concat("tokenizer.json: ", parts...));
}

/// `object`'s field, or a null value when it is absent.
const nlohmann::ordered_json& field(const nlohmann::ordered_json& object, const char* name);

/// The same as true or false; `absent` when it is absent or null. Throws Error{Malformed, "T1"}.
bool boolean_field(const nlohmann::ordered_json& object, const char* name, bool absent);

/// The same as text; null and absent are refused too. Throws Error{Malformed, "T1"}.
std::string text_field(const nlohmann::ordered_json& object, const char* name);

/// A part's "type". Throws Error{Malformed, "T14"} when `part` is no object or has none.
std::string type_of(const nlohmann::ordered_json& part, const char* role);

/// Calls visit(part, type) for `part`, or for each part of a Sequence, whose list is under `list`;
/// nothing for null.
template <typename Visit>
void for_each_part(const nlohmann::ordered_json& part, const char* role, const char* list,
                   const Visit& visit) {
  if (part.is_null()) return;
  const std::string type = type_of(part, role);
  if (type != "Sequence") return visit(part, type);
  const nlohmann::ordered_json& parts = field(part, list);
  if (!parts.is_array()) refuse("T14", role, " Sequence: \"", list, "\" must be a list");
  for (const nlohmann::ordered_json& inner : parts) {
    if (inner.is_null()) refuse("T14", role, " Sequence: null is no ", role);
    for_each_part(inner, role, list, visit);
  }
}

}  // namespace edgecompress::tokenizer_internal
