#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "base/mapped_file.h"

namespace edgecompress {

/// SHA-256 of a file as 64 lower-case hexadecimal digits. Its pages are given back behind the hash,
/// as it may be larger than the memory.
/// hashed: told the size of each piece in bytes; may be empty.
std::string sha256_of_file(const MappedFile& file,
                           const std::function<void(std::size_t)>& hashed = {});

}  // namespace edgecompress
