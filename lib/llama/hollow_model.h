#pragma once

#include <filesystem>

#include "llama/config.h"
#include "llama/model_folder.h"
#include "llama/weight_layout.h"

namespace edgecompress {

/// Whether the head has the embedding's values. A tied model's always has.
enum class HeadValues { Embedding, OfItsOwn };

HeadValues head_values(const ModelFolder& model);

/// A model folder with the names, shapes and sizes of a real one and holes instead of weights: what
/// depends on shapes alone can be asked of it as of a real folder. It lies in the system's
/// temporary folder, takes a few pages of disk whatever its size, and is deleted at the end. Its
/// weights read as 0, but for one byte by which a head of its own differs from the embedding.
class HollowModel {
 public:
  /// config, forms: as CheckpointWriter takes them. tokenizer_source: a folder whose tokenizer
  /// files are copied; empty: none are. Throws Error{Io} when the files cannot be made.
  HollowModel(const LlamaConfig& config, const WeightForms& forms, HeadValues head,
              const std::filesystem::path& tokenizer_source);
  ~HollowModel();
  HollowModel(const HollowModel&) = delete;
  HollowModel& operator=(const HollowModel&) = delete;

  const ModelFolder& folder() const { return *folder_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<ModelFolder> folder_;
};

/// Every floating form in the config's dtype: a model that is not quantized.
WeightForms float_forms(const LlamaConfig& config);

}  // namespace edgecompress
