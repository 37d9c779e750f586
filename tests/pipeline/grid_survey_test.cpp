#include "pipeline/grid_survey.h"

#include <ATen/Parallel.h>

#include "decoder/language_model_head.h"
#include "llama/linear_layers.h"
#include "pipeline/layer_steps.h"
#include "quantize/rtn.h"
#include "support/catch.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr QuantScheme kCoarse{.bits = 4, .group_size = 128};

/// The second window is half padding.
TokenWindows two_windows() {
  TokenWindows windows;
  windows.count = 2;
  windows.length = 40;
  for (std::int64_t i = 0; i < 80; ++i) {
    windows.ids.push_back(static_cast<std::int32_t>(i * i * 13 % 1999));
  }
  windows.lengths = {40, 20};
  return windows;
}

BlockWeights with_rounded(BlockWeights block, InputGroup group) {
  for (const LinearKind kind : layers_of(group)) {
    const at::Tensor weight = block.weight(kind).contiguous();
    const std::span<const float> values{weight.const_data_ptr<float>(),
                                        static_cast<std::size_t>(weight.numel())};
    block.weight(kind) = dequantized(quantize_rtn(values, weight.size(0), weight.size(1), kCoarse,
                                                  {.clip = ClipSearch::WeightError}, 1),
                                     1);
  }
  return block;
}

TEST_CASE("a group's divergence is that of the model with this group rounded", "[pipeline]") {
  const ModelFolder model = ModelFolder::open(EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama");
  const TokenWindows windows = two_windows();
  const RotaryTable rotary = make_rotary_table(model.config(), windows.length, at::kCPU);
  const LanguageModelHead head = load_head(model, 1);
  const auto log_p = [&](std::int64_t rounded, InputGroup group) {
    HiddenStates states(windows, model.matrix(kEmbeddingModule), HiddenStateStorage{});
    at::Tensor hidden = states.windows(0, 2).clone();
    for (std::int64_t index = 0; index < model.config().num_blocks(); ++index) {
      const BlockWeights block = load_block(model, index, 1);
      hidden =
          block_forward(index == rounded ? with_rounded(block, group) : block, rotary, hidden, {});
    }
    // the last token of a window predicts nothing
    const at::Tensor predicting =
        at::cat({hidden[0].slice(0, 0, 39), hidden[1].slice(0, 0, 19)}).contiguous();
    return head_logits(head, predicting).to(at::kDouble).log_softmax(-1, at::kDouble);
  };
  const at::Tensor dense = log_p(-1, InputGroup::QKV);
  const MeasuredGrids grids{.schemes = {kCoarse, {.bits = 8, .group_size = 128}},
                            .sensitivity = GridSensitivity::Divergence};
  const std::vector<BlockGridErrors> errors = measure_grid_errors(model, windows, grids, {}, {});
  REQUIRE(errors.size() == 4);
  for (const auto& [block, group] :
       {std::pair(0, InputGroup::QKV), std::pair(2, InputGroup::Down)}) {
    const at::Tensor changed = log_p(block, group);
    const double expected = (dense.exp() * (dense - changed)).sum(-1).mean().item<double>();
    const std::vector<double>& found =
        errors[static_cast<std::size_t>(block)][static_cast<std::size_t>(group)];
    CHECK(found[0] == Approx(expected).epsilon(1e-3));
    CHECK(found[1] < found[0] / 50);  // 8 bits: 256 times less of the squared error
  }
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  EvaluationOptions three_threads;
  three_threads.num_threads = 3;
  CHECK((measure_grid_errors(model, windows, grids, three_threads, {}) == errors));
  at::set_num_threads(before);
}

}  // namespace
}  // namespace edgecompress
