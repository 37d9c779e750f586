#include "llama/model_folder.h"

#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "llama/folder_warnings.h"
#include "support/catch.h"
#include "support/refusal.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

TEST_CASE("the committed model opens", "[llama]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  CHECK(model.config().num_blocks() >= 1);
  CHECK_FALSE(model.is_quantized());
  CHECK(model.head_is_embedding() == model.config().tie_word_embeddings);
  std::vector<float> row(static_cast<std::size_t>(model.config().hidden_size));
  read_rows(model.matrix("lm_head"), 3, 4, row);
  CHECK(row.front() != row.back());
}

TEST_CASE("every Hugging Face model of the shared data opens", "[llama]") {
  const std::filesystem::path models = std::filesystem::path(EDGECOMPRESS_SHARED_DATA) / "models";
  if (!std::filesystem::exists(models)) {
    std::cout << "skipped: ../shared/data is absent\n";
    return;
  }
  int opened = 0;
  for (const auto& folder : std::filesystem::directory_iterator(models)) {
    if (!folder.path().filename().string().ends_with("-hf")) continue;
    INFO(folder.path());
    const ModelFolder model = ModelFolder::open(folder.path());
    CHECK(total_parameters(model.config()) > 0);
    ++opened;
  }
  CHECK(opened == 4);
}

/// The committed model with other fields in its config.json.
std::filesystem::path mini_llama_with(const TempDir& temp, const nlohmann::ordered_json& fields) {
  const std::filesystem::path source = EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama";
  const std::filesystem::path target = temp.path() / "model";
  std::filesystem::copy(source, target, std::filesystem::copy_options::recursive);
  auto config = nlohmann::ordered_json::parse(read_text_file(source / "config.json", 1 << 20));
  config.update(fields);
  std::filesystem::remove(target / "config.json");
  temp.write("model/config.json", config.dump());
  return target;
}

TEST_CASE("what is odd in config.json but harmless is a warning", "[llama]") {
  const auto warnings = [](const nlohmann::ordered_json& fields) {
    const TempDir temp;
    return folder_warnings(ModelFolder::open(mini_llama_with(temp, fields)));
  };
  CHECK(warnings({{"pad_token_id", 2047}}).empty());
  const auto code = warnings({{"auto_map", {{"AutoModel", "own.Model"}}}});
  REQUIRE(code.size() == 1);
  CHECK(code.front().starts_with("C17: "));
  const auto ids = warnings({{"bos_token_id", 2048}, {"eos_token_id", {5, 9999}}});
  REQUIRE(ids.size() == 2);
  CHECK(ids[0] == "T19: config.json gives bos_token_id 2048, the vocabulary ends at 2047");
  CHECK(ids[1].find("eos_token_id 9999") != std::string::npos);
}

TEST_CASE("a config.json above 64 MiB is refused without being read", "[llama]") {
  const TempDir temp;
  temp.write("config.json", "{");
  std::filesystem::resize_file(temp.path() / "config.json", (64 << 20) + 1);  // sparse
  const auto refusal = refusal_of([&] { ModelFolder::open(temp.path()); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "C3");
  CHECK(refusal->says("67108865 bytes"));
}

}  // namespace
}  // namespace edgecompress
