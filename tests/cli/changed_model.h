#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/float16.h"
#include "cli/command_run.h"
#include "support/temp_dir.h"

namespace edgecompress {

/// The embedded model with some of its weights changed, as a folder of its own.
class ChangedModel {
 public:
  struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };

  ChangedModel() {
    const std::filesystem::path source =
        std::filesystem::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama";
    std::filesystem::copy(source, folder_.path());
    const std::string file = file_text(source / "model.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof(length));
    const auto header = nlohmann::ordered_json::parse(file.substr(8, length));
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      const std::size_t begin = 8 + length + entry.at("data_offsets")[0].get<std::size_t>();
      const std::size_t end = 8 + length + entry.at("data_offsets")[1].get<std::size_t>();
      Tensor tensor{.shape = entry.at("shape"), .values = {}};
      for (std::size_t at = begin; at < end; at += 2) {
        std::uint16_t half = 0;
        std::memcpy(&half, file.data() + at, sizeof(half));
        tensor.values.push_back(half_to_float(half));
      }
      tensors_.emplace(name, std::move(tensor));
    }
  }

  /// By its name with ".weight"; a new name adds a tensor.
  Tensor& tensor(const std::string& name) { return tensors_[name]; }

  /// A head of its own, equal to the embedding.
  void untie() {
    tensors_["lm_head.weight"] = tensors_.at("model.embed_tokens.weight");
    auto config = nlohmann::ordered_json::parse(file_text(folder_.path() / "config.json"));
    config["tie_word_embeddings"] = false;
    folder_.write("config.json", config.dump(1));
  }

  /// Writes the model and returns its folder.
  std::filesystem::path write() const {
    nlohmann::ordered_json header;
    std::string data;
    for (const auto& [name, tensor] : tensors_) {
      const std::size_t begin = data.size();
      for (const float value : tensor.values) {
        const std::uint16_t half = float_to_half(value);
        data.append(reinterpret_cast<const char*>(&half), sizeof(half));
      }
      header[name] = {
          {"dtype", "F16"}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
    }
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    const std::uint64_t length = text.size();
    folder_.write(
        "model.safetensors",
        std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text + data);
    return folder_.path();
  }

 private:
  TempDir folder_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace edgecompress
