#include "decoder/language_model_head.h"

#include "base/error.h"
#include "decoder/block_forward.h"
#include "decoder/block_weights.h"
#include "decoder/round_activations.h"
#include "tensor/aten.h"

namespace edgecompress {

LanguageModelHead load_head(const ModelFolder& model, int num_threads) {
  LanguageModelHead head{
      .final_norm = at::tensor(model.vector(concat(kFinalNormModule, ".weight")), at::kFloat),
      .weight = load_matrix(model.matrix(kHeadModule), num_threads),
      .rms_norm_eps = model.config().rms_norm_eps,
      .activation = stored_activation(model.matrix(kHeadModule))};
  model.drop(kHeadModule);
  return head;
}

at::Tensor head_logits(const LanguageModelHead& head, const at::Tensor& hidden) {
  const at::Tensor input = rms_norm(hidden, head.final_norm, head.rms_norm_eps);
  return at::linear(round_activations(input.unsqueeze(0), head.activation).squeeze(0), head.weight);
}

}  // namespace edgecompress
