#include "evaluate/token_scores.h"

#include <cmath>

#include "base/error.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

TEST_CASE("a model that knows nothing has the vocabulary's size as perplexity", "[evaluate]") {
  ScoreSum sum;
  sum.add_window(at::zeros({4, 50}), std::vector<std::int32_t>{3, 17, 49, 0}, {});
  const LanguageModelScores scores = sum.scores();
  CHECK(std::abs(scores.perplexity - 50) < 1e-4);
  CHECK(scores.target_tokens == 3);
  CHECK_FALSE(scores.kl_divergence_nats.has_value());
}

TEST_CASE("the position before a token predicts it, and the last one predicts nothing",
          "[evaluate]") {
  at::Tensor logits = at::zeros({3, 4});
  logits[0][2] = 2.0;   // predicts token 1 of the window
  logits[1][1] = 3.0;   // predicts token 2
  logits[2][0] = 50.0;  // has no target
  ScoreSum sum;
  sum.add_window(logits, std::vector<std::int32_t>{0, 2, 1}, {});
  const double first = 2 - std::log(std::exp(2) + 3);
  const double second = 3 - std::log(std::exp(3) + 3);
  CHECK(std::abs(sum.scores().perplexity - std::exp(-(first + second) / 2)) < 1e-6);
}

TEST_CASE("divergence and agreement are against the reference, over predicting positions",
          "[evaluate]") {
  at::manual_seed(1);
  const at::Tensor reference = at::randn({3, 5});
  at::Tensor model = reference.clone();
  const std::vector<std::int32_t> ids{0, 1, 2};
  ScoreSum same;
  same.add_window(model, ids, reference);
  CHECK(std::abs(same.scores().kl_divergence_nats.value()) < 1e-7);
  CHECK(same.scores().top1_agreement.value() == 1.0);

  model[0] = -reference[0];  // turns the order round at one of two predicting positions
  model[2] = -reference[2];  // not a predicting position
  ScoreSum other;
  other.add_window(model, ids, reference);
  const at::Tensor p = at::softmax(reference[0], 0);
  const double expected =
      (p * (at::log_softmax(reference[0], 0) - at::log_softmax(model[0], 0))).sum().item<double>() /
      2;
  CHECK(std::abs(other.scores().kl_divergence_nats.value() - expected) < 1e-6);
  CHECK(other.scores().top1_agreement.value() == 0.5);
}

TEST_CASE("logits that are not finite are refused", "[evaluate]") {
  at::Tensor logits = at::zeros({2, 4});
  logits[0][1] = std::numeric_limits<float>::quiet_NaN();
  ScoreSum sum;
  CHECK_THROWS_AS(sum.add_window(logits, std::vector<std::int32_t>{0, 1}, {}), Error);
}

}  // namespace
}  // namespace edgecompress
