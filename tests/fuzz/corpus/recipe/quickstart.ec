# A first run: a tenth of every decoder block cut away, a light mask, 4-bit weights, an onnxruntime-genai folder.
# On tests/models/mini-llama: 7.0 MiB become 2.4 MiB, perplexity 30.8 becomes 42.0 (the README shows every stage).
schema: edgecompress.recipe/v1
name: quickstart
description: 10 % structured cut, 10 % mask, 4-bit weights in groups of 32, 8-bit embedding and head
requires: { edgecompress: ">=0.1" }
model: { model_type: llama }
seed: 0

calibration:
  text: ../calibration/calibration.txt
  samples: 32
  sequence_length: 512

steps:
  - id: cut
    prune: { score: output-error, ratio: 10%, channel_multiple: 32 }
  - id: mask
    mask: { method: sparsegpt, pattern: unstructured, sparsity: 10% }
  - id: quant
    quantize:
      method: gptq
      weights: { bits: 4, group_size: 32, symmetric: false }
      embedding: { bits: 8 }
      head: { bits: 8 }
  - id: artifact
    export: { format: genai, accuracy_level: 4 }

evaluate:
  text: ../calibration/evaluation.txt
  window: 512
