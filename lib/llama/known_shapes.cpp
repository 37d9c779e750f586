#include "llama/known_shapes.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace edgecompress {
namespace {

struct KnownShape {
  const char* name;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t num_hidden_layers;
  std::int64_t num_attention_heads;
  std::int64_t num_key_value_heads;
  std::int64_t vocab_size;
  std::int64_t max_position_embeddings;
  double rope_theta;
  bool tied;
  const char* dtype;
};

// From the models' config.json.
constexpr std::array kShapes{
    KnownShape{"llama-2-7b", 4096, 11008, 32, 32, 32, 32000, 4096, 1e4, false, "float16"},
    KnownShape{"llama-2-13b", 5120, 13824, 40, 40, 40, 32000, 4096, 1e4, false, "float16"},
    KnownShape{"llama-3.1-8b", 4096, 14336, 32, 32, 8, 128256, 131072, 5e5, false, "bfloat16"},
    KnownShape{"llama-3.2-1b", 2048, 8192, 16, 32, 8, 128256, 131072, 5e5, true, "bfloat16"},
    KnownShape{"llama-3.2-3b", 3072, 8192, 28, 24, 8, 128256, 131072, 5e5, true, "bfloat16"},
    KnownShape{"tinyllama-1.1b", 2048, 5632, 22, 32, 4, 32000, 2048, 1e4, false, "bfloat16"},
};

}  // namespace

std::vector<std::string> known_shape_names() {
  std::vector<std::string> names;
  names.reserve(kShapes.size());
  for (const KnownShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

LlamaConfig known_shape(const std::string& name) {
  const auto found = std::find_if(kShapes.begin(), kShapes.end(),
                                  [&](const KnownShape& shape) { return name == shape.name; });
  if (found == kShapes.end()) {
    std::string known;
    for (const std::string& other : known_shape_names()) known += " " + other;
    throw Error(ErrorKind::Usage, "U-SHAPE",
                concat("unknown shape \"", name, "\"; known are:", known));
  }
  const nlohmann::ordered_json document{{"architectures", {"LlamaForCausalLM"}},
                                        {"model_type", "llama"},
                                        {"hidden_size", found->hidden_size},
                                        {"intermediate_size", found->intermediate_size},
                                        {"num_hidden_layers", found->num_hidden_layers},
                                        {"num_attention_heads", found->num_attention_heads},
                                        {"num_key_value_heads", found->num_key_value_heads},
                                        {"vocab_size", found->vocab_size},
                                        {"max_position_embeddings", found->max_position_embeddings},
                                        {"rms_norm_eps", 1e-5},
                                        {"rope_theta", found->rope_theta},
                                        {"hidden_act", "silu"},
                                        {"tie_word_embeddings", found->tied},
                                        {"torch_dtype", found->dtype}};
  return parse_llama_config(document.dump(), name);
}

}  // namespace edgecompress
