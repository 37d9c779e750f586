#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "tokenizer/characters.h"
#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kContentLimit = 65'536;

AddedToken read_added_token(const Json& entry, std::size_t index) {
  AddedToken token;
  const Json& content = field(entry, "content");
  const Json& id = field(entry, "id");
  if (!content.is_string() || content.get_ref<const std::string&>().empty()) {
    refuse("T12", "added_tokens[", index, "]: \"content\" must be text that is not empty");
  }
  token.content = content.get<std::string>();
  if (token.content.size() > kContentLimit) {
    refuse("T12", "added_tokens[", index, "] has ", token.content.size(), " bytes; at most ",
           kContentLimit);
  }
  if (!id.is_number_integer() || id < 0 || id > INT32_MAX) {
    refuse("T12", "added_tokens[", index, "]: \"id\" of \"", token.content,
           "\" must be an integer from 0 to 2^31 - 1");
  }
  token.id = id.get<std::int32_t>();
  token.single_word = boolean_field(entry, "single_word", false);
  token.strip_left = boolean_field(entry, "lstrip", false);
  token.strip_right = boolean_field(entry, "rstrip", false);
  token.special = boolean_field(entry, "special", false);
  token.normalized = boolean_field(entry, "normalized", true);
  return token;
}

}  // namespace

std::vector<AddedToken> read_added_tokens(const Json& list, const Vocabulary& vocabulary) {
  if (list.is_null()) return {};
  if (!list.is_array()) refuse("T12", "\"added_tokens\" must be a list");
  std::vector<AddedToken> tokens;
  std::unordered_set<std::string> contents;
  // Hugging Face's tokenizers ignore the file's id: a token of the model keeps the model's id, any
  // other gets the next free one. A file that says something else was meant for another vocabulary.
  std::int64_t largest = -1;
  for (const Json& entry : list) {
    AddedToken token = read_added_token(entry, tokens.size());
    if (!contents.insert(token.content).second) {
      refuse("T12", "added_tokens: \"", token.content, "\" appears twice");
    }
    const std::int64_t in_model = vocabulary.find(token.content);
    const auto count = static_cast<std::int64_t>(vocabulary.size());
    const std::int64_t expected = in_model >= 0 ? in_model : std::max(count, largest + 1);
    if (token.id != expected) {
      refuse("T12", "added_tokens: \"", token.content, "\" has the id ", token.id, "; expected ",
             expected,
             in_model >= 0 ? ", its id in model.vocab" : ", the next after the vocabulary");
    }
    if (in_model < 0 && vocabulary.text(token.id) != nullptr) {
      refuse("T12", "added_tokens: \"", token.content, "\" has the id ", token.id, " of \"",
             *vocabulary.text(token.id), "\" in model.vocab");
    }
    largest = std::max<std::int64_t>(largest, token.id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized,
                                     const Normalizer& normalizer) {
  for (const AddedToken& token : tokens) {
    if (token.normalized != normalized) continue;
    std::string text = normalized ? normalizer.apply(token.content) : token.content;
    if (!text.empty()) patterns_.push_back({std::move(text), token});
  }
  std::stable_sort(patterns_.begin(), patterns_.end(),
                   [](const Pattern& a, const Pattern& b) { return a.text < b.text; });
  for (std::size_t end = 0; end < patterns_.size();) {
    const std::size_t begin = end;
    const char first = patterns_[begin].text[0];
    while (end < patterns_.size() && patterns_[end].text[0] == first) ++end;
    by_first_byte_[static_cast<unsigned char>(first)] = {begin, end};
  }
}

/// Narrows the sorted patterns byte by byte; a pattern that ends inside the range comes first in
/// it.
const AddedTokenMatcher::Pattern* AddedTokenMatcher::longest_at(std::string_view text) const {
  auto [begin, end] = by_first_byte_[static_cast<unsigned char>(text[0])];
  const Pattern* longest = nullptr;
  for (std::size_t depth = 1; begin < end; ++depth) {
    if (patterns_[begin].text.size() == depth) longest = &patterns_[begin];
    while (begin < end && patterns_[begin].text.size() == depth) ++begin;
    if (begin == end || depth == text.size()) break;
    const auto byte = static_cast<unsigned char>(text[depth]);
    const auto at = [&](const Pattern& pattern) {
      return static_cast<unsigned char>(pattern.text[depth]);
    };
    const auto first = patterns_.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = patterns_.begin() + static_cast<std::ptrdiff_t>(end);
    const auto low =
        std::partition_point(first, last, [&](const Pattern& p) { return at(p) < byte; });
    const auto high =
        std::partition_point(low, last, [&](const Pattern& p) { return at(p) == byte; });
    begin = static_cast<std::size_t>(low - patterns_.begin());
    end = static_cast<std::size_t>(high - patterns_.begin());
  }
  return longest;
}

std::vector<AddedTokenSpan> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<AddedTokenSpan> spans;
  std::size_t done = 0;
  for (std::size_t at = 0; !patterns_.empty() && at < text.size();) {
    const Pattern* found = longest_at(text.substr(at));
    if (found == nullptr) {
      ++at;
      continue;
    }
    std::size_t start = at;
    std::size_t end = at + found->text.size();
    at = end;  // also when it is discarded: matches are looked for behind it
    const AddedToken& token = found->token;
    const bool inside_word =
        ends_with_word(text.substr(0, start)) || starts_with_word(text.substr(end));
    if (token.single_word && inside_word) continue;
    if (token.strip_left) start = std::max(start - space_at_end(text.substr(0, start)), done);
    if (token.strip_right) end += space_at_start(text.substr(end));
    if (start > done) spans.push_back({text.substr(done, start - done), -1});
    spans.push_back({text.substr(start, end - start), token.id});
    done = end;
  }
  if (done < text.size()) spans.push_back({text.substr(done), -1});
  return spans;
}

}  // namespace edgecompress::tokenizer_internal
