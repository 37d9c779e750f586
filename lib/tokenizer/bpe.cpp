#include "tokenizer/bpe.h"

#include <algorithm>
#include <cstdio>

#include "tokenizer/utf8.h"

namespace edgecompress::tokenizer_internal {
namespace {

using Json = nlohmann::ordered_json;

std::string byte_token(unsigned byte) {
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", byte);
  return name;
}

std::string_view last_character(std::string_view text) {
  std::size_t start = text.size() - 1;
  while ((static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return text.substr(start);
}

void refuse_affix(const Json& model, const char* name) {
  const Json& affix = field(model, name);
  if (affix.is_null() || (affix.is_string() && affix.get_ref<const std::string&>().empty())) return;
  refuse_unsupported("T3", "model.", name, " is not supported; only null is");
}

}  // namespace

Bpe::Bpe(TokenizerJson& file)
    : vocabulary_(std::move(file.vocabulary)),
      merges_(file.merges.size()),
      crossings_(file.merges.size()) {
  const Json& model = field(file.document, "model");
  if (!model.is_object()) refuse("T3", "\"model\" is missing or no object");
  const Json& type = field(model, "type");
  if (!type.is_null() && type != "BPE") {
    refuse_unsupported("T3", "model type ", type.dump(-1, ' ', true),
                       " is not supported; only BPE is");
  }
  if (type.is_null() && !file.has_merges) refuse("T3", "model has no \"type\" and no \"merges\"");
  if (!file.has_vocabulary || vocabulary_.size() == 0) {
    refuse("T4", "model.vocab is missing, empty or no object of token: id");
  }
  if (!file.has_merges) refuse("T8", "model.merges is missing or no list");
  read_options(model);
  resolve_merges(file.merges);
}

void Bpe::read_options(const Json& model) {
  refuse_affix(model, "continuing_subword_prefix");
  refuse_affix(model, "end_of_word_suffix");
  const Json& dropout = field(model, "dropout");
  if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0)) {
    refuse_unsupported("T3", "model.dropout is not supported: encoding would be random");
  }
  fuse_unknown_ = boolean_field(model, "fuse_unk", false);
  byte_fallback_ = boolean_field(model, "byte_fallback", false);
  ignore_merges_ = boolean_field(model, "ignore_merges", false);
  if (!field(model, "unk_token").is_null()) {
    const std::string unknown = text_field(model, "unk_token");
    unknown_ = vocabulary_.find(unknown);
    if (unknown_ < 0) refuse("T11", "model.unk_token \"", unknown, "\" is not in model.vocab");
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    bytes_[byte] = vocabulary_.find(byte_token(byte));
    if (byte_fallback_ && bytes_[byte] < 0) {
      refuse("T11", "model.byte_fallback is true but \"", byte_token(byte),
             "\" is not in model.vocab");
    }
  }
  for (std::size_t code_point = 0; code_point < short_characters_.size(); ++code_point) {
    std::string character;
    append_utf8(character, static_cast<char32_t>(code_point));
    short_characters_[code_point] = vocabulary_.find(character);
  }
}

void Bpe::resolve_merges(const std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<std::pair<std::int32_t, std::int32_t>> operands;
  operands.reserve(merges.size());
  std::size_t unresolved = 0;
  std::string shown;
  std::string joined;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    joined.assign(left).append(right);
    const std::int32_t a = vocabulary_.find(left);
    const std::int32_t b = vocabulary_.find(right);
    const std::int32_t result = vocabulary_.find(joined);
    if (a < 0 || b < 0 || result < 0) {
      if (++unresolved <= 5) shown += concat(" [", rank, "] \"", left, "\" \"", right, "\"");
      continue;
    }
    merges_.set(a, b, {static_cast<std::uint32_t>(rank), result});
    operands.emplace_back(a, b);
  }
  if (unresolved > 0) {
    refuse("T9", unresolved,
           " of model.merges have a part or a result that is not in model.vocab:", shown);
  }
  find_crossings(operands);
}

/// A token made by merges begins and ends with single characters, whichever way it was made, as
/// long as no merge takes a byte token or the unknown token. Then no merge ever joins two
/// characters that are not the last and the first of some merge's parts, and a word falls into
/// independent pieces there.
void Bpe::find_crossings(const std::vector<std::pair<std::int32_t, std::int32_t>>& operands) {
  std::vector<bool> fallback(static_cast<std::size_t>(vocabulary_.id_limit()));
  if (unknown_ >= 0) fallback[static_cast<std::size_t>(unknown_)] = true;
  for (const std::int32_t id : bytes_) {
    if (id >= 0) fallback[static_cast<std::size_t>(id)] = true;
  }
  crossings_known_ = true;
  for (const auto& [a, b] : operands) {
    if (fallback[static_cast<std::size_t>(a)] || fallback[static_cast<std::size_t>(b)]) {
      crossings_known_ = false;
      return;
    }
    const std::string_view left = *vocabulary_.text(a);
    const std::string_view right = *vocabulary_.text(b);
    const std::int32_t last = vocabulary_.find(last_character(left));
    const std::int32_t first = vocabulary_.find(right.substr(0, utf8_length(right[0])));
    if (last >= 0 && first >= 0) crossings_.set(last, first, {});
  }
}

std::int32_t Bpe::find_character(std::string_view character) const {
  if (character.size() > 2) return vocabulary_.find(character);
  return short_characters_[static_cast<std::size_t>(utf8_code_point(character, 0))];
}

void Bpe::push(std::int32_t id, Scratch& scratch, std::vector<std::int32_t>& ids) const {
  auto& symbols = scratch.symbols;
  if (!symbols.empty() && crossings_known_ && crossings_.find(symbols.back().id, id) == nullptr) {
    merge_all(scratch, ids);
  }
  const auto position = static_cast<std::int32_t>(symbols.size());
  symbols.push_back({id, position - 1, position + 1});
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const {
  if (ignore_merges_ && word.size() <= vocabulary_.longest_bytes()) {
    const std::int32_t whole = vocabulary_.find(word);
    if (whole >= 0) {
      ids.push_back(whole);
      return;
    }
  }
  bool after_unknown = false;
  for (std::size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, utf8_length(word[at]));
    at += character.size();
    const std::int32_t id = find_character(character);
    if (id >= 0) {
      push(id, scratch, ids);
    } else if (byte_fallback_) {
      for (const char byte : character)
        push(bytes_[static_cast<unsigned char>(byte)], scratch, ids);
    } else if (unknown_ >= 0 && !(after_unknown && fuse_unknown_)) {
      push(unknown_, scratch, ids);
    }
    after_unknown = id < 0;
  }
  merge_all(scratch, ids);
}

void Bpe::merge_all(Scratch& scratch, std::vector<std::int32_t>& ids) const {
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  if (symbols.empty()) return;
  symbols.back().next = -1;
  // The heap's top is the lowest rank, leftmost first.
  const auto worse = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto candidate = [&](std::int32_t position) {
    if (position < 0) return false;
    const Scratch::Symbol& left = symbols[static_cast<std::size_t>(position)];
    if (left.next < 0) return false;
    const std::int32_t right = symbols[static_cast<std::size_t>(left.next)].id;
    const MergeRule* rule = merges_.find(left.id, right);
    if (rule == nullptr) return false;
    queue.push_back({rule->rank, position, left.id, right, rule->result});
    return true;
  };
  const auto offer = [&](std::int32_t position) {
    if (candidate(position)) std::push_heap(queue.begin(), queue.end(), worse);
  };
  const auto count = static_cast<std::int32_t>(symbols.size());
  for (std::int32_t position = 0; position < count; ++position) candidate(position);
  std::make_heap(queue.begin(), queue.end(), worse);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), worse);
    const Scratch::Candidate best = queue.back();
    queue.pop_back();
    Scratch::Symbol& left = symbols[static_cast<std::size_t>(best.position)];
    if (left.id != best.left || left.next < 0) continue;
    Scratch::Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    if (right.id != best.right) continue;
    left.id = best.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.position;
    offer(left.previous);
    offer(best.position);
  }
  for (std::int32_t at = 0; at >= 0; at = symbols[static_cast<std::size_t>(at)].next) {
    ids.push_back(symbols[static_cast<std::size_t>(at)].id);
  }
  symbols.clear();
}

}  // namespace edgecompress::tokenizer_internal
