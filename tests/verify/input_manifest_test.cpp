#include "verify/input_manifest.h"

#include <span>
#include <string>

#include "base/error.h"
#include "base/sha256.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;

const std::string kHash(64, 'a');

std::string hash_of(const std::string& text) { return sha256_hex(std::as_bytes(std::span(text))); }

std::string refusal(const TempDir& folder) {
  try {
    check_input_hashes(folder.path() / "model", folder.path() / "list", 2, [](const auto&) {});
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Malformed);
    CHECK(error.code() == "I-HASH");
    return error.what();
  }
  return {};
}

TEST_CASE("lines of sha256sum and a manifest give hashes by name", "[verify]") {
  const std::string upper(64, 'A');
  const auto lines = parse_input_hashes(
      kHash + "  config.json\r\n\n" + upper + " *./a b.safetensors\n" + kHash + "  last", "list");
  REQUIRE(lines.size() == 3);
  CHECK(lines.at("config.json") == kHash);
  CHECK(lines.at("a b.safetensors") == kHash);
  CHECK(lines.at("last") == kHash);

  const auto manifest = parse_input_hashes(
      "\n{\"schema\": \"edgecompress.manifest/v1\", \"tool_version\": \"1\", \"files\": "
      "{\"config.json\": {\"bytes\": 3, \"sha256\": \"" +
          kHash + "\"}}}",
      "list");
  REQUIRE(manifest.size() == 1);
  CHECK(manifest.at("config.json") == kHash);
}

TEST_CASE("a list of hashes that is none is refused with its line", "[verify]") {
  struct Bad {
    std::string text;
    const char* words;
  };
  for (const Bad& bad : {
           Bad{concat(kHash, "  a\n", kHash.substr(1), "  b\n"), "line 2"},
           Bad{concat(kHash, "\n"), "line 1"},
           Bad{concat(kHash, "  "), "line 1"},
           Bad{concat(kHash, " a b\n"), "line 1"},
           Bad{concat(std::string(64, 'g'), "  a\n"), "expected a line of sha256sum"},
           Bad{concat("\\", kHash, "  a\\nb\n"), "line 1"},
           Bad{concat(kHash, "  a\n", std::string(64, 'b'), "  ./a\n"), "line 2: lists a again"},
           Bad{"<html>\x1b[2J", "found \"<html>\\x1B"},
       }) {
    CAPTURE(bad.text);
    try {
      parse_input_hashes(bad.text, "list");
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.code() == "V1");
      CHECK_THAT(error.what(), Contains(bad.words));
    }
  }
}

TEST_CASE("a model is refused whose files are not the listed ones", "[verify]") {
  const TempDir folder;
  std::filesystem::create_directory(folder.path() / "model");
  folder.write("model/config.json", "{}");
  folder.write("model/model.safetensors", "weights");
  folder.write("model/notes.txt", "decides nothing");
  const std::string config = hash_of("{}") + "  config.json\n";
  const std::string weights = hash_of("weights") + "  model.safetensors\n";

  folder.write("list", config + weights + kHash + "  not-there\n");
  CHECK(refusal(folder).empty());
  folder.write("list", config);
  CHECK_THAT(refusal(folder), Contains("model.safetensors: not listed") && !Contains("config"));
  folder.write("list", config + weights);
  folder.write("model/model.safetensors", "Weights");
  CHECK_THAT(refusal(folder), Contains("model.safetensors: sha256 " + hash_of("Weights")) &&
                                  Contains("listed " + hash_of("weights")) && !Contains("config"));
}

}  // namespace
}  // namespace edgecompress
