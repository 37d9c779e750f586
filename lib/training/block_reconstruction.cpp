#include "training/block_reconstruction.h"

#include "tensor/aten.h"
#include "training/block_pass.h"

namespace edgecompress {
namespace {

/// The block with zeros, which no gradient passes, where a weight is not kept.
BlockWeights on_support(BlockWeights block, const KeptWeights& kept) {
  for (const auto& [kind, keep] : kept) block.weight(kind) = block.weight(kind) * keep;
  return block;
}

KeptWeights on_device(const KeptWeights& kept, at::Device device) {
  KeptWeights moved;
  for (const auto& [kind, keep] : kept) moved.emplace(kind, keep.to(device));
  return moved;
}

}  // namespace

Reconstruction reconstruct_block(const BlockWeights& start, const KeptWeights& kept,
                                 const BlockExamples& examples, const BlockCompute& compute,
                                 const ReconstructionOptions& options) {
  BlockWeights block = to_target(start, compute.target);
  std::vector<Parameter> parameters;
  for (at::Tensor& weight : block.weights) {
    weight = weight.clone().requires_grad_();
    parameters.push_back({weight, options.learning_rate});
  }
  const KeptWeights support = on_device(kept, compute.target.device);
  BlockPass pass([&] { return on_support(block, support); }, compute.rotary, examples,
                 compute.target.device);
  const TrainingOptions training{.epochs = options.epochs,
                                 .batch = options.batch,
                                 .learning_rate = options.learning_rate,
                                 .seed = options.seed};
  const TrainingReport report =
      train(parameters, block_objective(pass, [] {}),
            split_windows(examples.inputs.count(), training.held_out_share),
            examples.inputs.length(), training, {});
  BlockWeights trained = start;
  for (std::size_t i = 0; i < trained.weights.size(); ++i) {
    trained.weights[i] = block.weights[i].detach().cpu().to(start.weights[i].scalar_type());
  }
  return {.block = trained,
          .error_before = report.outcome.held_out_loss_before,
          .error_after = report.outcome.held_out_loss_after};
}

}  // namespace edgecompress
