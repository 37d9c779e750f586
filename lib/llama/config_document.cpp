#include <cmath>
#include <numbers>

#include "base/error.h"
#include "llama/config.h"
#include "llama/foreign_fields.h"

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

const char* torch_name(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return "float16";
    case DType::BF16:
      return "bfloat16";
    default:
      return "float32";
  }
}

Json block_shapes(const std::vector<BlockShape>& blocks) {
  Json list = Json::array();
  for (const BlockShape& shape : blocks) {
    list.push_back({{"num_attention_heads", shape.num_attention_heads},
                    {"num_key_value_heads", shape.num_key_value_heads},
                    {"intermediate_size", shape.intermediate_size}});
  }
  return list;
}

/// Source: arXiv 2407.21783 section 3.4.2 names the rescaling; the formula is Meta's apply_scaling
/// and transformers' _compute_llama3_parameters.
double rescaled(double frequency, const Llama3Rope& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

}  // namespace

Json llama_config_document(const LlamaConfig& config) {
  Json document = config.document;
  for (const char* const name : kForeignFields) document.erase(name);
  for (const char* const name :
       {"quantization_config", "edgecompress_block_shapes", "dtype", "torch_dtype"}) {
    document.erase(name);
  }
  const BlockShape& shape = config.blocks.front();
  document["hidden_size"] = config.hidden_size;
  document["vocab_size"] = config.vocab_size;
  document["num_hidden_layers"] = config.num_blocks();
  document["num_attention_heads"] = shape.num_attention_heads;
  document["num_key_value_heads"] = shape.num_key_value_heads;
  document["head_dim"] = config.head_dim;
  document["intermediate_size"] = shape.intermediate_size;
  document["max_position_embeddings"] = config.max_position_embeddings;
  document["rms_norm_eps"] = config.rms_norm_eps;
  document["tie_word_embeddings"] = config.tie_word_embeddings;
  // both: transformers 5 reads "dtype", earlier ones "torch_dtype"
  document["dtype"] = torch_name(config.dtype);
  document["torch_dtype"] = torch_name(config.dtype);
  // LlamaConfig insists on a hidden size that the heads divide, which a model with heads cut off
  // need not have. Without biases and a sliding window, Mistral is the same computation, and its
  // config takes any head_dim.
  if (config.hidden_size % shape.num_attention_heads != 0 && !config.attention_bias &&
      !config.mlp_bias) {
    document["architectures"] = {"MistralForCausalLM"};
    document["model_type"] = "mistral";
  }
  if (document.value("model_type", "") == "mistral") {
    document["sliding_window"] = nullptr;  // absent would mean 4096 to transformers
  }
  if (!config.is_uniform()) document["edgecompress_block_shapes"] = block_shapes(config.blocks);
  return document;
}

std::vector<double> rope_inverse_frequencies(const LlamaConfig& config) {
  const std::int64_t count = config.head_dim / 2;
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < count; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(config.head_dim);
    const double frequency = 1 / std::pow(config.rope_theta, exponent);
    if (const auto* const linear = std::get_if<LinearRope>(&config.rope_scaling)) {
      frequencies.push_back(frequency / linear->factor);
    } else if (const auto* const llama3 = std::get_if<Llama3Rope>(&config.rope_scaling)) {
      frequencies.push_back(rescaled(frequency, *llama3));
    } else {
      frequencies.push_back(frequency);
    }
  }
  return frequencies;
}

}  // namespace edgecompress
