#include "ort/generation.h"

#include <cmath>
#include <map>

#include "ort_fixtures.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

const std::vector<float> kLogits{0.5F, 2.0F, 1.0F, 2.0F, -1.0F};

TEST_CASE("greedy takes the most likely token, the first of equals", "[ort]") {
  for (const double uniform : {0.0, 0.5, 0.99}) CHECK(pick_token(kLogits, {}, uniform) == 1);
}

TEST_CASE("sampling gives each token its share of the softmax", "[ort]") {
  constexpr int kSteps = 20'000;
  std::map<std::int64_t, int> counts;
  for (int i = 0; i < kSteps; ++i) {
    ++counts[pick_token(kLogits, {.temperature = 0.7}, (i + 0.5) / kSteps)];
  }
  double sum = 0;
  for (const float logit : kLogits) sum += std::exp(logit / 0.7);
  for (std::size_t id = 0; id < kLogits.size(); ++id) {
    // evenly spaced numbers miss an interval's length by at most one step on each side
    const double share = std::exp(kLogits[id] / 0.7) / sum;
    CHECK(std::abs(counts[static_cast<std::int64_t>(id)] - share * kSteps) <= 2);
  }
}

TEST_CASE("top-k and top-p leave the most likely tokens", "[ort]") {
  const auto picked = [](const GenerationOptions& options) {
    std::map<std::int64_t, int> counts;
    for (int i = 0; i < 1000; ++i) ++counts[pick_token(kLogits, options, i / 1000.0)];
    std::vector<std::int64_t> ids;
    for (const auto& [id, count] : counts) ids.push_back(id);
    return ids;
  };
  CHECK(picked({.temperature = 1, .top_k = 2}) == std::vector<std::int64_t>{1, 3});
  CHECK(picked({.temperature = 1, .top_k = 3}) == std::vector<std::int64_t>{1, 2, 3});
  // shares: 1 and 3 have 0.366 each, 2 has 0.135
  CHECK(picked({.temperature = 1, .top_p = 0.3}) == std::vector<std::int64_t>{1});
  CHECK(picked({.temperature = 1, .top_p = 0.7}) == std::vector<std::int64_t>{1, 3});
  CHECK(picked({.temperature = 1, .top_p = 0.8}) == std::vector<std::int64_t>{1, 2, 3});
}

TEST_CASE("a logit that is not finite is refused", "[ort]") {
  const std::vector<float> logits{1.0F, std::nanf("")};
  CHECK(error_of([&] { pick_token(logits, {}, 0); }).code() == "F20");
}

TEST_CASE("tokens made with the cache are those of the whole sequence", "[ort]") {
  DecoderSession session(runtime(), fixture("gqa.onnx"), {});
  std::vector<std::int64_t> sequence{3, 17, 5, 29};
  const std::vector<std::int64_t> tokens = generate_tokens(session, sequence, {.max_tokens = 6});
  REQUIRE(tokens.size() == 6);
  for (const std::int64_t token : tokens) {
    session.reset();
    const auto vocab_size = static_cast<std::size_t>(session.vocab_size());
    CHECK(pick_token(session.run(sequence, 1).last(vocab_size), {}, 0) == token);
    sequence.push_back(token);
  }
  CHECK(generate_tokens(session, std::vector<std::int64_t>{3, 17, 5, 29},
                        {.max_tokens = 6, .end_tokens = {tokens[1]}}) ==
        std::vector<std::int64_t>(tokens.begin(), tokens.begin() + 2));
  const GenerationOptions sampling{.max_tokens = 20, .temperature = 2, .seed = 5};
  const std::vector<std::int64_t> sampled = generate_tokens(session, sequence, sampling);
  CHECK(sampled == generate_tokens(session, sequence, sampling));
  GenerationOptions other = sampling;
  other.seed = 6;
  CHECK(sampled != generate_tokens(session, sequence, other));
}

}  // namespace
}  // namespace edgecompress
