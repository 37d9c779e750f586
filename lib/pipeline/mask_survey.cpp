#include "pipeline/mask_survey.h"

#include "base/error.h"
#include "decoder/block_weights.h"
#include "llama/linear_layers.h"
#include "prune/loss_allocation.h"

namespace edgecompress {
namespace {

LayerSensitivity sensitivity_of(const BlockSurvey& survey, LinearKind kind) {
  return {.inputs = survey.input_squares[static_cast<std::size_t>(input_group(kind))],
          .outputs = survey.output_gradients[static_cast<std::size_t>(kind)]};
}

}  // namespace

MatrixSparsities sparsities_by_loss(const MaskedModel& masked, const MaskStep& step,
                                    const std::vector<BlockSurvey>& survey, int num_threads,
                                    const Progress& progress) {
  const std::int64_t count = masked.config.num_blocks();
  std::vector<std::string> modules;
  std::vector<AllocatedMatrix> matrices;
  for (std::int64_t written = 0; written < count; ++written) {
    const std::int64_t source = masked.source_blocks[static_cast<std::size_t>(written)];
    const BlockWeights block = load_block(masked.source, source, num_threads);
    for (const LinearKind kind : kLinearKinds) {
      const LinearId id{written, kind};
      if (!targets(step.targets, module_name(id))) continue;
      const MatrixShape shape = linear_shape(masked.config, id);
      modules.push_back(module_name(id));
      matrices.push_back(with_context(concat("spreading a mask over ", modules.back()), [&] {
        return AllocatedMatrix{
            .costs = DropCosts(block.weight(kind).contiguous(),
                               sensitivity_of(survey[static_cast<std::size_t>(source)], kind),
                               step.pattern),
            .weights = shape.out_features * shape.in_features};
      }));
    }
    if (progress) progress({"survey", written + 1, count});
  }
  const std::vector<double> shares = sparsities_by_cost(matrices, target_sparsity(step.pattern));
  MatrixSparsities sparsities;
  for (std::size_t i = 0; i < modules.size(); ++i) sparsities.emplace(modules[i], shares[i]);
  return sparsities;
}

}  // namespace edgecompress
