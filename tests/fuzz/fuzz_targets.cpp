#include "fuzz/fuzz_targets.h"

#include <span>

#include "base/strict_json.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shard_index.h"
#include "llama/config.h"
#include "llama/quantization_config.h"
#include "onnx_export/export_model.h"
#include "recipe/recipe.h"
#include "resume/run_journal.h"
#include "support/temp_dir.h"
#include "tokenizer/tokenizer.h"
#include "verify/input_manifest.h"

namespace edgecompress {
namespace {

/// The header and the views it gives: every byte of every tensor is touched.
void read_safetensors(std::string_view input) {
  unsigned sum = 0;
  for (const TensorEntry& tensor : parse_safetensors(std::as_bytes(std::span(input)), "input")) {
    for (const std::byte byte : tensor.bytes) sum += std::to_integer<unsigned>(byte);
  }
  [[maybe_unused]] volatile unsigned kept = sum;
}

void read_config(std::string_view input) {
  const LlamaConfig config = parse_llama_config(input, "input");
  QuantizationConfig::parse(config.document, "input");
}

/// What the tokenizer makes of a text must be its own ids.
void read_tokenizer(std::string_view input) {
  const Tokenizer tokenizer = Tokenizer::parse(input, "input");
  tokenizer.encode("Hello, world!  2 \xC3\xA9\n", SpecialTokens::Add);
}

void read_graph(std::string_view input) {
  const TempDir folder;
  validate_onnx_folder(folder.write("model.onnx", input));
}

}  // namespace

std::vector<FuzzTarget> fuzz_targets() {
  return {{"safetensors", read_safetensors},
          {"shard_index", [](std::string_view input) { parse_shard_index(input, "input"); }},
          {"config", read_config},
          {"tokenizer", read_tokenizer},
          {"recipe", [](std::string_view input) { parse_recipe(std::string(input), "input"); }},
          {"journal", [](std::string_view input) { parse_journal(input, "input"); }},
          {"manifest", [](std::string_view input) { parse_input_hashes(input, "input"); }},
          {"graph", read_graph}};
}

}  // namespace edgecompress
