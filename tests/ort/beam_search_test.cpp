#include "ort/beam_search.h"

#include <cmath>

#include "ort/generation.h"
#include "ort_fixtures.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Ids = std::vector<std::int64_t>;

constexpr std::int64_t kVocab = 40;  // of the fixtures
const Ids kPrompt{3, 17, 5, 29};

/// Log-probabilities of the token behind a sequence, from one run over the whole of it.
std::vector<double> log_probabilities(DecoderSession& session, const Ids& sequence) {
  session.reset();
  const std::span<const float> logits = session.run(sequence, 1).last(kVocab);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  std::vector<double> out;
  for (const float logit : logits) out.push_back(logit - std::log(sum));
  return out;
}

/// Mean log-probability of `tokens` behind the prompt.
double mean_of(DecoderSession& session, const Ids& tokens) {
  Ids sequence = kPrompt;
  double sum = 0;
  for (const std::int64_t token : tokens) {
    sum += log_probabilities(session, sequence)[static_cast<std::size_t>(token)];
    sequence.push_back(token);
  }
  return sum / static_cast<double>(tokens.size());
}

/// The largest mean of two tokens, or of an end token alone.
double best_of_all_pairs(DecoderSession& session, std::int64_t end) {
  double best = -INFINITY;
  const std::vector<double> first = log_probabilities(session, kPrompt);
  for (std::int64_t a = 0; a < kVocab; ++a) {
    const double so_far = first[static_cast<std::size_t>(a)];
    if (a == end) {
      best = std::max(best, so_far);
      continue;
    }
    Ids sequence = kPrompt;
    sequence.push_back(a);
    for (const double second : log_probabilities(session, sequence)) {
      best = std::max(best, (so_far + second) / 2);
    }
  }
  return best;
}

// Logits of the two ways differ by some 1e-4 at most (decoder_session_test.cpp).
constexpr double kRounding = 1e-3;

TEST_CASE("as many beams as tokens find the best of all continuations", "[ort]") {
  const std::string graph = GENERATE("gqa.onnx", "standard.onnx");
  CAPTURE(graph);
  DecoderSession session(runtime(), fixture(graph), {});
  const Ids greedy = generate_tokens(session, kPrompt, {.max_tokens = 2});
  for (const std::int64_t end : {std::int64_t{-1}, greedy[0], greedy[1]}) {
    CAPTURE(end);
    const Ids found =
        search_beams(session, kPrompt, {.beams = kVocab, .max_tokens = 2, .end_tokens = {end}});
    CHECK((found.size() == 2 || (found.size() == 1 && found[0] == end)));
    CHECK(mean_of(session, found) >= best_of_all_pairs(session, end) - kRounding);
  }
}

TEST_CASE("one beam is the greedy continuation", "[ort]") {
  DecoderSession session(runtime(), fixture("gqa.onnx"), {});
  const Ids greedy = generate_tokens(session, kPrompt, {.max_tokens = 8});
  CHECK(search_beams(session, kPrompt, {.beams = 1, .max_tokens = 8}) == greedy);
  CHECK(search_beams(session, kPrompt, {.beams = 1, .max_tokens = 8, .end_tokens = {greedy[2]}}) ==
        generate_tokens(session, kPrompt, {.max_tokens = 8, .end_tokens = {greedy[2]}}));
}

TEST_CASE("beams go on with the cache of the beam they come from", "[ort]") {
  // Beams change places at every token; a wrong cache would follow other probabilities.
  DecoderSession session(runtime(), fixture("standard.onnx"), {});
  const Ids found = search_beams(session, kPrompt, {.beams = 12, .max_tokens = 5});
  const Ids greedy = generate_tokens(session, kPrompt, {.max_tokens = 5});
  CHECK(mean_of(session, found) >= mean_of(session, greedy) - kRounding);
}

TEST_CASE("rows of the cache can be chosen, left out and repeated", "[ort]") {
  const std::string graph = GENERATE("gqa.onnx", "standard.onnx");
  CAPTURE(graph);
  DecoderSession session(runtime(), fixture(graph), {});
  const Ids first{3, 17, 5, 8, 2, 31};  // two sequences of three
  const auto logits_behind = [&](const Ids& rows, const Ids& next) {
    session.reset();
    session.run(first, 2);
    if (!rows.empty()) session.select_rows(rows);
    const std::span<const float> logits = session.run(next, std::ssize(next));
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::vector<float> both = logits_behind({}, {7, 11});
  const std::vector<float> chosen = logits_behind({1, 0, 1}, {11, 7, 11});
  REQUIRE(chosen.size() == 3 * kVocab);
  for (std::size_t i = 0; i < kVocab; ++i) {
    CHECK(std::abs(chosen[i] - both[kVocab + i]) <= kRounding);
    CHECK(std::abs(chosen[kVocab + i] - both[i]) <= kRounding);
    CHECK(std::abs(chosen[2 * kVocab + i] - both[kVocab + i]) <= kRounding);
  }
}

}  // namespace
}  // namespace edgecompress
