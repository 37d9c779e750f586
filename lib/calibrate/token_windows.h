#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace edgecompress {

/// Token sequences of one length, cut from one text.
struct TokenWindows {
  std::string source;             ///< the text's file name, without its folder
  std::vector<std::int32_t> ids;  ///< [count, length], row-major
  std::int64_t count = 0;
  std::int64_t length = 0;
  std::int64_t text_tokens = 0;  ///< of the whole text
  std::string sha256;            ///< of ids as little-endian int32

  std::span<const std::int32_t> window(std::int64_t index) const {
    return std::span(ids).subspan(static_cast<std::size_t>(index * length),
                                  static_cast<std::size_t>(length));
  }
};

/// Which of a text's W windows are taken when at most n are.
enum class WindowOrder {
  Spread,  ///< number floor(i * W / n) for i = 0 ... n - 1
  First,   ///< the first n
};

struct WindowChoice {
  std::int64_t length = 512;              ///< tokens of a window, >= 2
  std::optional<std::int64_t> max_count;  ///< nothing: all
  WindowOrder order = WindowOrder::Spread;
};

/// Cuts ids into non-overlapping windows, drops the tail, and takes the chosen ones.
/// Throws Error{Malformed} F24 when not even one window fits, with the number of tokens there are
/// and are needed.
TokenWindows cut_windows(std::span<const std::int32_t> ids, const WindowChoice& choice,
                         const std::string& source);

/// Encodes a UTF-8 text file in one call (special tokens once, at its start) and cuts it.
/// vocab_size: of the model. Throws also Error{Malformed} F25 for an id the model has no embedding
/// for.
TokenWindows read_token_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                const WindowChoice& choice, std::int64_t vocab_size);

/// The same, but refuses a text with fewer than `choice.max_count` windows: what calibration asks
/// for must be there.
TokenWindows read_calibration_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                      const WindowChoice& choice, std::int64_t vocab_size);

}  // namespace edgecompress
