#include "onnx_export/genai_config.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace edgecompress {
namespace {

using Json = nlohmann::ordered_json;

std::int64_t pad_token(const LlamaConfig& config) {
  if (config.pad_token_id && *config.pad_token_id >= 0 &&
      *config.pad_token_id < config.vocab_size) {
    return *config.pad_token_id;
  }
  if (!config.eos_token_ids.empty()) return config.eos_token_ids.front();
  return config.bos_token_id.value_or(0);
}

Json eos_tokens(const LlamaConfig& config) {
  if (config.eos_token_ids.size() == 1) return config.eos_token_ids.front();
  return config.eos_token_ids;
}

Json decoder_section(const LlamaConfig& config, const GenaiConfigOptions& options) {
  Json inputs{{"input_ids", "input_ids"}, {"attention_mask", "attention_mask"}};
  if (options.positions == PositionInput::Present) inputs["position_ids"] = "position_ids";
  inputs["past_key_names"] = "past_key_values.%d.key";
  inputs["past_value_names"] = "past_key_values.%d.value";
  Json session{{"log_id", "onnxruntime-genai"}, {"provider_options", Json::array()}};
  // A bare name: onnxruntime-genai looks beside the graph first.
  if (!options.operator_library.empty()) session["custom_ops_library"] = options.operator_library;
  // onnxruntime-genai passes on what it does not know to ONNX Runtime; see docs/onnx-mapping.md.
  // Not in standard graphs: with it ONNX Runtime 1.32 fails in their blocked DequantizeLinear.
  if (options.integer_products) session["session.x64quantprecision"] = "1";
  return Json{{"session_options", std::move(session)},
              {"filename", "model.onnx"},
              {"head_size", options.cache_head_dim},
              {"hidden_size", config.hidden_size},
              {"inputs", std::move(inputs)},
              {"outputs",
               {{"logits", "logits"},
                {"present_key_names", "present.%d.key"},
                {"present_value_names", "present.%d.value"}}},
              {"num_attention_heads", config.blocks.front().num_attention_heads},
              {"num_hidden_layers", config.num_blocks()},
              {"num_key_value_heads", config.blocks.front().num_key_value_heads}};
}

}  // namespace

std::string genai_config_text(const LlamaConfig& config, const GenaiConfigOptions& options) {
  Json model;
  if (config.bos_token_id) model["bos_token_id"] = *config.bos_token_id;
  model["context_length"] = options.context_length;
  model["decoder"] = decoder_section(config, options);
  model["eos_token_id"] = eos_tokens(config);
  model["pad_token_id"] = pad_token(config);
  model["type"] = "llama";
  model["vocab_size"] = config.vocab_size;
  const Json search{
      {"diversity_penalty", 0.0},
      {"do_sample", false},
      {"early_stopping", true},
      {"length_penalty", 1.0},
      // onnxruntime-genai allocates and clears a cache of this length for every generator.
      {"max_length", std::min(options.context_length, options.max_generation_length)},
      {"min_length", 0},
      {"no_repeat_ngram_size", 0},
      {"num_beams", 1},
      {"num_return_sequences", 1},
      {"past_present_share_buffer", options.cache == GenaiConfigOptions::Cache::Shared},
      {"repetition_penalty", 1.0},
      {"temperature", 1.0},
      {"top_k", 50},
      {"top_p", 1.0}};
  return Json{{"model", std::move(model)}, {"search", search}}.dump(2) + "\n";
}

}  // namespace edgecompress
