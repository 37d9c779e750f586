#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/split_pattern.h"

#include <algorithm>
#include <cstdint>

#include <pcre2.h>

#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

constexpr std::size_t kStackStart = 32 << 10;
constexpr std::size_t kStackLimit = 16 << 20;
// A match may look at every byte of the text a few times (\s*[\r\n]+ gives back a run of spaces one
// by one); a pattern that backtracks exponentially needs far more.
constexpr std::uint64_t kStepsPerByte = 16;
constexpr std::uint64_t kLeastSteps = 1'000'000;

PCRE2_SPTR code_units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string reason(int error) {
  PCRE2_UCHAR buffer[256];
  return pcre2_get_error_message(error, buffer, sizeof buffer) < 0
             ? concat("PCRE2 error ", error)
             : std::string(reinterpret_cast<const char*>(buffer));
}

}  // namespace

struct SplitPattern::State {
  std::unique_ptr<pcre2_code, Freed<pcre2_code_free>> code;
  std::string pattern;
};

SplitPattern::SplitPattern(const std::string& pattern) : state_(std::make_unique<State>()) {
  state_->pattern = pattern;
  const std::string translated = pattern_for_pcre2(pattern);
  const std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  std::size_t at = 0;
  state_->code.reset(pcre2_compile(code_units(translated), translated.size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &at, context.get()));
  if (!state_->code) {
    refuse("T13", "pre_tokenizer: pattern \"", pattern, "\" does not compile: ", reason(error));
  }
  pcre2_jit_compile(state_->code.get(),
                    PCRE2_JIT_COMPLETE);  // without a JIT the interpreter gives the same
}

SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;

std::vector<std::string_view> SplitPattern::split(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>> match(
      pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>> context(
      pcre2_match_context_create(nullptr));
  const std::unique_ptr<pcre2_jit_stack, Freed<pcre2_jit_stack_free>> stack(
      pcre2_jit_stack_create(kStackStart, kStackLimit, nullptr));
  pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  pcre2_set_match_limit(context.get(), static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                           kLeastSteps + kStepsPerByte * text.size(), UINT32_MAX)));

  std::vector<std::string_view> pieces;
  std::size_t from = 0;  // where the next search starts
  std::size_t done = 0;  // end of the last match
  bool matched = false;
  while (from <= text.size()) {
    // The caller's text is valid UTF-8, and checking it again for every match would be quadratic.
    const int found = pcre2_match(state_->code.get(), code_units(text), text.size(), from,
                                  PCRE2_NO_UTF_CHECK, match.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      throw Error(ErrorKind::Malformed, "T13",
                  concat("tokenizer.json: pre_tokenizer: pattern \"", state_->pattern,
                         "\" gave up after byte ", done, " of ", text.size(), ": ", reason(found)));
    }
    const std::size_t* bounds = pcre2_get_ovector_pointer(match.get());
    const auto [start, end] = std::pair(bounds[0], bounds[1]);
    if (start == end && matched && end == done) {
      if (from == text.size()) break;
      from += utf8_length(text[from]);
      continue;
    }
    if (start > done) pieces.push_back(text.substr(done, start - done));
    if (end > start) pieces.push_back(text.substr(start, end - start));
    from = done = end;
    matched = true;
  }
  if (done < text.size()) pieces.push_back(text.substr(done));
  return pieces;
}

}  // namespace edgecompress::tokenizer_internal
