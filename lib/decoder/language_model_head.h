#pragma once

#include <ATen/core/Tensor.h>

#include "llama/model_folder.h"
#include "weights/activation_rounding.h"

namespace edgecompress {

/// Final norm and output matrix.
struct LanguageModelHead {
  at::Tensor final_norm;  ///< [hidden_size], float
  at::Tensor weight;      ///< [vocab_size, hidden_size], float
  double rms_norm_eps = 0;
  ActivationScheme activation = {};  ///< how the output matrix's input is rounded
};

LanguageModelHead load_head(const ModelFolder& model, int num_threads);

/// hidden: [tokens, hidden_size]. Returns logits [tokens, vocab_size], float.
at::Tensor head_logits(const LanguageModelHead& head, const at::Tensor& hidden);

}  // namespace edgecompress
