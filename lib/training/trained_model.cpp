#include "training/trained_model.h"

#include "base/error.h"
#include "llama/weight_layout.h"
#include "tensor/aten.h"

namespace edgecompress {

TrainedModel::TrainedModel(const TrainingSource& source, const TrainingOptions& options)
    : config_(source.model.config()),
      options_(options),
      target_(source.target),
      final_norm_(source.model.vector(concat(kFinalNormModule, ".weight")),
                  written_dtype(stored_forms(source.model)), source.target.device),
      head_(load_matrix(source.model.matrix(kHeadModule), source.num_threads)
                .to(source.target.device)),
      head_activation_(source.activation(std::string(kHeadModule))) {
  source.model.drop(kHeadModule);
  const DType norm_dtype = written_dtype(stored_forms(source.model));
  for (std::int64_t block = 0; block < config_.num_blocks(); ++block) {
    blocks_.emplace_back(source, block, norm_dtype, options);
  }
}

std::vector<Parameter> TrainedModel::parameters() const {
  std::vector<Parameter> all;
  for (const TrainedBlock& block : blocks_) {
    const std::vector<Parameter> some = block.parameters(options_);
    all.insert(all.end(), some.begin(), some.end());
  }
  all.push_back(final_norm_.parameter(options_));
  return all;
}

void TrainedModel::settle() {
  for (TrainedBlock& block : blocks_) block.settle();
  final_norm_.settle();
}

}  // namespace edgecompress
