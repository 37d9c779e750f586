#include "calibrate/dense_reference.h"

#include "support/catch.h"
#include "support/random_block.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHidden = 16;
constexpr std::int64_t kWindows = 5;
constexpr std::int64_t kLength = 1100;  // three windows fill a piece: the last one is short
constexpr auto kTokens = static_cast<double>(kWindows * kLength);
const BlockShape kDenseShape{
    .num_attention_heads = 4, .num_key_value_heads = 2, .intermediate_size = 24};
const BlockShape kCutShape{
    .num_attention_heads = 2, .num_key_value_heads = 1, .intermediate_size = 20};

struct Model {
  BlockWeights block;
  HiddenStates states;
};

Model make_model(const BlockShape& shape, std::uint64_t seed) {
  Model model{random_block(shape, kHidden, 8, seed), HiddenStates(kWindows, kLength, kHidden, {})};
  model.states.windows(0, kWindows).copy_(at::randn({kWindows, kLength, kHidden}));
  return model;
}

/// What a group reads, and what its output is added to, [tokens, ..] double.
struct Seen {
  at::Tensor inputs;
  at::Tensor residual;
};

Seen seen_by(Model& model, const RotaryTable& rotary, InputGroup wanted) {
  const at::Tensor hidden = model.states.windows(0, kWindows);
  Seen seen;
  block_forward(model.block, rotary, hidden, [&](InputGroup group, const at::Tensor& input) {
    if (group == wanted) seen.inputs = input.flatten(0, 1).to(at::kDouble);
  });
  const at::Tensor mixed = attention_mix(
      model.block, rotary, rms_norm(hidden, model.block.input_norm, model.block.rms_norm_eps));
  const at::Tensor behind = hidden + linear_output(model.block, LinearKind::O, mixed);
  seen.residual = (wanted == InputGroup::O ? hidden : behind).flatten(0, 1).to(at::kDouble);
  return seen;
}

// Products in float of at most 1024 tokens: 1024 terms of size 1, each rounded to 2^-24 and summed.
constexpr double kRounding = 1e-4;

TEST_CASE("the wanted output of a layer closes the gap between the two residual streams",
          "[calibrate][property]") {
  const RotaryTable rotary = test_rotary_table(8, kLength);
  Model dense = make_model(kDenseShape, 1);
  Model cut = make_model(kCutShape, 2);
  DenseReference reference(dense.states, dense.block, rotary, {}, {});
  SequentialBlock tokens(cut.states, rotary, {}, {});
  for (const LinearKind kind : {LinearKind::O, LinearKind::Down}) {
    const InputGroup group = input_group(kind);
    if (kind == LinearKind::Down) {
      tokens.show(InputGroup::GateUp, cut.block, [](const at::Tensor&) {});
      reference.skip(InputGroup::GateUp);
    }
    const ReferencedInputs found = reference.gather(tokens, group, cut.block);
    const Seen now = seen_by(cut, rotary, group);
    const Seen then = seen_by(dense, rotary, group);
    const at::Tensor wanted =
        at::matmul(then.inputs, dense.block.weight(kind).to(at::kDouble).t()) + then.residual -
        now.residual;
    const at::Tensor moment = at::matmul(wanted.t(), now.inputs) / kTokens;
    CHECK(at::allclose(wanted_outputs(dense.block.weight(kind), found.dense), moment, kRounding,
                       kRounding));
    const at::Tensor hessian = at::matmul(now.inputs.t(), now.inputs) / kTokens;
    CHECK(at::allclose(found.inputs.hessian, hessian, kRounding, kRounding));
  }
}

TEST_CASE("a layer inside a half-block is wanted to give the dense layer's own output",
          "[calibrate]") {
  const RotaryTable rotary = test_rotary_table(8, kLength);
  Model dense = make_model(kDenseShape, 3);
  Model cut = make_model(kCutShape, 4);
  DenseReference reference(dense.states, dense.block, rotary, {}, {});
  SequentialBlock tokens(cut.states, rotary, {}, {});
  const ReferencedInputs found = reference.gather(tokens, InputGroup::QKV, cut.block);
  CHECK_FALSE(found.dense.residual.defined());
  const Seen now = seen_by(cut, rotary, InputGroup::QKV);
  const Seen then = seen_by(dense, rotary, InputGroup::QKV);
  const at::Tensor weight = dense.block.weight(LinearKind::K);
  const at::Tensor wanted = at::matmul(then.inputs, weight.to(at::kDouble).t());
  CHECK(at::allclose(wanted_outputs(weight, found.dense),
                     at::matmul(wanted.t(), now.inputs) / kTokens, kRounding, kRounding));
}

TEST_CASE("the dense model's states are left as they were, also in a file", "[calibrate]") {
  const RotaryTable rotary = test_rotary_table(8, kLength);
  Model dense = make_model(kDenseShape, 5);
  Model cut = make_model(kCutShape, 6);
  const at::Tensor before = dense.states.windows(0, kWindows).clone();
  const HiddenStateStorage file{.memory_limit_bytes = 1, .spill_folder = {}};
  const auto moments = [&](const HiddenStateStorage& storage) {
    DenseReference reference(dense.states, dense.block, rotary, {}, storage);
    SequentialBlock tokens(cut.states, rotary, {}, storage);
    return reference.gather(tokens, InputGroup::O, cut.block).dense;
  };
  const DenseMoments in_memory = moments({});
  const DenseMoments in_file = moments(file);
  CHECK(in_memory.inputs.equal(in_file.inputs));
  CHECK(in_memory.residual.equal(in_file.residual));
  CHECK(before.equal(dense.states.windows(0, kWindows)));
}

}  // namespace
}  // namespace edgecompress
