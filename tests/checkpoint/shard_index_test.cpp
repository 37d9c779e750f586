#include "checkpoint/shard_index.h"

#include "file_bytes.h"
#include "support/catch.h"
#include "support/refusal.h"

namespace edgecompress {
namespace {

struct Lie {
  std::string code;
  std::string text;
  std::string words;
};

std::string mapping(const std::string& file) {
  return R"({"weight_map":{"first.weight":"good.safetensors","t":")" + file + R"("}})";
}

std::vector<Lie> lies() {
  std::string many = R"({"weight_map":{)";
  for (int i = 0; i <= 10'000; ++i) {
    const std::string n = std::to_string(i);
    many += "\"t" + n + R"(":"s)" + n + R"(.safetensors",)";
  }
  many.back() = '}';
  many += "}";
  const auto counted = [](const std::string& a, const std::string& b) {
    return R"({"weight_map":{"a":"model-)" + a + R"(.safetensors","b":"model-)" + b +
           R"(.safetensors"}})";
  };
  return {{"I1", "{", "not JSON"},
          {"I1", "[1]", "must be a JSON object"},
          {"I1", "\"x\"", "must be a JSON object"},
          {"I1", mapping("b.safetensors") + "x", "not JSON"},
          {"I2", "{}", "no weight_map"},
          {"I2", R"({"weight_map":null})", "null"},
          {"I2", R"({"weight_map":["a"]})", "array"},
          {"I2", R"({"weight_map":{}})", "empty"},
          {"I3", R"({"weight_map":{"t":5}})", "number"},
          {"I3", R"({"weight_map":{"t":["a.safetensors"]}})", "array"},
          {"I4", mapping("/etc/passwd.safetensors"), "absolute"},
          {"I5", mapping("../m.safetensors"), "one file name"},
          {"I5", mapping(".."), "one file name"},
          {"I5", mapping("a/../b.safetensors"), "one file name"},
          {"I5", mapping("sub/m.safetensors"), "one file name"},
          {"I5", mapping("a\\\\b.safetensors"), "one file name"},
          {"I5", mapping("C:m.safetensors"), "one file name"},
          {"I5", mapping("a%2Fb.safetensors"), "one file name"},
          {"I5", mapping("a\\u0000.safetensors"), "\\x00"},
          {"I5", mapping("a\\u001b[2J.safetensors"), "\\x1B"},
          {"I5", mapping(".hidden.safetensors"), "one file name"},
          {"I5", mapping(""), "one file name"},
          {"I5", mapping(std::string(256, 'n') + ".safetensors"), "255"},
          {"I12", R"({"weight_map":{"t":"a.safetensors","t":"b.safetensors"}})", "twice"},
          {"I15", counted("00001-of-00003", "00002-of-00003"), "names 2 of them"},
          {"I15", counted("00001-of-00002", "00003-of-00002"), "from 1 to 3"},
          {"I15", counted("00001-of-00002", "00002-of-00003"), "count differently"},
          {"I16", mapping("pytorch_model-00001-of-00002.bin"), "save_pretrained"},
          {"I16", mapping("m.safetensors.index"), ".safetensors"},
          {"I17", many, "10001"},
          {"I18", R"({"weight_map":{"a":"Model.safetensors","b":"model.safetensors"}})",
           "only in case"},
          {"S34", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
          {"S35", "<!doctype html>", "web page"}};
}

TEST_CASE("every lie of an index is refused by its code", "[checkpoint]") {
  for (const Lie& lie : lies()) {
    INFO("expected " << lie.code << " with \"" << lie.words << "\"");
    const auto refusal = refusal_of([&] { parse_shard_index(lie.text, "index.json"); });
    REQUIRE(refusal.has_value());
    INFO(refusal->message);
    CHECK(refusal->code == lie.code);
    CHECK(refusal->kind == ErrorKind::Malformed);
    CHECK(refusal->message.find(lie.words) != std::string::npos);
    CHECK(refusal->message.find("index.json") != std::string::npos);
  }
}

TEST_CASE("an index gives the shard of every tensor", "[checkpoint]") {
  const ShardIndex index = parse_shard_index(
      R"({"metadata":{"total_size":77},"weight_map":{"b":"model-00002-of-00002.safetensors",
          "a":"model-00001-of-00002.safetensors","../c d":"model-00001-of-00002.safetensors"}})",
      "index.json");
  CHECK(index.total_size == 77);
  CHECK(index.shards.size() == 2);
  CHECK(index.shard_of.at("b") == "model-00002-of-00002.safetensors");
  CHECK(index.shard_of.at("../c d") == "model-00001-of-00002.safetensors");
}

TEST_CASE("shard names without counts need not be counted", "[checkpoint]") {
  const ShardIndex index =
      parse_shard_index(R"({"weight_map":{"a":"part-x.safetensors","b":"y.safetensors"}})", "i");
  CHECK(index.shards.size() == 2);
  CHECK_FALSE(index.total_size.has_value());
}

}  // namespace
}  // namespace edgecompress
