#include "verify/manifest.h"

#include <string>

#include "base/error.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

const std::string kHash(64, 'a');

std::string with_files(const std::string& files) {
  return R"({"schema": "edgecompress.manifest/v1", "tool_version": "0.1", "files": )" + files + "}";
}

std::string one_file(const std::string& name) {
  return with_files("{\"" + name + "\": {\"bytes\": 3, \"sha256\": \"" + kHash + "\"}}");
}

TEST_CASE("a manifest that was written reads back as it was", "[verify]") {
  const Manifest manifest{.tool_version = "1.2",
                          .files = {{"checkpoint/a.json", {.size_bytes = 5, .sha256 = kHash}},
                                    {"b", {.size_bytes = 0, .sha256 = std::string(64, '0')}}}};
  const Manifest read = parse_manifest(manifest_text(manifest), "m");
  CHECK(read.tool_version == "1.2");
  REQUIRE(read.files.size() == 2);
  CHECK(read.files.at("checkpoint/a.json").size_bytes == 5);
  CHECK(read.files.at("checkpoint/a.json").sha256 == kHash);
  CHECK(read.files.at("b").sha256 == std::string(64, '0'));
}

TEST_CASE("a manifest that lies about itself is refused with what is wrong", "[verify]") {
  struct Lie {
    std::string text;
    const char* code;
    const char* words;
  };
  for (const Lie& lie : {
           Lie{"", "J-JSON", ""},
           Lie{"[]", "V1", "schema"},
           Lie{R"({"schema": "edgecompress.manifest/v2", "tool_version": "", "files": {}})", "V1",
               "another schema"},
           Lie{R"({"schema": 1, "tool_version": "", "files": {}})", "J-JSON", "schema"},
           Lie{R"({"schema": "edgecompress.manifest/v1", "files": {}})", "V1", "tool_version"},
           Lie{with_files("[]"), "V1", "not an object"},
           Lie{with_files(R"({"a": 1})"), "V1", "sha256"},
           Lie{with_files(R"({"a": {"bytes": 1, "sha256": "abc"}})"), "V1", "64 hexadecimal"},
           Lie{with_files(R"({"a": {"bytes": -1, "sha256": ")" + kHash + "\"}}"), "J-JSON", "-1"},
           Lie{with_files(R"({"a": {"bytes": 1.5, "sha256": ")" + kHash + "\"}}"), "J-JSON", "1.5"},
           Lie{one_file("../x"), "V1", "no path inside"},
           Lie{one_file("a/../../x"), "V1", "no path inside"},
           Lie{one_file("/etc/passwd"), "V1", "no path inside"},
           Lie{one_file("a//b"), "V1", "no path inside"},
           Lie{one_file("./a"), "V1", "no path inside"},
           Lie{one_file("a/"), "V1", "no path inside"},
           Lie{one_file(""), "V1", "no path inside"},
           Lie{one_file("a\\\\b"), "V1", "no path inside"},
           Lie{one_file("a\\u0000b"), "V1", "no path inside"},
           Lie{one_file(std::string(5000, 'x')), "V1", "no path inside"},
       }) {
    CAPTURE(lie.text, lie.words);
    try {
      parse_manifest(lie.text, "m");
      FAIL("it was read");
    } catch (const Error& error) {
      CHECK(error.code() == lie.code);
      CHECK(error.kind() == ErrorKind::Malformed);
      CHECK(std::string(error.what()).find(lie.words) != std::string::npos);
    }
  }
}

TEST_CASE("ordinary names inside a folder are accepted", "[verify]") {
  for (const char* const name :
       {"a", "checkpoint/model-00001-of-00006.safetensors", "..a", "a b"}) {
    CHECK_NOTHROW(parse_manifest(one_file(name), "m"));
  }
}

}  // namespace
}  // namespace edgecompress
