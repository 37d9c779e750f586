#include "evaluate/token_scores.h"

#include <cmath>
#include <vector>

#include "base/error.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
void ScoreSum::add_window(const at::Tensor& logits, std::span<const std::int32_t> ids,
                          const at::Tensor& reference_logits) {
  const auto predictions = static_cast<std::int64_t>(ids.size()) - 1;
  const std::vector<std::int64_t> targets(ids.begin() + 1, ids.end());
  const at::Tensor log_p =
      at::log_softmax(logits.narrow(0, 0, predictions), -1);  // [predictions, vocab_size]
  const at::Tensor target_ids = at::tensor(targets, at::kLong).unsqueeze(1);
  const at::Tensor target_log_p = log_p.gather(1, target_ids);  // [predictions, 1]
  const double window_sum = -ordered_sum(target_log_p);
  if (!std::isfinite(window_sum)) {
    throw Error(ErrorKind::Numeric, "F20", "the model's logits are not finite");
  }
  negative_log_likelihood_ += window_sum;
  targets_ += predictions;
  ++windows_;
  if (!reference_logits.defined()) return;

  compared_ = true;
  const at::Tensor predicting = reference_logits.narrow(0, 0, predictions);
  const at::Tensor reference = at::log_softmax(predicting, -1);
  reference_log_likelihood_ += ordered_sum(reference.gather(1, target_ids));
  // softmax and not exp: it works row by row, so its rounding does not depend on the threads
  kl_divergence_ += ordered_sum((at::softmax(predicting, -1) * (reference - log_p)).sum(-1));
  agreements_ += log_p.argmax(-1).eq(reference.argmax(-1)).sum().item<std::int64_t>();
}

LanguageModelScores ScoreSum::scores() const {
  ensure(targets_ > 0, "at least one scored window");
  const auto targets = static_cast<double>(targets_);
  LanguageModelScores result{.perplexity = std::exp(negative_log_likelihood_ / targets),
                             .windows = windows_,
                             .target_tokens = targets_,
                             .kl_divergence_nats = {},
                             .top1_agreement = {}};
  if (compared_) {
    result.reference_perplexity = std::exp(-reference_log_likelihood_ / targets);
    result.kl_divergence_nats = kl_divergence_ / targets;
    result.top1_agreement = static_cast<double>(agreements_) / targets;
  }
  return result;
}

}  // namespace edgecompress
