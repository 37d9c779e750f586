#include "pipeline/layer_removal.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

class BlockRemoval {
 public:
  BlockRemoval(const ModelFolder& model, const TokenWindows& text, std::int64_t count,
               const EvaluationOptions& compute, const Progress& progress)
      : model_(model),
        text_(text),
        compute_(compute),
        progress_(progress),
        rotary_(make_rotary_table(model.config(), text.length, compute.target.device)),
        head_(load_head(model, compute.num_threads)),
        left_(static_cast<std::size_t>(model.config().num_blocks())) {
    std::iota(left_.begin(), left_.end(), 0);
    const std::int64_t blocks = model.config().num_blocks();
    for (std::int64_t i = 0; i < count; ++i) work_ += blocks - i;
  }

  void remove_best() {
    std::vector<double> perplexities;
    HiddenStates before(text_, model_.matrix(kEmbeddingModule), compute_.storage);
    for (std::size_t at = 0; at < left_.size(); ++at) {
      perplexities.push_back(perplexity_without(at, before));
      pass(before, left_[at]);
      if (progress_) progress_({"remove", ++done_, work_});
    }
    // Of equals the later block goes: early ones feed all others.
    const auto best = std::min_element(perplexities.rbegin(), perplexities.rend());
    left_.erase(left_.begin() + (perplexities.rend() - best - 1));
  }

  const std::vector<std::int64_t>& left() const { return left_; }

 private:
  void pass(HiddenStates& states, std::int64_t index) const {
    const BlockWeights block = load_block(model_, index, compute_.num_threads);
    advance(states, to_target(block, compute_.target), rotary_, compute_.target);
  }

  /// before: the states at the block's input, left as they are.
  double perplexity_without(std::size_t at, HiddenStates& before) const {
    HiddenStates states(before, before.hidden_size(), compute_.storage);
    for_each_piece(before, at::kCPU,
                   [&](std::int64_t begin, std::int64_t end, const at::Tensor& hidden) {
                     states.windows(begin, end).copy_(hidden);
                     states.release(begin, end);
                   });
    for (std::size_t next = at + 1; next < left_.size(); ++next) pass(states, left_[next]);
    ScoreSum sum;
    for (std::int64_t window = 0; window < text_.count; ++window) {
      const std::int64_t tokens = states.tokens_of(window);
      const at::Tensor hidden = states.windows(window, window + 1)[0].slice(0, 0, tokens);
      sum.add_window(head_logits(head_, hidden),
                     text_.window(window).first(static_cast<std::size_t>(tokens)), {});
    }
    return sum.scores().perplexity;
  }

  const ModelFolder& model_;
  const TokenWindows& text_;
  const EvaluationOptions& compute_;
  const Progress& progress_;
  const RotaryTable rotary_;
  const LanguageModelHead head_;
  std::vector<std::int64_t> left_;
  std::int64_t done_ = 0;
  std::int64_t work_ = 0;
};

}  // namespace

std::vector<std::int64_t> blocks_to_remove(const ModelFolder& model, const TokenWindows& text,
                                           std::int64_t count, const EvaluationOptions& compute,
                                           const Progress& progress) {
  const std::int64_t blocks = model.config().num_blocks();
  ensure(count >= 0 && count < blocks, "fewer blocks to remove than there are");
  BlockRemoval removal(model, text, count, compute, progress);
  for (std::int64_t i = 0; i < count; ++i) removal.remove_best();
  std::vector<std::int64_t> removed;
  for (std::int64_t block = 0; block < blocks; ++block) {
    if (!std::binary_search(removal.left().begin(), removal.left().end(), block)) {
      removed.push_back(block);
    }
  }
  return removed;
}

}  // namespace edgecompress
