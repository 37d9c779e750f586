#include "report/model_card.h"

#include "report/sample_report.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;

TEST_CASE("a card states what was measured and the source's license", "[report]") {
  const std::string card = model_card(sample_report(), "llama2");
  CHECK(
      card.starts_with("---\nlicense: llama2\nbase_model: \"mini-llama\"\n"
                       "base_model_relation: quantized\nlibrary_name: onnxruntime-genai\n"));
  CHECK_THAT(card, Contains("- int4\n") && Contains("- pruned\n") && !Contains("- int8\n"));
  CHECK_THAT(card, Contains("      name: \"evaluation.txt\"\n") &&
                       Contains("      value: 15.7500\n---\n"));
  CHECK_THAT(card, Contains("## Stages"));
}

TEST_CASE("a card invents nothing", "[report]") {
  const std::string card = model_card(Report{}, "");
  CHECK_THAT(card, !Contains("license") && !Contains("model-index") && !Contains("int4"));
  CHECK_THAT(card, !Contains("base_model_relation"));
}

TEST_CASE("a name cannot break out of the front matter", "[report]") {
  Report report = sample_report();
  report.model_name = "a\"\nlicense: mit\n---\n";
  CHECK_THAT(model_card(report, ""), Contains("base_model: \"a\\\"license: mit---\"\n"));
}

TEST_CASE("a license is a plain word of the front matter or nothing", "[report]") {
  CHECK(license_of_card("---\nlicense: apache-2.0\ntags: []\n---\ntext") == "apache-2.0");
  CHECK(license_of_card("---\ntags: []\nlicense: llama2 \n---\n") == "llama2");
  CHECK(license_of_card("---\ntags: []\n---\nlicense: mit\n").empty());
  CHECK(license_of_card("# no front matter\nlicense: mit\n").empty());
  CHECK(license_of_card("---\nlicense:\n- a\n- b\n---\n").empty());
  CHECK(license_of_card("---\nlicense: [a]\n---\n").empty());
  CHECK(license_of_card("---\nlicense: mit\n").empty());  // never closed
}

}  // namespace
}  // namespace edgecompress
