#include "pipeline/tokenizer_warnings.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/outside_link.h"
#include "tokenizer/genai_differences.h"
#include "tokenizer/sentencepiece_size.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kLargestTokenizer = std::uint64_t{256} << 20;

std::string with_ids(const Tokenizer& tokenizer, const GenaiDifference& difference) {
  std::string ids;
  for (const std::int32_t id : tokenizer.encode(difference.text, SpecialTokens::Leave)) {
    ids += concat(ids.empty() ? "" : " ", id);
  }
  // ASCII, so that spaces and marks that look like others can be told apart
  const std::string text = nlohmann::json(difference.text).dump(-1, ' ', true);
  return concat("; for example ", text, " is ", ids, " in tokenizer.json");
}

std::vector<std::string> differences_of(const std::string& json, const std::string& source) {
  const Tokenizer tokenizer = Tokenizer::parse(json, source);
  std::vector<std::string> warnings;
  for (const GenaiDifference& difference : genai_differences(json, source)) {
    warnings.push_back(
        concat("X6: onnxruntime-genai's own tokenizer gives other ids: ", difference.reason,
               difference.text.empty() ? "" : with_ids(tokenizer, difference)));
  }
  return warnings;
}

}  // namespace

std::vector<std::string> tokenizer_warnings(const ModelFolder& model, const Tokenizer& tokenizer) {
  std::vector<std::string> warnings;
  if (tokenizer.vocabulary_size() > model.config().vocab_size) {
    warnings.push_back(concat("T16: tokenizer.json has ids up to ", tokenizer.vocabulary_size() - 1,
                              ", the model's vocabulary ends at ", model.config().vocab_size - 1,
                              "; a text that gives such an id is refused"));
  }
  const std::filesystem::path pieces = model.path() / "tokenizer.model";
  if (!std::filesystem::is_regular_file(pieces)) return warnings;
  refuse_outside_link(model.path(), pieces);
  const std::optional<std::int64_t> size = sentencepiece_size(MappedFile(pieces).bytes());
  if (size && *size != tokenizer.base_vocabulary_size() && *size != tokenizer.vocabulary_size()) {
    warnings.push_back(concat("T18: tokenizer.model has ", *size, " pieces, tokenizer.json ",
                              tokenizer.base_vocabulary_size(),
                              " tokens; edgecompress uses tokenizer.json"));
  }
  return warnings;
}

std::vector<std::string> genai_tokenizer_warnings(const ModelFolder& model) {
  const std::filesystem::path path = model.path() / "tokenizer.json";
  if (!std::filesystem::exists(path)) return {};
  refuse_outside_link(model.path(), path);
  try {
    return differences_of(read_text_file(path, kLargestTokenizer), path.string());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Unsupported) throw;
    return {
        concat("X6: whether onnxruntime-genai's own tokenizer gives the ids of tokenizer.json is "
               "not known, because edgecompress does not read it: ",
               error.what())};
  }
}

}  // namespace edgecompress
