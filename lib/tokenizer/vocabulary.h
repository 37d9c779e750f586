#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace edgecompress::tokenizer_internal {

/// The model's tokens, by text and by id. Ids may have gaps.
class Vocabulary {
 public:
  enum class Added { Yes, SameText, SameId };

  /// 0 <= id. Nothing changes unless it returns Yes.
  Added add(std::string text, std::int32_t id);

  /// Returns the token's id, or -1.
  std::int32_t find(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? -1 : found->second;
  }

  /// Returns the token's text, or nullptr.
  const std::string* text(std::int32_t id) const {
    const auto index = static_cast<std::size_t>(id);
    return id < 0 || index >= by_id_.size() ? nullptr : by_id_[index];
  }

  std::size_t size() const { return texts_.size(); }
  std::int64_t id_limit() const { return max_id_ + 1; }
  std::size_t longest_bytes() const { return longest_; }

  /// Makes text() work; call once after the last add(), when the ids are known to be dense enough
  /// for a table.
  void index_by_id();

 private:
  std::deque<std::string> texts_;  // never moves: ids_ points into it
  std::unordered_map<std::string_view, std::int32_t> ids_;
  std::unordered_map<std::int32_t, const std::string*> seen_;
  std::vector<const std::string*> by_id_;
  std::int64_t max_id_ = -1;
  std::size_t longest_ = 0;
};

}  // namespace edgecompress::tokenizer_internal
