#pragma once

namespace edgecompress::cli {

/// What `recipe init` writes: 4-bit weights without calibration text, and the parts to add.
inline constexpr const char* kStarterRecipe =
    R"(# What each key means: docs/recipe-format.md. Check this file with: edgecompress recipe check FILE
schema: edgecompress.recipe/v1
name: my-recipe
description: 4-bit weights in groups of 64, 8-bit embedding and head
requires: { edgecompress: ">=0.1" }
model: { model_type: llama }

# Text that calibrated methods look at: a path relative to this file.
# calibration: { text: calibration.txt, samples: 128, sequence_length: 512 }

steps:
  # - id: cut
  #   prune: { score: output-error, ratio: 20% }
  # - id: mask
  #   mask: { method: sparsegpt, pattern: unstructured, sparsity: 10% }
  - id: quant
    quantize:
      method: rtn  # gptq is better and needs calibration
      clip: weight-error
      weights: { bits: 4, group_size: 64, symmetric: false }
      embedding: { bits: 8 }
      head: { bits: 8 }
      # rules:
      #   - { match: "*.down_proj", weights: { bits: 8 } }
  - id: artifact
    export: { format: genai }

# Text that every stage is scored on; gates on perplexity need it.
# evaluate: { text: evaluation.txt, window: 512 }

gates:
  # - { metric: perplexity, max_increase: 1% }
  - { metric: size, max: 4GiB }
)";

}  // namespace edgecompress::cli
