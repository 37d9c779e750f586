#include "training/trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMeasurements = 10;  // of the held-out loss, when no epoch is shorter
constexpr std::int64_t kPatience = 3;       // measurements in a row, each higher than the last
constexpr double kOverfit = 1.005;          // of the lowest held-out loss: worth a warning

std::string shown(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.5g", value);
  return text.data();
}

class Trainer {
 public:
  Trainer(const std::vector<Parameter>& parameters, const TrainingObjective& objective,
          const TrainingSplit& split, std::int64_t window_tokens, const TrainingOptions& options,
          const TrainingControl& control)
      : objective_(objective),
        split_(split),
        window_tokens_(window_tokens),
        options_(options),
        control_(control),
        optimizer_(parameters) {
    report_.training_windows = static_cast<std::int64_t>(split.training.size());
    report_.held_out_windows = static_cast<std::int64_t>(split.held_out.size());
    report_.outcome.steps_planned = options.epochs * steps_per_epoch();
    for (const Parameter& parameter : parameters) {
      report_.outcome.trained_parameters += parameter.value.numel();
    }
  }

  TrainingReport run() {
    if (control_.start != nullptr) {
      go_on(*control_.start);
    } else {
      measure();
    }
    const std::int64_t interval = std::max<std::int64_t>(
        1, (report_.outcome.steps_planned + kMeasurements - 1) / kMeasurements);
    while (report_.outcome.steps_done < report_.outcome.steps_planned) {
      if (control_.stop_requested && control_.stop_requested()) {
        warn(concat("training was stopped after step ", report_.outcome.steps_done, " of ",
                    report_.outcome.steps_planned, "; the best state until then is kept"));
        break;
      }
      step();
      if (report_.outcome.steps_done % interval == 0) measure();
      show_progress();
      if (keeps_rising()) break;
      if (report_.outcome.steps_done % interval == 0 && control_.keep_state)
        control_.keep_state(state());
    }
    if (report_.curve.back().step != report_.outcome.steps_done) measure();
    finish();
    return std::move(report_);
  }

 private:
  using Clock = std::chrono::steady_clock;

  std::int64_t steps_per_epoch() const {
    const auto windows = static_cast<std::int64_t>(split_.training.size());
    return (windows + options_.batch - 1) / options_.batch;
  }

  TrainingState state() const {
    TrainingState state{.report = report_,
                        .rate_share = rate_share_,
                        .optimizer_steps = optimizer_.steps(),
                        .rises = rises_,
                        .parameters = {}};
    for (std::size_t i = 0; i < best_.size(); ++i) {
      state.parameters.push_back({.value = optimizer_.parameters()[i].value.detach(),
                                  .moments = optimizer_.moments()[i],
                                  .best = best_[i]});
    }
    return state;
  }

  void go_on(const TrainingState& state) {
    const at::NoGradGuard no_grad;
    const std::vector<Parameter>& parameters = optimizer_.parameters();
    ensure(state.parameters.size() == parameters.size(), "the state of every trained parameter");
    std::vector<AdamW::Moments> moments;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const TrainingState::Tensors& kept = state.parameters[i];
      parameters[i].value.copy_(kept.value);
      const at::Device device = parameters[i].value.device();
      moments.push_back({kept.moments.mean.to(device), kept.moments.square.to(device)});
      best_.push_back(kept.best.to(device));
    }
    optimizer_.resume(state.optimizer_steps, std::move(moments));
    report_ = state.report;
    rate_share_ = state.rate_share;
    rises_ = state.rises;
    tokens_ = report_.curve.back().tokens;
    resumed_tokens_ = tokens_;
  }

  void warn(std::string text) { report_.warnings.push_back(std::move(text)); }

  WindowIndices next_batch() {
    const std::int64_t in_epoch = report_.outcome.steps_done % steps_per_epoch();
    if (in_epoch == 0 || order_.empty()) {
      order_ =
          shuffled(split_.training, options_.seed, report_.outcome.steps_done / steps_per_epoch());
    }
    const auto begin = static_cast<std::size_t>(in_epoch * options_.batch);
    const auto count = std::min(static_cast<std::size_t>(options_.batch), order_.size() - begin);
    return WindowIndices(order_).subspan(begin, count);
  }

  void step() {
    const WindowIndices batch = next_batch();
    const double loss = objective_.add_gradients(batch);
    const double norm = gradient_norm(optimizer_.parameters());
    const double schedule = cosine_share(report_.outcome.steps_done, report_.outcome.steps_planned);
    ++report_.outcome.steps_done;
    tokens_ += static_cast<std::int64_t>(batch.size()) * window_tokens_;
    if (!std::isfinite(loss) || !std::isfinite(norm)) {
      leave_out_step(loss, norm);
      return;
    }
    const double share = norm > options_.max_gradient_norm ? options_.max_gradient_norm / norm : 1;
    optimizer_.step(rate_share_ * schedule, share);
    objective_.settle();
    losses_ += loss;
    ++num_losses_;
  }

  void leave_out_step(double loss, double norm) {
    const std::string what = concat("step ", report_.outcome.steps_done, ": loss ", loss,
                                    ", length of the gradient ", norm);
    if (rate_share_ < 1) {
      throw Error(ErrorKind::Numeric, "T-FINITE",
                  concat("training diverges at ", what,
                         ", although the learning rate was halved before; give a smaller one, and "
                         "check the model with `edgecompress eval`"));
    }
    rate_share_ = 0.5;
    optimizer_.forget_gradients();
    warn(concat(what, ": not finite; the step was left out and the learning rate halved"));
  }

  void measure() {
    const double held_out = objective_.loss(split_.held_out);
    TrainingPoint point{
        .step = report_.outcome.steps_done,
        .tokens = tokens_,
        .learning_rate_share =
            rate_share_ * cosine_share(report_.outcome.steps_done, report_.outcome.steps_planned),
        .loss = {},
        .held_out_loss = held_out};
    if (num_losses_ > 0) point.loss = losses_ / static_cast<double>(num_losses_);
    losses_ = 0;
    num_losses_ = 0;
    const bool rose = !report_.curve.empty() && held_out > report_.curve.back().held_out_loss;
    rises_ = rose ? rises_ + 1 : 0;
    report_.curve.push_back(point);
    if (report_.curve.size() > 1 && !(held_out < report_.outcome.held_out_loss_after)) return;
    if (report_.curve.size() == 1) report_.outcome.held_out_loss_before = held_out;
    report_.outcome.held_out_loss_after = held_out;
    report_.outcome.kept_step = report_.outcome.steps_done;
    keep_state();
  }

  /// Codes that flip at the full learning rate cost more than they win at first; what they win
  /// shows when the rate has fallen. So the first half of the steps is always done.
  bool keeps_rising() const {
    return rises_ >= kPatience && 2 * report_.outcome.steps_done > report_.outcome.steps_planned;
  }

  void keep_state() {
    best_.clear();
    for (const Parameter& parameter : optimizer_.parameters()) {
      best_.push_back(parameter.value.detach().clone());
    }
  }

  void finish() {
    const at::NoGradGuard no_grad;
    const std::vector<Parameter>& parameters = optimizer_.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].value.copy_(best_[i]);
    const TrainingPoint& last = report_.curve.back();
    const std::string numbers =
        concat("held-out loss ", shown(report_.outcome.held_out_loss_before), " at the start, ",
               shown(report_.outcome.held_out_loss_after), " at step ", report_.outcome.kept_step,
               ", ", shown(last.held_out_loss), " at step ", last.step, "; ",
               report_.training_windows, " windows of ", window_tokens_, " tokens were trained on");
    if (report_.outcome.kept_step == 0 && report_.outcome.steps_done > 0) {
      warn(concat("training did not lower the held-out loss, so nothing was changed: ", numbers));
    } else if (last.held_out_loss > kOverfit * report_.outcome.held_out_loss_after) {
      warn(concat("the text is too short for more steps, so an earlier state was kept: ", numbers));
    }
  }

  void show_progress() const {
    if (!control_.progress) return;
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const TrainingPoint& last = report_.curve.back();
    std::string note = concat("held-out loss ", shown(last.held_out_loss));
    if (num_losses_ > 0 || last.loss) {
      const double loss = num_losses_ > 0 ? losses_ / static_cast<double>(num_losses_) : *last.loss;
      note = concat("loss ", shown(loss), ", ", note);
    }
    note += concat(
        ", ", static_cast<std::int64_t>(static_cast<double>(tokens_ - resumed_tokens_) / seconds),
        " tokens/s");
    control_.progress({control_.stage, report_.outcome.steps_done, report_.outcome.steps_planned,
                       std::move(note)});
  }

  const TrainingObjective& objective_;
  const TrainingSplit& split_;
  const std::int64_t window_tokens_;
  const TrainingOptions& options_;
  const TrainingControl& control_;
  AdamW optimizer_;
  TrainingReport report_;
  std::vector<std::int64_t> order_;
  std::vector<at::Tensor> best_;
  Clock::time_point start_ = Clock::now();
  std::int64_t tokens_ = 0;
  std::int64_t resumed_tokens_ = 0;  // of an interrupted training before this one
  double rate_share_ = 1;
  double losses_ = 0;  // since the last measurement
  std::int64_t num_losses_ = 0;
  std::int64_t rises_ = 0;
};

}  // namespace

TrainingReport train(const std::vector<Parameter>& parameters, const TrainingObjective& objective,
                     const TrainingSplit& split, std::int64_t window_tokens,
                     const TrainingOptions& options, const TrainingControl& control) {
  return Trainer(parameters, objective, split, window_tokens, options, control).run();
}

}  // namespace edgecompress
