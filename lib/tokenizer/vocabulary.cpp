#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <utility>

namespace edgecompress::tokenizer_internal {

Vocabulary::Added Vocabulary::add(std::string text, std::int32_t id) {
  if (ids_.contains(text)) return Added::SameText;
  if (seen_.contains(id)) return Added::SameId;
  texts_.push_back(std::move(text));
  const std::string& kept = texts_.back();
  ids_.emplace(kept, id);
  seen_.emplace(id, &kept);
  max_id_ = std::max<std::int64_t>(max_id_, id);
  longest_ = std::max(longest_, kept.size());
  return Added::Yes;
}

void Vocabulary::index_by_id() {
  by_id_.assign(static_cast<std::size_t>(id_limit()), nullptr);
  for (const auto& [id, text] : seen_) by_id_[static_cast<std::size_t>(id)] = text;
  seen_ = {};
}

}  // namespace edgecompress::tokenizer_internal
