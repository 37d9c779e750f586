#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace edgecompress {

/// SHA-256 of a byte stream given in pieces (FIPS 180-4; computed by OpenSSL).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void add(std::span<const std::byte> bytes);

  /// Returns the digest of everything added as 64 lower-case hexadecimal digits. Call once, last.
  std::string hex_digest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Returns the digest of one piece.
std::string sha256_hex(std::span<const std::byte> bytes);

/// Whether the text is a digest as hex_digest() returns it.
bool is_sha256(std::string_view text);

}  // namespace edgecompress
