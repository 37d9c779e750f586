#include "training/window_loss.h"

#include <vector>

#include "base/error.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {

WindowLoss::WindowLoss(TrainingLoss loss, const at::Tensor& logits,
                       std::span<const std::int32_t> ids, const at::Tensor& teacher_logits) {
  const auto predictions = static_cast<std::int64_t>(ids.size()) - 1;
  const std::vector<std::int64_t> targets(ids.begin() + 1, ids.end());
  log_p_ = at::log_softmax(logits.narrow(0, 0, predictions), -1);
  targets_ = at::tensor(targets, at::kLong).to(logits.device()).unsqueeze(1);
  if (loss == TrainingLoss::CrossEntropy) return;
  ensure(teacher_logits.defined() && teacher_logits.sizes() == logits.sizes(),
         "the teacher's logits beside the model's");
  teacher_logits_ = teacher_logits.narrow(0, 0, predictions).to(logits.device());
}

double WindowLoss::sum() const {
  if (!teacher_logits_.defined()) return -ordered_sum(log_p_.gather(1, targets_).cpu());
  const at::Tensor log_t = at::log_softmax(teacher_logits_, -1);
  const at::Tensor terms = at::softmax(teacher_logits_, -1) * (log_t - log_p_);
  return ordered_sum(terms.sum(-1).cpu());
}

at::Tensor WindowLoss::gradient() const {
  // softmax of log p is p; unlike exp it works row by row, so its rounding does not depend on the
  // threads
  at::Tensor gradient = at::softmax(log_p_, -1);
  if (teacher_logits_.defined()) {
    gradient.sub_(at::softmax(teacher_logits_, -1));
  } else {
    gradient.scatter_add_(1, targets_, at::full_like(targets_, -1, gradient.options()));
  }
  return at::constant_pad_nd(gradient, {0, 0, 0, 1});
}

}  // namespace edgecompress
