#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/dtype.h"

namespace edgecompress {

/// Rotary frequencies as they are.
struct DefaultRope {
  friend bool operator==(const DefaultRope&, const DefaultRope&) = default;
};
/// Frequencies divided by `factor`.
struct LinearRope {
  double factor = 1;
  friend bool operator==(const LinearRope&, const LinearRope&) = default;
};
/// Llama 3.1's rescaling: long wavelengths divided by `factor`, a linear blend between the two
/// bounds.
struct Llama3Rope {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 8192;
  friend bool operator==(const Llama3Rope&, const Llama3Rope&) = default;
};
using RopeScaling = std::variant<DefaultRope, LinearRope, Llama3Rope>;

/// Widths of one decoder block.
struct BlockShape {
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t intermediate_size = 0;
  friend bool operator==(const BlockShape&, const BlockShape&) = default;
};

/// config.json of a Llama, as plain integers under Hugging Face's names.
struct LlamaConfig {
  std::int64_t hidden_size = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool attention_bias = false;  ///< q, k, v and o have biases
  bool mlp_bias = false;        ///< gate, up and down have biases
  bool tie_word_embeddings = false;
  DType dtype = DType::F32;  ///< of the floating tensors
  std::vector<BlockShape>
      blocks;  ///< one per decoder block; all equal in what transformers can load
  std::optional<std::int64_t> bos_token_id;
  std::vector<std::int64_t> eos_token_ids;  ///< possibly empty
  std::optional<std::int64_t> pad_token_id;
  nlohmann::ordered_json
      document;  ///< the file as read; fields edgecompress does not use survive a rewrite

  std::int64_t num_blocks() const { return static_cast<std::int64_t>(blocks.size()); }
  bool is_uniform() const;  ///< every block has the same widths
};

/// Reads config.json.
///
/// Accepts  LlamaForCausalLM, and MistralForCausalLM without a sliding window. Both spellings of
/// dtype; rope_theta at
///          the top or inside rope_parameters; rope types default, linear, llama3.
/// Throws   Error{Malformed} or Error{Unsupported} with the code C1 ... C20 of docs/security.md,
/// naming the field, what
///          was expected and what was found.
LlamaConfig parse_llama_config(std::string_view text, const std::string& source);

/// Returns `config.document` with the widths and everything else that edgecompress may have changed
/// written into it, so that transformers loads the folder. Blocks of different widths are listed
/// under "edgecompress_block_shapes".
nlohmann::ordered_json llama_config_document(const LlamaConfig& config);

/// Rotary inverse frequencies, [head_dim / 2], after scaling. Source: arXiv 2104.09864;
/// transformers modeling_rope_utils.
std::vector<double> rope_inverse_frequencies(const LlamaConfig& config);

}  // namespace edgecompress
