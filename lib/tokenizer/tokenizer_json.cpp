#include "tokenizer/tokenizer_json.h"

#include <cstdint>
#include <set>

namespace edgecompress::tokenizer_internal {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kFileLimit = std::size_t{256} << 20;
constexpr std::size_t kDepthLimit = 64;
constexpr std::size_t kTokenLimit = 4'194'304;
constexpr std::size_t kTokenBytesLimit = 65'536;

/// Builds the document, but takes model.vocab and model.merges out as they pass.
class Reader : public nlohmann::json_sax<Json> {
 public:
  TokenizerJson result;
  std::string syntax_error;
  std::size_t error_byte = 0;

  bool null() override { return value(nullptr, "null"); }
  bool boolean(bool given) override { return value(given, given ? "true" : "false"); }
  bool number_integer(number_integer_t given) override {
    if (part_ == Part::Vocabulary) {
      if (given < 0) refuse("T5", "model.vocab: \"", key_, "\" has the negative id ", given);
      return token(static_cast<std::uint64_t>(given));
    }
    return value(given, "a number");
  }
  bool number_unsigned(number_unsigned_t given) override {
    return part_ == Part::Vocabulary ? token(given) : value(given, "a number");
  }
  bool number_float(number_float_t given, const string_t& text) override {
    return value(given, text.c_str());
  }
  bool string(string_t& given) override {
    if (part_ != Part::Merges) return value(std::move(given), "text");
    if (in_pair_) {
      if (pair_.size() == 2) refuse_merge("has more than two parts");
      pair_.push_back(std::move(given));
    } else if (!given.starts_with("#version")) {
      merge_line(given);
    }
    return true;
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    if (part_ == Part::None && at_model_field("vocab")) {
      part_ = Part::Vocabulary;
      result.has_vocabulary = true;
      return true;
    }
    value_only_in_document("an object");
    return open(Json::object());
  }
  bool end_object() override {
    if (part_ == Part::Vocabulary) {
      part_ = Part::None;
      return true;
    }
    return close();
  }
  bool start_array(std::size_t) override {
    if (part_ == Part::None && at_model_field("merges")) {
      part_ = Part::Merges;
      result.has_merges = true;
      return true;
    }
    if (part_ == Part::Merges && !in_pair_) {
      in_pair_ = true;
      pair_.clear();
      return true;
    }
    value_only_in_document("a list");
    return open(Json::array());
  }
  bool end_array() override {
    if (part_ != Part::Merges) return close();
    if (!in_pair_) {
      part_ = Part::None;
      return true;
    }
    if (pair_.size() != 2) refuse_merge("has not two parts");
    add_merge(std::move(pair_[0]), std::move(pair_[1]));
    in_pair_ = false;
    return true;
  }

  bool key(string_t& name) override {
    key_ = std::move(name);
    if (part_ == Part::Vocabulary) return true;
    if (!keys_.back().insert(key_).second) {
      refuse("T1", "key \"", key_, "\" appears twice in one object");
    }
    if (open_.size() == 1) top_key_ = key_;
    return true;
  }

  bool parse_error(std::size_t byte, const std::string&, const Json::exception& error) override {
    error_byte = byte;
    syntax_error = error.what();
    return false;
  }

 private:
  enum class Part { None, Vocabulary, Merges };

  bool at_model_field(const char* name) const {
    return open_.size() == 2 && top_key_ == "model" && open_.back()->is_object() && key_ == name;
  }

  void value_only_in_document(const char* shown) const {
    if (part_ == Part::Vocabulary) {
      refuse("T5", "model.vocab: the id of \"", key_, "\" must be an integer, found ", shown);
    }
    if (part_ == Part::Merges) refuse_merge(concat("is or has ", shown).c_str());
  }

  bool value(Json given, const char* shown) {
    value_only_in_document(shown);
    place(std::move(given));
    return true;
  }

  bool token(std::uint64_t id) {
    if (id > INT32_MAX)
      refuse("T5", "model.vocab: \"", key_, "\" has the id ", id, "; at most 2^31 - 1");
    if (key_.size() > kTokenBytesLimit) {
      refuse("T4", "model.vocab: a token has ", key_.size(), " bytes; at most ", kTokenBytesLimit);
    }
    if (result.vocabulary.size() == kTokenLimit) {
      refuse("T4", "model.vocab has more than ", kTokenLimit, " tokens");
    }
    switch (result.vocabulary.add(key_, static_cast<std::int32_t>(id))) {
      case Vocabulary::Added::Yes:
        return true;
      case Vocabulary::Added::SameText:
        refuse("T6", "model.vocab: token \"", key_, "\" appears twice");
      case Vocabulary::Added::SameId:
        refuse("T6", "model.vocab: id ", id, " of \"", key_, "\" is another token's id too");
    }
    return false;
  }

  [[noreturn]] void refuse_merge(const char* why) const {
    refuse("T8", "model.merges: entry ", result.merges.size(), " ", why,
           "; a merge is \"left right\" or [\"left\", \"right\"]");
  }

  void merge_line(const std::string& line) {
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) refuse_merge("has one part");
    if (line.find(' ', space + 1) != std::string::npos) refuse_merge("has more than two parts");
    add_merge(line.substr(0, space), line.substr(space + 1));
  }

  void add_merge(std::string left, std::string right) {
    if (left.empty() || right.empty()) refuse_merge("has an empty part");
    result.merges.emplace_back(std::move(left), std::move(right));
  }

  Json* place(Json given) {
    if (open_.empty()) {
      result.document = std::move(given);
      return &result.document;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(given));
      return &parent.back();
    }
    auto& fields = parent.get_ref<Json::object_t&>();
    fields.push_back({key_, std::move(given)});
    return &fields.back().second;
  }

  bool open(Json given) {
    if (open_.size() == kDepthLimit) refuse("T1", "nested deeper than ", kDepthLimit);
    open_.push_back(place(std::move(given)));
    keys_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::vector<Json*>
      open_;  // a parent only grows after its last child is closed, so these stay valid
  std::vector<std::set<std::string>> keys_;
  std::string key_;
  std::string top_key_;
  Part part_ = Part::None;
  bool in_pair_ = false;
  std::vector<std::string> pair_;
};

[[noreturn]] void refuse_syntax(const Reader& reader, const std::string& source) {
  const std::string& why = reader.syntax_error;
  const bool encoding =
      why.find("UTF-8") != std::string::npos || why.find("surrogate") != std::string::npos;
  throw Error(ErrorKind::Malformed, encoding ? "T17" : "T1",
              concat(source, ": not JSON at byte ", reader.error_byte, ": ",
                     why.substr(0, why.find("; last read"))));
}

}  // namespace

TokenizerJson read_tokenizer_json(std::string_view text, const std::string& source) {
  if (text.size() > kFileLimit) {
    throw Error(ErrorKind::Malformed, "T1",
                concat(source, " has ", text.size(), " bytes; at most ", kFileLimit, " are read"));
  }
  if (text.starts_with("\xEF\xBB\xBF")) {
    throw Error(ErrorKind::Malformed, "T1", concat(source, " starts with a byte order mark"));
  }
  return with_context(concat("reading ", source), [&] {
    Reader reader;
    if (!Json::sax_parse(text, &reader)) refuse_syntax(reader, source);
    TokenizerJson& result = reader.result;
    if (!result.document.is_object()) refuse("T1", "must be an object");
    const std::int64_t count = static_cast<std::int64_t>(result.vocabulary.size());
    if (result.vocabulary.id_limit() - 1 > 2 * count + 65'536) {
      refuse("T7", "model.vocab: the largest id is ", result.vocabulary.id_limit() - 1,
             " but there are only ", count, " tokens");
    }
    result.vocabulary.index_by_id();
    return std::move(result);
  });
}

const Json& field(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

bool boolean_field(const Json& object, const char* name, bool absent) {
  const Json& value = field(object, name);
  if (value.is_null()) return absent;
  if (!value.is_boolean()) refuse("T1", "\"", name, "\" must be true or false");
  return value.get<bool>();
}

std::string text_field(const Json& object, const char* name) {
  const Json& value = field(object, name);
  if (!value.is_string()) refuse("T1", "\"", name, "\" must be there and be text");
  return value.get<std::string>();
}

std::string type_of(const Json& part, const char* role) {
  const Json& type = field(part, "type");
  if (!type.is_string()) refuse("T14", role, " has no \"type\"");
  return type.get<std::string>();
}

}  // namespace edgecompress::tokenizer_internal
