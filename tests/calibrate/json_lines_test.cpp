#include "calibrate/json_lines.h"

#include <numeric>

#include "base/error.h"
#include "calibrate/layer_inputs.h"
#include "calibrate/token_windows.h"
#include "support/catch.h"
#include "support/random_block.h"
#include "support/refusal.h"
#include "support/temp_dir.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

using Sequences = std::vector<std::vector<std::int32_t>>;

TEST_CASE("a line's ids are a sequence, and what its mask leaves out is no token", "[calibrate]") {
  const TempDir folder;
  const auto file = folder.write("ids.jsonl",
                                 "{\"input_ids\": [1, 2, 3], \"labels\": [9]}\n"
                                 "\n"
                                 "  \r\n"
                                 "{\"input_ids\": [0, 0, 4, 5], \"attention_mask\": [0, 0, 1, 1]}");
  CHECK(is_json_lines(file));
  CHECK(holds_token_ids(file));
  CHECK(read_id_lines(file, 6) == Sequences{{1, 2, 3}, {4, 5}});
}

TEST_CASE("a line's text is as JSON says it, with its number", "[calibrate]") {
  const TempDir folder;
  const auto file = folder.write(
      "t.jsonl",
      "{\"text\": \"one\\ntwo\", \"url\": 1}\n{\"text\": \"\"}\n{\"text\": \"\\u00e4\"}\n");
  CHECK_FALSE(holds_token_ids(file));
  const std::vector<TextLine> lines = read_text_lines(file);
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].number == 1);
  CHECK(lines[0].text == "one\ntwo");
  CHECK(lines[1].number == 3);
  CHECK(lines[1].text == "\xc3\xa4");
}

struct BadLine {
  std::string second;
  std::string words;
};

TEST_CASE("a wrong line is refused by its number", "[calibrate][lies]") {
  const TempDir folder;
  const BadLine ids[] = {
      {"{\"input_ids\": [1, 2", "not JSON"},
      {"[1, 2]", "expected an object"},
      {"{\"text\": \"a\"}", "has \"text\", but lines before have \"input_ids\""},
      {"{\"ids\": [1, 2]}", "neither \"text\" nor \"input_ids\""},
      {"{\"input_ids\": 7}", "must be an array"},
      {"{\"input_ids\": [1, 2.5]}", "must be integers, found 2.5"},
      {"{\"input_ids\": [1, \"2\"]}", "must be integers"},
      {"{\"input_ids\": [1, 6]}", "must be from 0 to 5, found 6"},
      {"{\"input_ids\": [1, -1]}", "must be from 0 to 5, found -1"},
      {"{\"input_ids\": [1, 18446744073709551615]}", "must be from 0 to 5"},
      {"{\"input_ids\": [1]}", "at least 2 tokens"},
      {"{\"input_ids\": [1, 2], \"attention_mask\": [1, 0]}", "without padding, this one has 1"},
      {"{\"input_ids\": [1, 2], \"attention_mask\": [1]}", "1 entries for 2 ids"},
      {"{\"input_ids\": [1, 2], \"attention_mask\": [1, 2]}", "must be from 0 to 1, found 2"},
  };
  for (const BadLine& bad : ids) {
    CAPTURE(bad.second);
    const auto file = folder.write("bad.jsonl", "{\"input_ids\": [1, 2]}\n" + bad.second + "\n");
    const auto refusal = refusal_of([&] { read_id_lines(file, 6); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->code == "F26");
    CHECK(refusal->says("bad.jsonl line 2"));
    CHECK(refusal->says(bad.words));
  }
  const BadLine texts[] = {
      {"{\"text\": 5}", "must be a text"},
      {"{\"input_ids\": [1, 2]}", "has \"input_ids\", but lines before have \"text\""},
  };
  for (const BadLine& bad : texts) {
    CAPTURE(bad.second);
    const auto file = folder.write("bad.jsonl", "{\"text\": \"a\"}\n" + bad.second + "\n");
    const auto refusal = refusal_of([&] { read_text_lines(file); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->says("bad.jsonl line 2"));
    CHECK(refusal->says(bad.words));
  }
  const auto file = folder.write("ids.jsonl", "{\"input_ids\": [1, 2]}\n");
  CHECK(refusal_of([&] { read_text_lines(file); })->says("only calibration takes"));
}

TEST_CASE("sequences become windows with a short last one, spread when few are wanted",
          "[calibrate]") {
  std::vector<std::int32_t> ten(10);
  std::iota(ten.begin(), ten.end(), 0);
  const Sequences sequences{ten, {20, 21}, {30, 31, 32, 33, 34}};
  const TokenWindows all = sequence_windows(sequences, {.length = 4, .max_count = {}}, "s");
  CHECK(all.lengths == std::vector<std::int64_t>{4, 4, 2, 2, 4});  // 34 alone is no sequence
  CHECK(all.text_tokens == 17);
  CHECK(all.window(2)[1] == 9);
  CHECK(all.window(4)[0] == 30);
  const TokenWindows two = sequence_windows(sequences, {.length = 4, .max_count = 2}, "s");
  CHECK(two.count == 2);
  CHECK(two.window(1)[0] == 8);  // floor(1 * 5 / 2) = 2
  CHECK(two.sha256 != all.sha256);
  const Sequences other{{0, 1}, {2, 3, 4}};
  const Sequences same_ids{{0, 1, 2}, {3, 4}};
  CHECK(sequence_windows(other, {.length = 4, .max_count = {}}, "s").sha256 !=
        sequence_windows(same_ids, {.length = 4, .max_count = {}}, "s").sha256);
}

/// The second moments of what a group reads when each sequence passes the block alone.
at::Tensor moments_one_by_one(const Sequences& sequences, const BlockWeights& block,
                              const at::Tensor& embedding, const RotaryTable& rotary,
                              InputGroup wanted) {
  at::Tensor sum;
  std::int64_t tokens = 0;
  for (const std::vector<std::int32_t>& sequence : sequences) {
    std::vector<std::int64_t> rows(sequence.begin(), sequence.end());
    const at::Tensor hidden = embedding.index_select(0, at::tensor(rows, at::kLong)).unsqueeze(0);
    block_forward(block, rotary, hidden, [&](InputGroup group, const at::Tensor& input) {
      if (group != wanted) return;
      const at::Tensor x = input.flatten(0, 1).to(at::kDouble);
      sum = sum.defined() ? sum + x.t().mm(x) : x.t().mm(x);
      tokens += x.size(0);
    });
  }
  return sum / static_cast<double>(tokens);
}

TEST_CASE("padding changes no layer's second moments, and each token counts once",
          "[calibrate][property]") {
  constexpr std::int64_t kHidden = 16;
  const BlockShape shape{
      .num_attention_heads = 2, .num_key_value_heads = 1, .intermediate_size = 24};
  const BlockWeights block = random_block(shape, kHidden, 8, 7);
  const RotaryTable rotary = test_rotary_table(8, 9);
  const at::Tensor embedding = at::randn({13, kHidden});
  const Sequences sequences{{1, 2, 3, 4, 5, 6, 7, 8, 9}, {10, 11}, {12, 0, 3, 5}};
  const TokenWindows windows = sequence_windows(sequences, {.length = 9, .max_count = {}}, "s");
  HiddenStates states(windows, embedding, {});
  CHECK(states.num_tokens() == 15);
  SequentialBlock tokens(states, rotary, {}, {});
  for (const InputGroup group : kInputGroups) {
    CAPTURE(static_cast<int>(group));
    const LayerInputs inputs = gather_inputs(tokens, group, block, CalibrationNeed::Hessian);
    const at::Tensor expected = moments_one_by_one(sequences, block, embedding, rotary, group);
    // products in float of 15 terms of size up to 10
    CHECK((inputs.hessian - expected).abs().max().item<double>() < 1e-4);
    CHECK(expected.abs().max().item<double>() > 0.1);
  }
}

}  // namespace
}  // namespace edgecompress
