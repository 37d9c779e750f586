#include <cmath>
#include <numeric>

#include "ort_fixtures.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

using Ids = std::vector<std::int64_t>;

constexpr std::int64_t kVocab = 40;  // of the fixtures

DecoderSession open(const std::string& name) { return {runtime(), fixture(name), {}}; }

/// Ids that differ from their neighbours and between sequences.
Ids some_ids(std::int64_t batch, std::int64_t length) {
  Ids ids;
  for (std::int64_t i = 0; i < batch * length; ++i) ids.push_back((i * i * 7 + i * 3 + 1) % kVocab);
  return ids;
}

/// The columns [first, first + count) of ids [batch, length].
Ids columns(const Ids& ids, std::int64_t batch, std::int64_t first, std::int64_t count) {
  const std::int64_t length = std::ssize(ids) / batch;
  Ids part;
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto begin = ids.begin() + b * length + first;
    part.insert(part.end(), begin, begin + count);
  }
  return part;
}

std::vector<float> logits(DecoderSession& session, const Ids& ids, std::int64_t batch) {
  const std::span<const float> found = session.run(ids, batch);
  return {found.begin(), found.end()};
}

/// The largest |a - b|.
float distance(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  REQUIRE(!a.empty());
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// Both ways sum the same at most 64 products of values below 4 in another order: 64 * 4 * 2^-24 per
// layer and head, three of them in a row.
constexpr float kRounding = 64 * 4 * 3 * 0x1p-24F;

/// Logits [batch, length, vocab] of a sequence run in pieces of the given lengths.
std::vector<float> in_pieces(DecoderSession& session, const Ids& ids, std::int64_t batch,
                             const Ids& pieces) {
  const std::int64_t length = std::ssize(ids) / batch;
  std::vector<float> all(static_cast<std::size_t>(batch * length * kVocab));
  std::int64_t done = 0;
  for (const std::int64_t piece : pieces) {
    const std::vector<float> part = logits(session, columns(ids, batch, done, piece), batch);
    for (std::int64_t b = 0; b < batch; ++b) {
      std::copy_n(part.begin() + b * piece * kVocab, piece * kVocab,
                  all.begin() + (b * length + done) * kVocab);
    }
    done += piece;
  }
  REQUIRE(done == length);
  return all;
}

}  // namespace

TEST_CASE("a sequence gives the same logits in one run and in pieces", "[ort]") {
  const std::string graph = GENERATE("gqa.onnx", "standard.onnx");
  const std::int64_t batch = GENERATE(1, 2);
  // GroupQueryAttention takes several new tokens after a past only for one sequence.
  const Ids pieces =
      batch == 1 || graph == "standard.onnx" ? Ids{9, 1, 1, 3, 1} : Ids{11, 1, 1, 1, 1};
  CAPTURE(graph, batch);
  DecoderSession session = open(graph);
  CHECK(session.vocab_size() == kVocab);
  const Ids ids = some_ids(batch, 15);
  const std::vector<float> whole = logits(session, ids, batch);
  session.reset();
  CHECK(distance(whole, in_pieces(session, ids, batch, pieces)) < kRounding);
}

TEST_CASE("what the cache holds changes the logits, and reset forgets it", "[ort]") {
  DecoderSession session = open(GENERATE("gqa.onnx", "standard.onnx"));
  const std::vector<float> first = logits(session, {3}, 1);
  session.reset();
  session.run(Ids{8, 21}, 1);
  CHECK(distance(first, logits(session, {3}, 1)) > 0.01F);
  session.reset();
  CHECK(logits(session, {3}, 1) == first);
}

TEST_CASE("sequences of a batch do not see each other", "[ort]") {
  DecoderSession session = open(GENERATE("gqa.onnx", "standard.onnx"));
  const Ids ids = some_ids(2, 6);
  const std::vector<float> both = logits(session, ids, 2);
  session.reset();
  const std::vector<float> second =
      logits(session, columns(Ids(ids.begin() + 6, ids.end()), 1, 0, 6), 1);
  CHECK(distance(std::span(both).subspan(6 * kVocab), second) < kRounding);
  CHECK(distance(std::span(both).first(6 * kVocab), second) > 0.01F);
}

TEST_CASE("after a reset another batch may run", "[ort]") {
  DecoderSession session = open("gqa.onnx");
  session.run(some_ids(2, 3), 2);
  CHECK_THROWS_AS(session.run(some_ids(1, 1), 1), std::logic_error);
  session.reset();
  CHECK(session.run(some_ids(3, 2), 3).size() == 3 * 2 * kVocab);
}

TEST_CASE("a failing run speaks in ONNX Runtime's words and leaves the cache as it was", "[ort]") {
  DecoderSession session = open("gqa.onnx");
  DecoderSession twin = open("gqa.onnx");
  session.run(some_ids(1, 30), 1);
  twin.run(some_ids(1, 30), 1);
  const Error error = error_of([&] { session.run(some_ids(1, 4), 1); });  // the tables end at 32
  CHECK(error.kind() == ErrorKind::Numeric);
  CHECK(words_missing_in(error, {"gqa.onnx", "ONNX Runtime", "GroupQueryAttention"}) == "");
  CHECK(logits(session, {5}, 1) == logits(twin, {5}, 1));
}

TEST_CASE("a token id outside the vocabulary is refused by name", "[ort]") {
  DecoderSession session = open("standard.onnx");
  const std::int64_t id = GENERATE(-1, kVocab);
  const Error error = error_of([&] { session.run(Ids{1, id}, 1); });
  CHECK(error.kind() == ErrorKind::Malformed);
  CHECK(words_missing_in(error, {concat("token id ", id), "vocabulary of 40"}) == "");
}

TEST_CASE("a graph that is no such decoder is refused with the reason", "[ort]") {
  struct Lie {
    std::string from, to, words;
  };
  const Lie lie = GENERATE(values<Lie>({
      {"input_ids", "token_ids", "input 'token_ids' is unknown"},
      {"present.1.key", "presant.1.key", "has no output 'present.1.key'"},
      {"past_key_values.0.value", "last_key_values.0.value", "input 'last_key_values.0.value'"},
      {"logits", "scores", "no output 'logits'"},
  }));
  const TempDir folder;
  const auto graph = folder.write("lie.onnx", renamed(fixture_bytes("gqa.onnx"), lie.from, lie.to));
  const Error error = error_of([&] { DecoderSession(runtime(), graph, {}); });
  CHECK(error.kind() == ErrorKind::Malformed);
  CHECK(words_missing_in(error, {lie.words, "lie.onnx"}) == "");
}

TEST_CASE("a graph that does not load is refused in ONNX Runtime's words", "[ort]") {
  const TempDir folder;
  const std::string whole = fixture_bytes("gqa.onnx");
  SECTION("cut off") {
    const auto graph = folder.write("cut.onnx", whole.substr(0, whole.size() / 2));
    const Error error = error_of([&] { DecoderSession(runtime(), graph, {}); });
    CHECK(error.kind() == ErrorKind::Malformed);
    CHECK(words_missing_in(error, {"cut.onnx", "ONNX Runtime", "parsing failed"}) == "");
  }
  SECTION("with an operator nobody knows") {
    const auto graph =
        folder.write("op.onnx", renamed(whole, "GroupQueryAttention", "GroupHugeAttention_"));
    const Error error = error_of([&] { DecoderSession(runtime(), graph, {}); });
    CHECK(words_missing_in(error, {"op.onnx", "GroupHugeAttention_"}) == "");
  }
  SECTION("absent") {
    const Error error = error_of([&] { DecoderSession(runtime(), folder.path() / "no.onnx", {}); });
    CHECK(error.kind() == ErrorKind::Missing);
  }
}

TEST_CASE("session options reach ONNX Runtime", "[ort]") {
  const TempDir folder;
  SECTION("a custom operator library that is absent") {
    const DecoderSessionOptions options{.custom_ops_library = folder.path() / "ops.so"};
    const Error error = error_of([&] { DecoderSession(runtime(), fixture("gqa.onnx"), options); });
    CHECK(error.kind() == ErrorKind::Usage);
    CHECK(words_missing_in(error, {"custom operators", "ops.so"}) == "");
  }
  SECTION("a configuration entry with an empty key") {
    const DecoderSessionOptions options{.config_entries = {{"", "1"}}};
    CHECK_THROWS_AS(DecoderSession(runtime(), fixture("gqa.onnx"), options), Error);
  }
  SECTION("threads and spinning") {
    const DecoderSessionOptions options{
        .num_threads = 2, .config_entries = {{"session.intra_op.allow_spinning", "0"}}};
    DecoderSession threaded(runtime(), fixture("gqa.onnx"), options);
    DecoderSession single = open("gqa.onnx");
    CHECK(distance(logits(threaded, {1, 2, 3}, 1), logits(single, {1, 2, 3}, 1)) < kRounding);
  }
}

}  // namespace edgecompress
