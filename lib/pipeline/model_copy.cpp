#include "pipeline/model_copy.h"

#include "pipeline/stored_steps.h"

namespace edgecompress {
namespace {

WeightValue stored_value(const StoredMatrix& matrix, int num_threads) {
  if (const auto* const quantized = std::get_if<StoredQuantizedMatrix>(&matrix)) {
    return read_quantized_rows(*quantized, 0, quantized->shape.out_features);
  }
  return keep_stored(matrix, num_threads).value;
}

}  // namespace

void copy_embedding(const ModelFolder& model, CheckpointWriter& writer, int num_threads) {
  writer.write_embedding(stored_value(model.matrix(kEmbeddingModule), num_threads));
  model.drop(kEmbeddingModule);
}

void copy_head(const ModelFolder& model, const std::vector<float>& final_norm,
               CheckpointWriter& writer, int num_threads) {
  if (model.config().tie_word_embeddings) {
    writer.write_head(final_norm, nullptr);
    return;
  }
  const WeightValue head = stored_value(model.matrix(kHeadModule), num_threads);
  writer.write_head(final_norm, &head);
}

}  // namespace edgecompress
