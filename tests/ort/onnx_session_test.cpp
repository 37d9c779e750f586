#include "ort_fixtures.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Floats = std::vector<float>;
using Ids = std::vector<std::int64_t>;

/// The inputs of standard.onnx for one sequence with an empty cache.
std::vector<OnnxTensor> inputs(const Ids& ids, const Ids& positions) {
  const std::int64_t length = std::ssize(ids);
  std::vector<OnnxTensor> tensors{{"input_ids", {1, length}, ids},
                                  {"attention_mask", {1, length}, Ids(ids.size(), 1)},
                                  {"position_ids", {1, length}, positions}};
  for (const char* part : {"key", "value"}) {
    tensors.push_back({concat("past_key_values.0.", part), {1, 1, 0, 16}, Floats{}});
    tensors.push_back({concat("past_key_values.1.", part), {1, 2, 0, 32}, Floats{}});
  }
  return tensors;
}

}  // namespace

TEST_CASE("ONNX Runtime reports its version", "[ort]") {
  CHECK(runtime().version().starts_with("1."));
}

TEST_CASE("all outputs come back named, in the graph's order, with their shapes", "[ort]") {
  OnnxSession session(runtime(), fixture("standard.onnx"), {});
  const std::vector<OnnxTensor> outputs = session.run(inputs({7, 8, 9}, {0, 1, 2}));
  REQUIRE(outputs.size() == 5);
  CHECK(outputs[0].name == "logits");
  CHECK(outputs[0].shape == Ids{1, 3, 40});
  CHECK(outputs[2].name == "present.0.value");
  CHECK(outputs[2].shape == Ids{1, 1, 3, 16});
  CHECK(outputs[3].name == "present.1.key");
  CHECK(outputs[3].shape == Ids{1, 2, 3, 32});
}

TEST_CASE("a decoder session computes what the plain session computes", "[ort]") {
  OnnxSession session(runtime(), fixture("standard.onnx"), {});
  DecoderSession decoder(runtime(), fixture("standard.onnx"), {});
  const Ids ids{11, 2, 30, 4};
  const std::span<const float> found = decoder.run(ids, 1);
  const Floats expected = std::get<Floats>(session.run(inputs(ids, {0, 1, 2, 3}))[0].values);
  CHECK(Floats(found.begin(), found.end()) == expected);
  const Floats moved = std::get<Floats>(session.run(inputs(ids, {0, 1, 2, 4}))[0].values);
  CHECK(moved != expected);  // so the positions handed over do count
}

TEST_CASE("wrong inputs are refused in ONNX Runtime's words", "[ort]") {
  OnnxSession session(runtime(), fixture("standard.onnx"), {});
  std::vector<OnnxTensor> tensors = inputs({1, 2}, {0, 1});
  const auto words = [&](std::initializer_list<std::string> wanted) {
    return words_missing_in(error_of([&] { session.run(tensors); }), wanted);
  };
  SECTION("a name the graph has not") {
    tensors[0].name = "inputs";
    CHECK(words({"inputs"}) == "");
  }
  SECTION("another number of dimensions") {
    tensors[0].shape = {2};
    CHECK(words({"input_ids", "rank"}) == "");
  }
  SECTION("another type") {
    tensors[0].values = Floats{1, 2};
    CHECK(words({"tensor(float)", "tensor(int64)"}) == "");
  }
  SECTION("fewer values than the shape says") {
    tensors[0].shape = {1, 3};
    CHECK(words({"handing over"}) == "");
  }
}

}  // namespace edgecompress
