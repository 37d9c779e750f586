#include "llama/folder_warnings.h"

#include "base/error.h"

namespace edgecompress {

std::vector<std::string> folder_warnings(const ModelFolder& model) {
  const LlamaConfig& config = model.config();
  std::vector<std::string> warnings = model.store().warnings();
  if (config.document.contains("auto_map")) {
    warnings.emplace_back(
        "C17: config.json names Python code (auto_map), which is never run; what is written does "
        "not name it");
  }
  const auto check = [&](const char* name, std::int64_t id) {
    if (id < config.vocab_size) return;
    warnings.push_back(concat("T19: config.json gives ", name, " ", id, ", the vocabulary ends at ",
                              config.vocab_size - 1));
  };
  if (config.bos_token_id) check("bos_token_id", *config.bos_token_id);
  for (const std::int64_t id : config.eos_token_ids) check("eos_token_id", id);
  if (config.pad_token_id) check("pad_token_id", *config.pad_token_id);
  return warnings;
}

}  // namespace edgecompress
