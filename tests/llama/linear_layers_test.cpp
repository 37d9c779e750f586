#include "llama/linear_layers.h"

#include "support/catch.h"
#include "tiny_model.h"

namespace edgecompress {
namespace {

LlamaConfig uneven() {
  nlohmann::ordered_json document = tiny_config();
  document["head_dim"] = 6;
  LlamaConfig config = parse_llama_config(document.dump(), "config.json");
  config.blocks[1] = {2, 1, 20};
  return config;
}

TEST_CASE("module names are the checkpoint's own", "[llama]") {
  CHECK(module_name({0, LinearKind::Q}) == "model.layers.0.self_attn.q_proj");
  CHECK(module_name({12, LinearKind::O}) == "model.layers.12.self_attn.o_proj");
  CHECK(module_name({3, LinearKind::Down}) == "model.layers.3.mlp.down_proj");
  CHECK(input_norm_module(3) == "model.layers.3.input_layernorm");
  CHECK(post_attention_norm_module(4) == "model.layers.4.post_attention_layernorm");
}

TEST_CASE("shapes follow the widths of the block, not of the model", "[llama]") {
  const LlamaConfig config = uneven();
  CHECK(linear_shape(config, {0, LinearKind::Q}) == MatrixShape{24, 32});
  CHECK(linear_shape(config, {0, LinearKind::K}) == MatrixShape{12, 32});
  CHECK(linear_shape(config, {0, LinearKind::O}) == MatrixShape{32, 24});
  CHECK(linear_shape(config, {1, LinearKind::Q}) == MatrixShape{12, 32});
  CHECK(linear_shape(config, {1, LinearKind::V}) == MatrixShape{6, 32});
  CHECK(linear_shape(config, {1, LinearKind::Gate}) == MatrixShape{20, 32});
  CHECK(linear_shape(config, {1, LinearKind::Down}) == MatrixShape{32, 20});
  CHECK_THROWS_AS(linear_shape(config, {2, LinearKind::Q}), std::logic_error);
}

TEST_CASE("parameters are counted once, whatever is tied or biased", "[llama]") {
  LlamaConfig config = uneven();
  // q, k, v, o, gate, up, down
  const std::int64_t first = 24 * 32 + 2 * 12 * 32 + 32 * 24 + 3 * 48 * 32;
  const std::int64_t second = 12 * 32 + 2 * 6 * 32 + 32 * 12 + 3 * 20 * 32;
  CHECK(linear_parameters(config, 0) == first);
  CHECK(linear_parameters(config, 1) == second);
  const std::int64_t norms = 5 * 32;
  CHECK(total_parameters(config) == first + second + norms + 2 * 40 * 32);
  config.tie_word_embeddings = true;
  CHECK(total_parameters(config) == first + second + norms + 40 * 32);
  config.attention_bias = true;
  const std::int64_t attention_biases = (24 + 12 + 12 + 32) + (12 + 6 + 6 + 32);
  CHECK(total_parameters(config) == first + second + norms + 40 * 32 + attention_biases);
  CHECK(has_bias(config, LinearKind::O));
  CHECK_FALSE(has_bias(config, LinearKind::Up));
}

}  // namespace
}  // namespace edgecompress
