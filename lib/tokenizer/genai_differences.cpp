#include "tokenizer/genai_differences.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "tokenizer/added_tokens.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer_json.h"

namespace edgecompress {

namespace internal = tokenizer_internal;

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSpaceMark = "\u2581";
// The pattern of Llama 3; GPT-2's stands behind ByteLevel's use_regex.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// What SentencePiece would merge, and onnxruntime-genai cuts apart before it merges.
struct CutMerge {
  std::string_view left;
  std::string_view right;
  std::string_view text;
};
constexpr std::array kCutMerges{CutMerge{"t", "d", "don'td"}, CutMerge{kSpaceMark, "\r", "\r\n"},
                                CutMerge{kSpaceMark, "\u00a0", "\u00a0a"},
                                CutMerge{kSpaceMark, "a", "\u2581\u2581a"}};

class Differences {
 public:
  explicit Differences(const internal::TokenizerJson& file) : file_(file) {}

  std::vector<GenaiDifference> find() {
    bool byte_level = false;
    internal::for_each_part(part("pre_tokenizer"), "pre_tokenizer", "pretokenizers",
                            [&](const Json&, const std::string& type) {
                              byte_level = byte_level || type == "ByteLevel";
                            });
    if (byte_level) {
      look_at_byte_level();
    } else if (!decodes_space_marks()) {
      add("a b",
          "it takes a tokenizer whose decoder does not replace \u2581 by a space for a "
          "byte-level one, and gives id -1 for what it then does not find");
      return std::move(found_);
    } else {
      look_at_sentencepiece();
    }
    look_at_added_tokens(byte_level);
    return std::move(found_);
  }

 private:
  const Json& part(const char* name) const { return internal::field(file_.document, name); }

  void add(std::string text, std::string reason) {
    found_.push_back({std::move(text), std::move(reason)});
  }

  bool decodes_space_marks() const {
    bool found = false;
    internal::for_each_part(
        part("decoder"), "decoder", "decoders", [&](const Json& step, const std::string& type) {
          if (type != "Replace") return;
          const internal::Replacement replace = internal::read_replacement(step, "decoder");
          found = found || (replace.from == kSpaceMark && replace.to == " ");
        });
    return found;
  }

  bool prepends_space_mark() const {
    bool found = false;
    internal::for_each_part(
        part("normalizer"), "normalizer", "normalizers",
        [&](const Json& step, const std::string& type) {
          found =
              found || (type == "Prepend" && internal::text_field(step, "prepend") == kSpaceMark);
        });
    return found;
  }

  void look_at_sentencepiece() {
    if (!prepends_space_mark()) add("a", "it always puts a space before the text");
    if (!internal::boolean_field(part("model"), "byte_fallback", false)) {
      add("\U0010FFFD", "it gives id -1 for a character that the vocabulary does not have");
    }
    for (const CutMerge& cut : kCutMerges) {
      const bool merges = std::ranges::any_of(file_.merges, [&](const auto& merge) {
        return merge.first == cut.left && merge.second == cut.right;
      });
      if (merges) add(std::string(cut.text), "it splits the text by a pattern before it merges");
    }
  }

  void look_at_byte_level() {
    bool prefix = false;
    bool gpt2 = false;
    std::vector<std::string> patterns;
    internal::for_each_part(
        part("pre_tokenizer"), "pre_tokenizer", "pretokenizers",
        [&](const Json& step, const std::string& type) {
          if (type == "ByteLevel") {
            prefix = prefix || internal::boolean_field(step, "add_prefix_space", true);
            gpt2 = gpt2 || internal::boolean_field(step, "use_regex", true);
          } else if (type == "Split") {
            patterns.push_back(internal::text_field(internal::field(step, "pattern"), "Regex"));
          }
        });
    if (prefix) add("a", "it puts no space before the text, although add_prefix_space is true");
    const bool known = patterns.empty()
                           ? gpt2
                           : !gpt2 && patterns.size() == 1 && patterns.front() == kLlama3Pattern;
    if (!known) {
      add("",
          "it splits texts as Llama 3 or GPT-2 does, or by a regular expression engine of "
          "another dialect; tokenizer.json asks for something else");
    }
  }

  void look_at_added_tokens(bool byte_level) {
    const bool prepends = !byte_level && prepends_space_mark();
    bool strips = false;
    bool inside_words = false;
    for (const internal::AddedToken& token :
         internal::read_added_tokens(part("added_tokens"), file_.vocabulary)) {
      if (!strips && token.strip_left) {
        strips = true;
        add(concat("a ", token.content, " a"),
            "it leaves the spaces before an added token that lstrip takes");
      }
      if (!inside_words && (token.single_word || (token.normalized && prepends))) {
        inside_words = true;
        add(concat("x", token.content, "x"),
            "it finds an added token inside words, although single_word or normalized forbid it");
      }
    }
  }

  const internal::TokenizerJson& file_;
  std::vector<GenaiDifference> found_;
};

}  // namespace

std::vector<GenaiDifference> genai_differences(std::string_view tokenizer_json,
                                               const std::string& source) {
  const internal::TokenizerJson file = internal::read_tokenizer_json(tokenizer_json, source);
  return with_context(concat("reading ", source), [&] { return Differences(file).find(); });
}

}  // namespace edgecompress
