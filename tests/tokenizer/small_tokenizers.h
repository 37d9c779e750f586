#pragma once

#include <cstdio>
#include <string>

#include <nlohmann/json.hpp>

namespace edgecompress {

/// A whole SentencePiece-like tokenizer.json: a, b, c, the metaspace and byte fallback.
inline nlohmann::ordered_json small_sentencepiece_like() {
  using Json = nlohmann::ordered_json;
  Json vocabulary = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    vocabulary[name] = 3 + byte;
  }
  int next = 259;
  for (const char* text : {"▁", "a", "b", "c", "ab", "bc", "▁a", "abc"}) vocabulary[text] = next++;
  const auto added = [](const char* content, int id) {
    return Json{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  return Json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", Json::array({added("<unk>", 0), added("<s>", 1), added("</s>", 2)})},
              {"normalizer", Json::parse(R"({"type": "Sequence", "normalizers": [
          {"type": "Prepend", "prepend": "▁"},
          {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})")},
              {"pre_tokenizer", nullptr},
              {"post_processor", Json::parse(R"({"type": "TemplateProcessing",
          "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
          "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}})")},
              {"decoder", Json::parse(R"({"type": "Sequence", "decoders": [
          {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
          {"type": "ByteFallback"}, {"type": "Fuse"},
          {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})")},
              {"model", Json{{"type", "BPE"},
                             {"dropout", nullptr},
                             {"unk_token", "<unk>"},
                             {"fuse_unk", true},
                             {"byte_fallback", true},
                             {"vocab", vocabulary},
                             {"merges", Json::array({"b c", "a b", "▁ a", "a bc"})}}}};
}

}  // namespace edgecompress
