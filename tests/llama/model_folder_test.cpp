#include "llama/model_folder.h"

#include <filesystem>
#include <iostream>

#include "support/catch.h"

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

}  // namespace
}  // namespace edgecompress
