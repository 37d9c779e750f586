#include "base/file_hash.h"

#include <algorithm>

#include "base/sha256.h"

namespace edgecompress {

std::string sha256_of_file(const MappedFile& file, const std::function<void(std::size_t)>& hashed) {
  constexpr std::size_t kPiece = std::size_t{16} << 20;
  Sha256 hash;
  std::span<const std::byte> rest = file.bytes();
  while (!rest.empty()) {
    const std::span<const std::byte> piece = rest.first(std::min(kPiece, rest.size()));
    hash.add(piece);
    file.drop(piece);
    rest = rest.subspan(piece.size());
    if (hashed) hashed(piece.size());
  }
  return hash.hex_digest();
}

}  // namespace edgecompress
