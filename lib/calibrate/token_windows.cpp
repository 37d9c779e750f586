#include "calibrate/token_windows.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "calibrate/json_lines.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kTextLimitBytes = std::uint64_t{1} << 30;

void refuse_foreign_ids(std::span<const std::int32_t> ids, std::int64_t vocab_size) {
  const auto largest = std::max_element(ids.begin(), ids.end());
  if (largest != ids.end() && *largest >= vocab_size) {
    throw Error(
        ErrorKind::Malformed, "F25",
        concat("the tokenizer gives id ", *largest, " but the model's vocabulary has ", vocab_size,
               " entries; tokenizer.json and config.json do not belong together"));
  }
}

/// Which of `available` windows are taken.
std::vector<std::int64_t> chosen_windows(std::int64_t available, const WindowChoice& choice) {
  const std::int64_t count = std::min(choice.max_count.value_or(available), available);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < count; ++i) {
    chosen.push_back(choice.order == WindowOrder::Spread ? i * available / count : i);
  }
  return chosen;
}

/// Each line encoded, one after the other.
std::vector<std::int32_t> encode_lines(const std::vector<TextLine>& lines,
                                       const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  for (const TextLine& line : lines) {
    const std::vector<std::int32_t> own = with_context(concat("encoding line ", line.number), [&] {
      return tokenizer.encode(line.text, SpecialTokens::Add);
    });
    ids.insert(ids.end(), own.begin(), own.end());
  }
  return ids;
}

void refuse_few(const TokenWindows& windows, const WindowChoice& choice) {
  const std::int64_t wanted = choice.max_count.value_or(windows.count);
  if (windows.count >= wanted) return;
  std::int64_t needed = 0;
  if (__builtin_mul_overflow(wanted, choice.length, &needed)) {
    needed = std::numeric_limits<std::int64_t>::max();
  }
  throw Error(
      ErrorKind::Malformed, "F24",
      windows.lengths.empty()
          ? concat(windows.source, " has ", windows.text_tokens, " tokens; ", wanted,
                   " samples of ", choice.length, " need ", needed,
                   "; give more text, fewer samples or a shorter sequence length")
          : concat(windows.source, " has ", windows.count, " sequences of up to ", choice.length,
                   " tokens; ", wanted, " samples need as many; give more lines or fewer samples"));
}

}  // namespace

TokenWindows sequence_windows(const std::vector<std::vector<std::int32_t>>& sequences,
                              const WindowChoice& choice, const std::string& source) {
  std::vector<std::span<const std::int32_t>> pieces;
  TokenWindows windows{.source = source, .ids = {}, .length = choice.length, .sha256 = {}};
  for (const std::vector<std::int32_t>& sequence : sequences) {
    windows.text_tokens += static_cast<std::int64_t>(sequence.size());
    std::span<const std::int32_t> rest(sequence);
    while (rest.size() >= 2) {
      const auto size = std::min(rest.size(), static_cast<std::size_t>(choice.length));
      pieces.push_back(rest.first(size));
      rest = rest.subspan(size);
    }
  }
  if (pieces.empty()) {
    throw Error(ErrorKind::Malformed, "F24",
                concat(source, " has no sequence of at least 2 tokens; give more lines"));
  }
  Sha256 hash;
  for (const std::int64_t index :
       chosen_windows(static_cast<std::int64_t>(pieces.size()), choice)) {
    const std::span<const std::int32_t> piece = pieces[static_cast<std::size_t>(index)];
    const auto size = static_cast<std::int32_t>(piece.size());
    hash.add(std::as_bytes(std::span(&size, 1)));
    hash.add(std::as_bytes(piece));
    windows.ids.insert(windows.ids.end(), piece.begin(), piece.end());
    windows.lengths.push_back(size);
    ++windows.count;
    windows.ids.resize(static_cast<std::size_t>(windows.count * choice.length), 0);
  }
  windows.sha256 = hash.hex_digest();
  return windows;
}

TokenWindows cut_windows(std::span<const std::int32_t> ids, const WindowChoice& choice,
                         const std::string& source) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::int64_t available = tokens / choice.length;
  if (available == 0) {
    throw Error(ErrorKind::Malformed, "F24",
                concat(source, " has ", tokens, " tokens; one window needs ", choice.length,
                       "; give more text or a shorter window"));
  }
  const std::vector<std::int64_t> chosen = chosen_windows(available, choice);
  TokenWindows windows{.source = source,
                       .ids = {},
                       .count = static_cast<std::int64_t>(chosen.size()),
                       .length = choice.length,
                       .text_tokens = tokens,
                       .sha256 = {}};
  windows.ids.reserve(static_cast<std::size_t>(windows.count * choice.length));
  for (const std::int64_t index : chosen) {
    const auto window = ids.subspan(static_cast<std::size_t>(index * choice.length),
                                    static_cast<std::size_t>(choice.length));
    windows.ids.insert(windows.ids.end(), window.begin(), window.end());
  }
  windows.sha256 = sha256_hex(std::as_bytes(std::span(windows.ids)));
  return windows;
}

TokenWindows read_token_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                const WindowChoice& choice, std::int64_t vocab_size) {
  const std::vector<std::int32_t> ids = with_context(concat("encoding ", text.string()), [&] {
    if (is_json_lines(text)) return encode_lines(read_text_lines(text), tokenizer);
    return tokenizer.encode(read_text_file(text, kTextLimitBytes), SpecialTokens::Add);
  });
  refuse_foreign_ids(ids, vocab_size);
  return cut_windows(ids, choice, text.filename().string());
}

TokenWindows read_calibration_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                      const WindowChoice& choice, std::int64_t vocab_size) {
  TokenWindows windows =
      is_json_lines(text) && holds_token_ids(text)
          ? sequence_windows(read_id_lines(text, vocab_size), choice, text.filename().string())
          : read_token_windows(text, tokenizer, choice, vocab_size);
  refuse_few(windows, choice);
  return windows;
}

}  // namespace edgecompress
