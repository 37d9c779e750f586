#include "pipeline/model_survey.h"

#include <array>

#include "base/error.h"
#include "calibrate/hidden_states.h"
#include "decoder/block_weights.h"
#include "tensor/aten.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

constexpr double kOutlier = 5;  // times the mean; OWL's M

/// Sums over the tokens that pass a block.
class BlockSums {
 public:
  /// inputs, before, after: [tokens, features].
  void add_input(InputGroup group, const at::Tensor& inputs) {
    const at::Tensor squares = inputs.cpu().to(at::kDouble).square().sum(0);
    at::Tensor& sum = squares_[static_cast<std::size_t>(group)];
    sum = sum.defined() ? sum + squares : squares;
  }

  void add_output(const at::Tensor& before, const at::Tensor& after) {
    const at::Tensor a = before.to(at::kDouble);
    const at::Tensor b = after.to(at::kDouble);
    const at::Tensor cosine =
        (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt().clamp_min(1e-300);
    cosines_ += ordered_sum(cosine);
    tokens_ += a.size(0);
  }

  at::Tensor norm(InputGroup group) const {
    return squares_[static_cast<std::size_t>(group)].sqrt().to(at::kFloat);
  }
  std::vector<double> mean_squares(InputGroup group) const {
    const at::Tensor means =
        (squares_[static_cast<std::size_t>(group)] / static_cast<double>(tokens_)).contiguous();
    const double* const first = means.const_data_ptr<double>();
    return {first, first + means.numel()};
  }
  double mean_cosine() const { return cosines_ / static_cast<double>(tokens_); }

 private:
  std::array<at::Tensor, kInputGroups.size()> squares_;  // [in_features] double
  double cosines_ = 0;
  std::int64_t tokens_ = 0;
};

std::int64_t count_outliers(const at::Tensor& weight, const at::Tensor& norm) {
  const at::Tensor scores = weight.abs().to(at::kDouble) * norm.to(at::kDouble);
  const double mean = ordered_sum(scores) / static_cast<double>(scores.numel());
  return scores.gt(kOutlier * mean).sum().item<std::int64_t>();
}

BlockSurvey survey_of(const BlockWeights& block, const BlockSums& sums) {
  BlockSurvey survey;
  survey.influence = 1 - sums.mean_cosine();
  for (const InputGroup group : kInputGroups) {
    survey.input_squares[static_cast<std::size_t>(group)] = sums.mean_squares(group);
  }
  std::int64_t outliers = 0;
  std::int64_t weights = 0;
  for (const LinearKind kind : kLinearKinds) {
    outliers += count_outliers(block.weight(kind), sums.norm(input_group(kind)));
    weights += block.weight(kind).numel();
  }
  survey.outlier_share = static_cast<double>(outliers) / static_cast<double>(weights);
  return survey;
}

}  // namespace

std::vector<BlockSurvey> survey_model(const ModelFolder& model, const TokenWindows& text,
                                      std::optional<GradientDetail> gradients,
                                      const EvaluationOptions& compute, const Progress& progress) {
  const RotaryTable rotary = make_rotary_table(model.config(), text.length, compute.target.device);
  HiddenStates states(text, model.matrix(kEmbeddingModule), compute.storage);
  const std::int64_t count = model.config().num_blocks();
  std::vector<BlockSurvey> surveys;
  for (std::int64_t index = 0; index < count; ++index) {
    const BlockWeights block = load_block(model, index, compute.num_threads);
    const BlockWeights computed = to_target(block, compute.target);
    BlockSums sums;
    for_each_piece(states, compute.target.device,
                   [&](std::int64_t begin, std::int64_t end, const at::Tensor& before) {
                     const auto tokens_of = [&](const at::Tensor& values) {
                       return states.without_padding(begin, end, values);
                     };
                     const at::Tensor after = block_forward(
                         computed, rotary, before, [&](InputGroup group, const at::Tensor& input) {
                           sums.add_input(group, tokens_of(input));
                         });
                     sums.add_output(tokens_of(before).cpu(), tokens_of(after).cpu());
                     states.windows(begin, end).copy_(after);
                   });
    surveys.push_back(survey_of(block, sums));
    if (progress) progress({"survey", index + 1, count});
  }
  if (!gradients) return surveys;
  std::vector<BlockGradients> found = taylor_scores(model, text, *gradients, compute, progress);
  for (std::size_t i = 0; i < surveys.size(); ++i) {
    surveys[i].taylor = std::move(found[i].parts);
    surveys[i].output_gradients = std::move(found[i].outputs);
  }
  return surveys;
}

}  // namespace edgecompress
