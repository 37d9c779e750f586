#pragma once

#include <string>
#include <vector>

#include "llama/model_folder.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress {

/// What is odd between a model and its tokenizer: T16, ids that the model has no embedding for;
/// T18, a tokenizer.model of another size than tokenizer.json, which is the one that is used.
std::vector<std::string> tokenizer_warnings(const ModelFolder& model, const Tokenizer& tokenizer);

/// X6: where onnxruntime-genai's own tokenizer gives other ids than tokenizer.json asks for, with
/// examples. Nothing without a tokenizer.json; one warning for a kind that edgecompress does not
/// read.
std::vector<std::string> genai_tokenizer_warnings(const ModelFolder& model);

}  // namespace edgecompress
