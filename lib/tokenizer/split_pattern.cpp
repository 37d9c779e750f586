#include "tokenizer/split_pattern.h"

#include <algorithm>
#include <cstdint>

#include "base/pcre2_handles.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

constexpr std::size_t kStackStart = 32 << 10;
constexpr std::size_t kStackLimit = 16 << 20;
// A match may look at every byte of the text a few times (\s*[\r\n]+ gives back a run of spaces one
// by one); a pattern that backtracks exponentially needs far more.
constexpr std::uint64_t kStepsPerByte = 16;
constexpr std::uint64_t kLeastSteps = 1'000'000;

std::string reason(int error) {
  PCRE2_UCHAR buffer[256];
  return pcre2_get_error_message(error, buffer, sizeof buffer) < 0
             ? concat("PCRE2 error ", error)
             : std::string(reinterpret_cast<const char*>(buffer));
}

}  // namespace

struct SplitPattern::State {
  Pcre2Handle<pcre2_code> code;
  std::string pattern;
};

SplitPattern::SplitPattern(const std::string& pattern) : state_(std::make_unique<State>()) {
  state_->pattern = pattern;
  const std::string translated = pattern_for_pcre2(pattern);
  const auto context = pcre2_owned(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  std::size_t at = 0;
  state_->code.reset(pcre2_compile(pcre2_units(translated), translated.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &at, context.get()));
  if (!state_->code) {
    refuse_pcre2_without_memory(error);
    refuse("T13", "pre_tokenizer: pattern \"", pattern, "\" does not compile: ", reason(error));
  }
  pcre2_jit_compile(state_->code.get(),
                    PCRE2_JIT_COMPLETE);  // without a JIT the interpreter gives the same
}

SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;

std::vector<std::string_view> SplitPattern::split(std::string_view text) const {
  const auto match = pcre2_owned(pcre2_match_data_create(1, nullptr));
  const auto context = pcre2_owned(pcre2_match_context_create(nullptr));
  const Pcre2Handle<pcre2_jit_stack> stack(  // nothing where there is no JIT
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
    const int found = pcre2_match(state_->code.get(), pcre2_units(text), text.size(), from,
                                  PCRE2_NO_UTF_CHECK, match.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      refuse_pcre2_without_memory(found);
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
