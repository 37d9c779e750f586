#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/mapped_file.h"
#include "base/outside_link.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/text_decoder.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace edgecompress {

namespace internal = tokenizer_internal;

namespace {

// The normalizer and the byte-level form can triple a text, and positions are 32-bit.
constexpr std::size_t kTextLimit = std::size_t{512} << 20;

void check_version(const nlohmann::ordered_json& document) {
  const nlohmann::ordered_json& version = internal::field(document, "version");
  if (version == "1.0") return;
  internal::refuse("T2", "\"version\" must be \"1.0\", found ", version.dump(-1, ' ', true));
}

std::int64_t limit_of_ids(const internal::Vocabulary& vocabulary,
                          const std::vector<internal::AddedToken>& added) {
  std::int64_t limit = vocabulary.id_limit();
  for (const internal::AddedToken& token : added)
    limit = std::max<std::int64_t>(limit, token.id + 1);
  return limit;
}

}  // namespace

struct Tokenizer::State {
  explicit State(internal::TokenizerJson file)
      : bpe(file),
        added(internal::read_added_tokens(internal::field(file.document, "added_tokens"),
                                          bpe.vocabulary())),
        id_limit(limit_of_ids(bpe.vocabulary(), added)),
        normalizer(internal::field(file.document, "normalizer")),
        pre_tokenizer(internal::field(file.document, "pre_tokenizer")),
        post_processor(internal::field(file.document, "post_processor"), id_limit),
        decoder(internal::field(file.document, "decoder")),
        as_written(added, false, normalizer),
        normalized(added, true, normalizer) {
    for (const internal::AddedToken& token : added) {
      // Hugging Face's tokenizers from 0.23 on decode a normalized token to its normalized form.
      added_by_id.emplace(token.id,
                          token.normalized ? normalizer.apply(token.content) : token.content);
      if (token.special) special_ids.insert(token.id);
    }
  }

  void encode(std::string_view text, std::vector<std::int32_t>& ids) const;
  const std::string* text_of(std::int32_t id) const;

  internal::Bpe bpe;
  std::vector<internal::AddedToken> added;
  std::int64_t id_limit;
  internal::Normalizer normalizer;
  internal::PreTokenizer pre_tokenizer;
  internal::PostProcessor post_processor;
  internal::TextDecoder decoder;
  internal::AddedTokenMatcher as_written;  // added tokens looked for in the text as it is
  internal::AddedTokenMatcher normalized;  // and in what the normalizer made of it
  std::unordered_map<std::int32_t, std::string> added_by_id;  // as decoding sees them
  std::unordered_set<std::int32_t> special_ids;
};

void Tokenizer::State::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  internal::Bpe::Scratch scratch;
  const internal::PreTokenizer::Sink sink = [&](std::string_view word) {
    bpe.encode(word, scratch, ids);
  };
  for (const internal::AddedTokenSpan& raw : as_written.split(text)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
      continue;
    }
    const bool at_start = raw.text.data() == text.data();
    const std::string piece = normalizer.apply(raw.text);
    for (const internal::AddedTokenSpan& span : normalized.split(piece)) {
      if (span.id >= 0) {
        ids.push_back(span.id);
      } else {
        pre_tokenizer.apply(span.text, at_start && span.text.data() == piece.data(), sink);
      }
    }
  }
}

const std::string* Tokenizer::State::text_of(std::int32_t id) const {
  const auto found = added_by_id.find(id);
  return found != added_by_id.end() ? &found->second : bpe.vocabulary().text(id);
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::open(const std::filesystem::path& folder) {
  refuse_outside_link(folder, folder / "tokenizer.json");
  const MappedFile file(folder / "tokenizer.json");
  const std::span<const std::byte> bytes = file.bytes();
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.path().string());
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& source) {
  internal::TokenizerJson file = internal::read_tokenizer_json(json, source);
  return with_context(concat("reading ", source), [&] {
    check_version(file.document);
    return Tokenizer(std::make_unique<State>(std::move(file)));
  });
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  if (text.size() > kTextLimit) {
    throw Error(ErrorKind::Unsupported, "T17",
                concat("a text of ", text.size(), " bytes cannot be encoded at once; at most ",
                       kTextLimit));
  }
  if (const std::optional<std::size_t> bad = internal::find_malformed_utf8(text)) {
    throw Error(ErrorKind::Malformed, "T17", concat("the text is not UTF-8 at byte ", *bad));
  }
  std::vector<std::int32_t> ids;
  state_->encode(text, ids);
  return state_->post_processor.apply(std::move(ids), special == SpecialTokens::Add);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) {
    const std::string* text = state_->text_of(id);
    if (text == nullptr) {
      throw Error(ErrorKind::Malformed, "T5",
                  concat("token id ", id, " is not in the vocabulary, whose ids are below ",
                         state_->id_limit));
    }
    tokens.push_back(*text);
  }
  return state_->decoder.decode(std::move(tokens));
}

std::vector<std::int32_t> Tokenizer::without_special(std::span<const std::int32_t> ids) const {
  std::vector<std::int32_t> kept;
  for (const std::int32_t id : ids) {
    if (!state_->special_ids.contains(id)) kept.push_back(id);
  }
  return kept;
}

std::int64_t Tokenizer::vocabulary_size() const { return state_->id_limit; }

std::int64_t Tokenizer::base_vocabulary_size() const {
  return static_cast<std::int64_t>(state_->bpe.vocabulary().size());
}

}  // namespace edgecompress
