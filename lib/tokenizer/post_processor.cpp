#include "tokenizer/post_processor.h"

#include "tokenizer/tokenizer_json.h"

namespace edgecompress::tokenizer_internal {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::int32_t> special_ids(const Json& part, const std::string& name,
                                      std::int64_t id_limit) {
  const Json& ids = field(field(field(part, "special_tokens"), name.c_str()), "ids");
  if (!ids.is_array()) {
    refuse("T15", "post_processor TemplateProcessing: \"", name, "\" is not in its special_tokens");
  }
  std::vector<std::int32_t> result;
  for (const Json& id : ids) {
    if (!id.is_number_integer() || id < 0 || id >= id_limit) {
      refuse("T15", "post_processor TemplateProcessing: \"", name, "\" has the id ",
             id.dump(-1, ' ', true), "; the vocabulary's are below ", id_limit);
    }
    result.push_back(id.get<std::int32_t>());
  }
  return result;
}

}  // namespace

PostProcessor::PostProcessor(const Json& part, std::int64_t id_limit) {
  for_each_part(
      part, "post_processor", "processors", [&](const Json& step, const std::string& type) {
        if (type == "TemplateProcessing") {
          templates_.push_back(read_template(step, id_limit));
        } else if (type != "ByteLevel") {
          refuse_unsupported("T14", "post_processor ", type,
                             " is not supported; TemplateProcessing, ByteLevel and Sequence are");
        }
      });
}

PostProcessor::Template PostProcessor::read_template(const Json& part, std::int64_t id_limit) {
  const Json& single = field(part, "single");
  if (!single.is_array())
    refuse("T14", "post_processor TemplateProcessing: \"single\" must be a list");
  Template result;
  for (const Json& piece : single) {
    const Json& special = field(piece, "SpecialToken");
    const Json& sequence = field(piece, "Sequence");
    if (special.is_object()) {
      result.push_back({false, special_ids(part, text_field(special, "id"), id_limit)});
    } else if (field(sequence, "id") == "A") {
      result.push_back({true, {}});
    } else {
      refuse("T14", "post_processor TemplateProcessing: \"single\" holds ",
             piece.dump(-1, ' ', true), "; expected a SpecialToken or the Sequence A");
    }
  }
  return result;
}

std::vector<std::int32_t> PostProcessor::apply(std::vector<std::int32_t> ids,
                                               bool with_special) const {
  for (const Template& pieces : templates_) {
    std::vector<std::int32_t> next;
    next.reserve(ids.size() + pieces.size());
    for (const Piece& piece : pieces) {
      if (piece.is_text) {
        next.insert(next.end(), ids.begin(), ids.end());
      } else if (with_special) {
        next.insert(next.end(), piece.special.begin(), piece.special.end());
      }
    }
    ids = std::move(next);
  }
  return ids;
}

}  // namespace edgecompress::tokenizer_internal
