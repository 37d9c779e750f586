#include "decoder/language_model_head.h"

#include "base/error.h"
#include "decoder/block_forward.h"
#include "tensor/aten.h"

namespace edgecompress {

LanguageModelHead load_head(const ModelFolder& model, int num_threads) {
  LanguageModelHead head{
      .final_norm = at::tensor(model.vector(concat(kFinalNormModule, ".weight")), at::kFloat),
      .weight = load_matrix(model.matrix(kHeadModule), num_threads),
      .rms_norm_eps = model.config().rms_norm_eps};
  model.drop(kHeadModule);
  return head;
}

at::Tensor head_logits(const LanguageModelHead& head, const at::Tensor& hidden) {
  return at::linear(rms_norm(hidden, head.final_norm, head.rms_norm_eps), head.weight);
}

}  // namespace edgecompress
