#include "base/sha256.h"

#include <string_view>

#include "support/catch.h"

namespace edgecompress {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// FIPS 180-4 example values
TEST_CASE("digests are those of the standard, in one piece or several", "[base][golden]") {
  CHECK(sha256_hex(bytes("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hash;
  hash.add(bytes("a"));
  hash.add({});
  hash.add(bytes("bc"));
  CHECK(hash.hex_digest() == sha256_hex(bytes("abc")));
}

TEST_CASE("a digest is 64 lower-case hexadecimal digits", "[base]") {
  const std::string digest = sha256_hex({});
  CHECK(is_sha256(digest));
  CHECK_FALSE(is_sha256(""));
  CHECK_FALSE(is_sha256(digest.substr(1)));
  CHECK_FALSE(is_sha256(digest + "0"));
  CHECK_FALSE(is_sha256("B" + digest.substr(1)));
  CHECK_FALSE(is_sha256(" " + digest.substr(1)));
}

}  // namespace
}  // namespace edgecompress
