#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace edgecompress {

/// A reader of bytes from outside. It returns or throws Error; anything else is a defect.
struct FuzzTarget {
  std::string name;  ///< also its folder in tests/fuzz/corpus
  std::function<void(std::string_view input)> read;
};

std::vector<FuzzTarget> fuzz_targets();

}  // namespace edgecompress
