#pragma once

#include <nlohmann/json_fwd.hpp>

namespace edgecompress {

/// The recipe language as JSON Schema (draft-07), made of the tables that recipes are checked by.
/// Editors use it offline; it knows keys, types and choices, not the rules across keys.
nlohmann::ordered_json recipe_json_schema();

}  // namespace edgecompress
