#include "calibrate/token_windows.h"

#include <algorithm>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"

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

}  // namespace

TokenWindows cut_windows(std::span<const std::int32_t> ids, const WindowChoice& choice,
                         const std::string& source) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::int64_t available = tokens / choice.length;
  if (available == 0) {
    throw Error(ErrorKind::Malformed, "F24",
                concat(source, " has ", tokens, " tokens; one window needs ", choice.length,
                       "; give more text or a shorter window"));
  }
  const std::int64_t count = std::min(choice.max_count.value_or(available), available);
  TokenWindows windows{.source = source,
                       .ids = {},
                       .count = count,
                       .length = choice.length,
                       .text_tokens = tokens,
                       .sha256 = {}};
  windows.ids.reserve(static_cast<std::size_t>(count * choice.length));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t index = choice.order == WindowOrder::Spread ? i * available / count : i;
    const std::int64_t start = index * choice.length;
    const auto window =
        ids.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(choice.length));
    windows.ids.insert(windows.ids.end(), window.begin(), window.end());
  }
  windows.sha256 = sha256_hex(std::as_bytes(std::span(windows.ids)));
  return windows;
}

TokenWindows read_token_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                const WindowChoice& choice, std::int64_t vocab_size) {
  const std::string content = read_text_file(text, kTextLimitBytes);
  const std::vector<std::int32_t> ids = with_context(concat("encoding ", text.string()), [&] {
    return tokenizer.encode(content, SpecialTokens::Add);
  });
  refuse_foreign_ids(ids, vocab_size);
  return cut_windows(ids, choice, text.filename().string());
}

TokenWindows read_calibration_windows(const std::filesystem::path& text, const Tokenizer& tokenizer,
                                      const WindowChoice& choice, std::int64_t vocab_size) {
  TokenWindows windows = read_token_windows(text, tokenizer, choice, vocab_size);
  const std::int64_t wanted = choice.max_count.value_or(windows.count);
  if (windows.count < wanted) {
    throw Error(ErrorKind::Malformed, "F24",
                concat(windows.source, " has ", windows.text_tokens, " tokens; ", wanted,
                       " samples of ", choice.length, " need ", wanted * choice.length,
                       "; give more text, fewer samples or a shorter sequence length"));
  }
  return windows;
}

}  // namespace edgecompress
