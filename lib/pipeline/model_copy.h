#pragma once

#include <vector>

#include "llama/checkpoint_writer.h"
#include "llama/model_folder.h"

namespace edgecompress {

/// Writes a model's embedding as it is stored.
void copy_embedding(const ModelFolder& model, CheckpointWriter& writer, int num_threads);

/// Writes a final norm and, when it is not tied, the model's head as it is stored.
void copy_head(const ModelFolder& model, const std::vector<float>& final_norm,
               CheckpointWriter& writer, int num_threads);

}  // namespace edgecompress
