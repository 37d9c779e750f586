#include "onnx_export/genai_config.h"

#include <nlohmann/json.hpp>

#include "support/catch.h"

using namespace edgecompress;

namespace {

LlamaConfig config() {
  LlamaConfig config;
  config.hidden_size = 48;
  config.head_dim = 8;
  config.vocab_size = 100;
  config.blocks = {{.num_attention_heads = 6, .num_key_value_heads = 3, .intermediate_size = 80},
                   {.num_attention_heads = 4, .num_key_value_heads = 2, .intermediate_size = 64}};
  config.bos_token_id = 1;
  config.eos_token_ids = {7, 9};
  return config;
}

nlohmann::json written(const LlamaConfig& model, const GenaiConfigOptions& options) {
  return nlohmann::json::parse(genai_config_text(model, options));
}

const GenaiConfigOptions kOptions{
    .context_length = 512, .max_generation_length = 4096, .cache_head_dim = 16};

}  // namespace

TEST_CASE("genai_config.json has exactly the keys that onnxruntime-genai's builder writes",
          "[onnx_export]") {
  const nlohmann::json document = written(config(), kOptions);
  // Found in the file that builder 0.18 wrote for a Llama; unknown keys are errors there.
  const nlohmann::json expected = nlohmann::json::parse(R"({
    "model": {"bos_token_id": 1, "context_length": 512, "decoder": {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx", "head_size": 16, "hidden_size": 48,
        "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask",
                   "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
        "outputs": {"logits": "logits", "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value"},
        "num_attention_heads": 6, "num_hidden_layers": 2, "num_key_value_heads": 3},
      "eos_token_id": [7, 9], "pad_token_id": 7, "type": "llama", "vocab_size": 100},
    "search": {"diversity_penalty": 0.0, "do_sample": false, "early_stopping": true, "length_penalty": 1.0,
      "max_length": 512, "min_length": 0, "no_repeat_ngram_size": 0, "num_beams": 1, "num_return_sequences": 1,
      "past_present_share_buffer": true, "repetition_penalty": 1.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0}})");
  CHECK(document == expected);
}

TEST_CASE("max_length is the smaller of the context and the bound that was asked for",
          "[onnx_export]") {
  GenaiConfigOptions options = kOptions;
  options.context_length = 131072;
  CHECK(written(config(), options)["search"]["max_length"] == 4096);
  CHECK(written(config(), options)["model"]["context_length"] == 131072);
}

TEST_CASE("a separate cache and position_ids are named in the config", "[onnx_export]") {
  GenaiConfigOptions options = kOptions;
  options.positions = PositionInput::Present;
  options.cache = GenaiConfigOptions::Cache::Separate;
  const nlohmann::json document = written(config(), options);
  CHECK(document["search"]["past_present_share_buffer"] == false);
  CHECK(document["model"]["decoder"]["inputs"]["position_ids"] == "position_ids");
}

TEST_CASE("pad_token_id is one token of the vocabulary whatever the model says", "[onnx_export]") {
  LlamaConfig model = config();
  const auto pad = [&] { return written(model, kOptions)["model"]["pad_token_id"]; };
  model.pad_token_id = 5;
  CHECK(pad() == 5);
  model.pad_token_id = -1;
  CHECK(pad() == 7);
  model.pad_token_id = 100;
  CHECK(pad() == 7);
  model.eos_token_ids.clear();
  CHECK(pad() == 1);
  model.bos_token_id.reset();
  CHECK(pad() == 0);
}

TEST_CASE("one end token is a number, none an empty list", "[onnx_export]") {
  LlamaConfig model = config();
  model.eos_token_ids = {9};
  CHECK(written(model, kOptions)["model"]["eos_token_id"] == 9);
  model.eos_token_ids.clear();
  CHECK(written(model, kOptions)["model"]["eos_token_id"] == nlohmann::json::array());
}
