#include "tokenizer/sentencepiece_size.h"

#include <string>
#include <string_view>

#include "support/catch.h"

namespace edgecompress {
namespace {

std::optional<std::int64_t> size_of(std::string_view file) {
  return sentencepiece_size(std::as_bytes(std::span(file.data(), file.size())));
}

TEST_CASE("the pieces of a SentencePiece file are counted") {
  // two pieces (field 1), a trainer (field 2) of 130 bytes, whose length takes two, and a number
  const std::string pieces = std::string(
      "\x0a\x03"
      "abc"
      "\x0a\x01"
      "d");
  const std::string trainer = std::string("\x12\x82\x01").append(130, 'x');
  CHECK(size_of(pieces + trainer) == 2);
  CHECK(size_of(pieces + std::string("\x18\x05") + pieces) == 4);
}

TEST_CASE("a file of another kind has no pieces") {
  CHECK_FALSE(size_of("").has_value());
  CHECK_FALSE(size_of("IQ== 0\nIg== 1\n").has_value());  // tiktoken, as Llama 3's
  CHECK_FALSE(size_of("\x0a\x03"
                      "ab")
                  .has_value());                  // cut off
  CHECK_FALSE(size_of("\x12\x01x").has_value());  // no piece at all
  CHECK_FALSE(size_of(std::string(11, '\xff')).has_value());
}

}  // namespace
}  // namespace edgecompress
