#include "tokenizer/text_decoder.h"

#include <optional>

#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

using Json = nlohmann::ordered_json;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// The byte that "<0x41>" stands for. "<0x+4>" counts too: Rust's number parser takes a plus sign.
std::optional<char> byte_of_token(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const int high = token[3] == '+' ? 0 : hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(16 * high + low);
}

std::int64_t strip_count(const Json& part, const char* name) {
  const Json& count = field(part, name);
  if (!count.is_number_integer() || count < 0 || count > INT32_MAX) {
    refuse("T14", "decoder Strip: \"", name, "\" must be an integer from 0");
  }
  return count.get<std::int64_t>();
}

}  // namespace

TextDecoder::TextDecoder(const Json& part) {
  for_each_part(part, "decoder", "decoders",
                [&](const Json& step, const std::string& type) { add_step(step, type); });
}

void TextDecoder::add_step(const Json& part, const std::string& type) {
  if (type == "Replace") {
    steps_.emplace_back(read_replacement(part, "decoder"));
  } else if (type == "ByteFallback") {
    steps_.emplace_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.emplace_back(Fuse{});
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevel{});
  } else if (type == "Metaspace") {
    steps_.emplace_back(
        Metaspace{read_metaspace_character(part, "decoder"), read_prepend_scheme(part, "decoder")});
  } else if (type == "Strip") {
    const std::string character = text_field(part, "content");
    if (character.empty() || utf8_length(character[0]) != character.size()) {
      refuse("T14", "decoder Strip: \"content\" must be one character");
    }
    steps_.emplace_back(Strip{character, strip_count(part, "start"), strip_count(part, "stop")});
  } else {
    refuse_unsupported("T14", "decoder ", type,
                       " is not supported; Replace, ByteFallback, Fuse, Strip, ByteLevel, "
                       "Metaspace and Sequence are");
  }
}

std::string TextDecoder::decode(std::vector<std::string> tokens) const {
  if (steps_.empty()) {
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) out.append(i == 0 ? "" : " ").append(tokens[i]);
    return out;
  }
  for (const auto& step : steps_) {
    std::visit([&](const auto& chosen) { run(chosen, tokens); }, step);
  }
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

void TextDecoder::run(const ByteFallback&, std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (!find_malformed_utf8(bytes)) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const std::optional<char> byte = byte_of_token(token)) {
      bytes += *byte;
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

void TextDecoder::run(const Fuse&, std::vector<std::string>& tokens) {
  std::string fused;
  for (const std::string& token : tokens) fused += token;
  tokens = {std::move(fused)};
}

void TextDecoder::run(const ByteLevel&, std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += characters_to_bytes(token).value_or(token);
  tokens.assign(1, utf8_lossy(bytes));
}

void TextDecoder::run(const Strip& strip, std::vector<std::string>& tokens) {
  const std::string& character = strip.character;
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (std::int64_t i = 0; i < strip.start && rest.starts_with(character); ++i) {
      rest.remove_prefix(character.size());
    }
    for (std::int64_t i = 0; i < strip.stop && rest.ends_with(character); ++i) {
      rest.remove_suffix(character.size());
    }
    token = std::string(rest);
  }
}

void TextDecoder::run(const Metaspace& metaspace, std::vector<std::string>& tokens) {
  bool drops = metaspace.scheme != PrependScheme::Never;
  for (std::string& token : tokens) {
    token = Replacement{metaspace.character, drops ? "" : " "}.apply(token);
    drops = false;  // only in the first token
  }
}

void TextDecoder::run(const Replacement& replacement, std::vector<std::string>& tokens) {
  for (std::string& token : tokens) token = replacement.apply(token);
}

}  // namespace edgecompress::tokenizer_internal
