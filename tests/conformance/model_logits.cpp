// Writes a model folder's logits of one token sequence as little-endian float32.
// Usage: model_logits FOLDER OUTPUT ID...
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "calibrate/token_windows.h"
#include "evaluate/model_evaluation.h"

int main(int argc, char** argv) {
  using namespace edgecompress;
  if (argc < 5) return 2;
  std::vector<std::int32_t> ids;
  for (int i = 3; i < argc; ++i) ids.push_back(std::stoi(argv[i]));
  const TokenWindows windows =
      cut_windows(ids, {.length = static_cast<std::int64_t>(ids.size()), .max_count = {}}, "ids");
  const ModelFolder model = ModelFolder::open(argv[1]);
  HiddenStates states = final_hidden_states(model, windows, {}, {});
  const LanguageModelHead head = load_head(model, 1);
  const at::Tensor logits = window_logits(states, head)(0);
  std::ofstream out(argv[2], std::ios::binary);
  out.write(static_cast<const char*>(logits.data_ptr()),
            static_cast<std::streamsize>(logits.nbytes()));
  return out.flush() ? 0 : 1;
}
