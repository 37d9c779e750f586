#include "training/window_loss.h"

#include <vector>

#include "support/catch.h"
#include "tensor/aten.h"
#include "training/training_windows.h"

namespace edgecompress {
namespace {

const std::vector<std::int32_t> kIds{3, 0, 6, 2, 6};

TEST_CASE("cross entropy and its gradient are those of the next tokens", "[training]") {
  at::manual_seed(3);
  const at::Tensor logits = at::randn({5, 7});
  const WindowLoss loss(TrainingLoss::CrossEntropy, logits, kIds, {});
  const at::Tensor p = at::softmax(logits.to(at::kDouble), -1);
  double expected = 0;
  at::Tensor gradient = p.clone();
  for (std::int64_t i = 0; i < 4; ++i) {
    const std::int64_t target = kIds[static_cast<std::size_t>(i) + 1];
    expected -= std::log(p[i][target].item<double>());
    gradient[i][target] -= 1;
  }
  gradient[4].zero_();  // the last position predicts nothing
  CHECK(std::abs(loss.sum() - expected) < 1e-5);
  CHECK((loss.gradient() - gradient).abs().max().item<double>() < 1e-6);
}

TEST_CASE("the divergence and its gradient are those from the teacher", "[training]") {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({5, 7});
  const at::Tensor teacher = at::randn({5, 7});
  const WindowLoss loss(TrainingLoss::Divergence, logits, kIds, teacher);
  const at::Tensor p = at::softmax(logits.to(at::kDouble), -1).narrow(0, 0, 4);
  const at::Tensor t = at::softmax(teacher.to(at::kDouble), -1).narrow(0, 0, 4);
  CHECK(std::abs(loss.sum() - (t * (t.log() - p.log())).sum().item<double>()) < 1e-5);
  const at::Tensor gradient = loss.gradient();
  CHECK((gradient.narrow(0, 0, 4) - (p - t)).abs().max().item<double>() < 1e-6);
  CHECK(gradient[4].eq(0).all().item<bool>());
  const WindowLoss none(TrainingLoss::Divergence, teacher, kIds, teacher);
  CHECK(std::abs(none.sum()) < 1e-6);
}

TEST_CASE("held-out windows are spread, never trained on, and every window is one or the other",
          "[training]") {
  for (const auto& [count, share, held_out] :
       {std::tuple{2, 0.1, 1}, {10, 0.1, 1}, {44, 0.1, 4}, {7, 0.9, 3}, {2000, 0.1, 64}}) {
    CAPTURE(count, share);
    const TrainingSplit split = split_windows(count, share);
    CHECK(split.held_out.size() == static_cast<std::size_t>(held_out));
    std::vector<std::int64_t> all = split.held_out;
    all.insert(all.end(), split.training.begin(), split.training.end());
    std::sort(all.begin(), all.end());
    for (std::int64_t i = 0; i < count; ++i) CHECK(all.at(static_cast<std::size_t>(i)) == i);
    CHECK(all.size() == static_cast<std::size_t>(count));
  }
  CHECK((split_windows(44, 0.1).held_out == std::vector<std::int64_t>{5, 16, 27, 38}));
  CHECK_THROWS_WITH(split_windows(1, 0.1), Catch::Contains("one to train on"));
}

TEST_CASE("an epoch's order is a permutation that seed and epoch decide", "[training]") {
  std::vector<std::int64_t> windows(50);
  for (std::size_t i = 0; i < windows.size(); ++i) windows[i] = static_cast<std::int64_t>(3 * i);
  const std::vector<std::int64_t> order = shuffled(windows, 7, 0);
  CHECK(order == shuffled(windows, 7, 0));
  CHECK(order != windows);
  CHECK(order != shuffled(windows, 7, 1));
  CHECK(order != shuffled(windows, 8, 0));
  std::vector<std::int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted == windows);
}

}  // namespace
}  // namespace edgecompress
