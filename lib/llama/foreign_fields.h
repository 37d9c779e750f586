#pragma once

#include <array>

namespace edgecompress {

/// Fields of config.json that name code or a place on another machine: nothing that is written
/// keeps them.
inline constexpr std::array kForeignFields{"auto_map", "_name_or_path"};

}  // namespace edgecompress
