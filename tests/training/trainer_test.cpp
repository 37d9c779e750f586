#include "training/trainer.h"

#include <limits>

#include "base/error.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

const TrainingSplit kSplit{.training = {0, 1, 2, 4, 5, 6}, .held_out = {3, 7}};
const TrainingOptions kOptions{.epochs = 5, .batch = 2, .learning_rate = 0.1};

/// Minimizes (x - wanted)^2 in training; on held-out windows (x - right)^2.
struct Parabola {
  at::Tensor x = at::tensor({4.0F}).requires_grad_();
  double wanted = 1;
  double right = 1;
  std::vector<std::int64_t> seen = {};
  std::int64_t bad_step = -1;  // its loss is NaN
  std::int64_t steps = 0;
  std::int64_t settled = 0;

  TrainingObjective objective() {
    return {.loss =
                [this](WindowIndices) {
                  const double x_now = x.item<double>();
                  return (x_now - right) * (x_now - right);
                },
            .add_gradients =
                [this](WindowIndices windows) {
                  seen.insert(seen.end(), windows.begin(), windows.end());
                  const double difference = x.item<double>() - wanted;
                  x.mutable_grad() = at::full({1}, 2 * difference);
                  const bool bad = steps++ == bad_step;
                  return bad ? std::numeric_limits<double>::quiet_NaN() : difference * difference;
                },
            .settle = [this] { ++settled; }};
  }
};

TrainingReport trained(Parabola& parabola, const TrainingOptions& options,
                       const TrainingControl& control = {}) {
  return train({{parabola.x, options.learning_rate}}, parabola.objective(), kSplit, 100, options,
               control);
}

TEST_CASE("every epoch sees every training window once and no held-out one", "[training]") {
  Parabola parabola;
  const TrainingReport report = trained(parabola, kOptions);
  CHECK(report.outcome.steps_planned == 15);
  CHECK(report.outcome.steps_done == 15);
  CHECK(parabola.settled == 15);
  REQUIRE(parabola.seen.size() == 30);
  for (std::size_t epoch = 0; epoch < 5; ++epoch) {
    const auto begin = parabola.seen.begin() + static_cast<std::ptrdiff_t>(6 * epoch);
    std::vector<std::int64_t> windows(begin, begin + 6);
    std::sort(windows.begin(), windows.end());
    CHECK(windows == kSplit.training);
  }
  CHECK(report.curve.back().tokens == 3000);
}

TEST_CASE("training lowers the held-out loss and says by how much", "[training]") {
  Parabola parabola;
  const TrainingReport report = trained(parabola, kOptions);
  CHECK(report.outcome.held_out_loss_before == 9);
  CHECK(report.outcome.held_out_loss_after < 6);
  CHECK(report.outcome.kept_step == 15);
  CHECK(report.curve.front().step == 0);
  CHECK_FALSE(report.curve.front().loss.has_value());
  CHECK(report.curve.back().held_out_loss == report.outcome.held_out_loss_after);
  CHECK(report.warnings.empty());
}

TEST_CASE("a training goes on from each state that was kept as if it had not been interrupted",
          "[training]") {
  // one step is left out, so that the optimizer's count of steps is not the training's
  const auto make = [] { return Parabola{.wanted = 1, .right = 2.5, .bad_step = 4}; };
  Parabola whole = make();
  std::vector<TrainingState> states;
  TrainingControl control;
  control.keep_state = [&](const TrainingState& state) {
    states.push_back(state);
    for (TrainingState::Tensors& tensors : states.back().parameters) {
      tensors = {tensors.value.clone(),
                 {tensors.moments.mean.clone(), tensors.moments.square.clone()},
                 tensors.best.clone()};
    }
  };
  const TrainingReport expected = trained(whole, kOptions, control);
  REQUIRE(states.size() >= 4);
  for (const TrainingState& state : states) {
    CAPTURE(state.report.outcome.steps_done);
    Parabola rest = make();
    rest.steps = state.report.outcome.steps_done;
    TrainingControl resumed;
    resumed.start = &state;
    const TrainingReport report = trained(rest, kOptions, resumed);
    CHECK(rest.x.equal(whole.x));
    CHECK(report.outcome.steps_done == expected.outcome.steps_done);
    CHECK(report.outcome.kept_step == expected.outcome.kept_step);
    CHECK(report.warnings == expected.warnings);
    REQUIRE(report.curve.size() == expected.curve.size());
    CHECK(report.curve.back().held_out_loss == expected.curve.back().held_out_loss);
    CHECK(report.curve.back().loss == expected.curve.back().loss);
    CHECK(report.curve.back().tokens == expected.curve.back().tokens);
    const auto seen = static_cast<std::ptrdiff_t>(2 * state.report.outcome.steps_done);
    CHECK(rest.seen == std::vector(whole.seen.begin() + seen, whole.seen.end()));
  }
}

TEST_CASE("when held-out windows say it is worse, nothing changes and the report says why",
          "[training]") {
  Parabola parabola{.right = 4.5};  // training moves away from it
  const TrainingReport report = trained(parabola, kOptions);
  CHECK(parabola.x.item<float>() == 4.0F);
  CHECK(report.outcome.kept_step == 0);
  CHECK(report.outcome.held_out_loss_after == report.outcome.held_out_loss_before);
  CHECK(report.outcome.steps_done < report.outcome.steps_planned);  // it did not go on for nothing
  REQUIRE(report.warnings.size() == 1);
  CHECK(report.warnings[0].find("nothing was changed") != std::string::npos);
}

TEST_CASE("a held-out loss that rises at first does not end training", "[training]") {
  Parabola parabola;
  TrainingObjective objective = parabola.objective();
  objective.loss = [&](WindowIndices) {  // highest at 3.7; x goes from 4 to about 3.25
    const double x = parabola.x.item<double>();
    return 1 - (x - 3.7) * (x - 3.7);
  };
  const TrainingReport report = train({{parabola.x, 0.1}}, objective, kSplit, 100, kOptions, {});
  std::int64_t higher = 0;
  for (const TrainingPoint& point : report.curve) {
    higher += point.step > 0 && point.held_out_loss > report.outcome.held_out_loss_before ? 1 : 0;
  }
  CHECK(higher >= 3);
  CHECK(report.outcome.steps_done == report.outcome.steps_planned);
  CHECK(report.outcome.kept_step == report.outcome.steps_planned);
  CHECK(report.outcome.held_out_loss_after < report.outcome.held_out_loss_before);
}

TEST_CASE("the best state on the way is kept", "[training]") {
  Parabola parabola{.right = 3.6};
  const TrainingReport report = trained(parabola, kOptions);
  CHECK(report.outcome.kept_step > 0);
  CHECK(report.outcome.kept_step < report.curve.back().step);
  CHECK(std::abs(parabola.x.item<double>() - 3.6) < 0.15);  // two steps of at most 0.1 between
  REQUIRE(report.warnings.size() == 1);
  CHECK(report.warnings[0].find("too short") != std::string::npos);
}

TEST_CASE("a step that is not finite is left out once, and the second ends training by name",
          "[training]") {
  Parabola once{.bad_step = 2};
  const TrainingReport report = trained(once, kOptions);
  CHECK(once.settled == 14);
  REQUIRE(report.warnings.size() == 1);
  CHECK(report.warnings[0].find("step 3") != std::string::npos);
  CHECK(report.curve.back().learning_rate_share < 0.5);

  Parabola twice{.bad_step = 2};
  const TrainingObjective objective = twice.objective();
  TrainingObjective always = objective;
  always.add_gradients = [&](WindowIndices windows) {
    twice.bad_step = twice.steps;
    return objective.add_gradients(windows);
  };
  try {
    train({{twice.x, 0.1}}, always, kSplit, 100, kOptions, {});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == "T-FINITE");
    CHECK(error.kind() == ErrorKind::Numeric);
  }
}

TEST_CASE("a stop keeps the best state until then", "[training]") {
  Parabola parabola;
  const TrainingControl control{.progress = {},
                                .stop_requested = [&] { return parabola.settled == 4; }};
  const TrainingReport report = trained(parabola, kOptions, control);
  CHECK(report.outcome.steps_done == 4);
  CHECK(report.outcome.kept_step == 4);
  CHECK(parabola.x.item<double>() < 3.8);
  REQUIRE(report.warnings.size() == 1);
  CHECK(report.warnings[0].find("stopped after step 4 of 15") != std::string::npos);
}

TEST_CASE("a gradient longer than the limit is shortened for all parameters alike", "[training]") {
  // Adam divides the length away, except for its epsilon: a tiny limit shows in the step's size.
  Parabola free;
  Parabola limited;
  TrainingOptions options = kOptions;
  options.epochs = 1;
  trained(free, options);
  options.max_gradient_norm = 1e-8;
  trained(limited, options);
  CHECK(4 - free.x.item<double>() > 1.5 * (4 - limited.x.item<double>()));
  CHECK(limited.x.item<double>() < 4);
}

}  // namespace
}  // namespace edgecompress
