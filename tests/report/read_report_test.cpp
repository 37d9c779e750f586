#include "report/read_report.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "report/report_diff.h"
#include "report/sample_report.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;

TEST_CASE("a report read back is the one that was written", "[report]") {
  Report report = sample_report();
  report.stages[1].perplexity = std::nan("");
  const std::string text = report_json(report).dump();
  CHECK(report_json(read_report(text, "r")).dump() == text);
  const std::string least = report_json(Report{}).dump();
  CHECK(report_json(read_report(least, "r")).dump() == least);
}

TEST_CASE("what is no report is refused with the key", "[report][lies]") {
  const auto refusal = [](const nlohmann::ordered_json& document) -> std::string {
    try {
      read_report(document.dump(), "r.json");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::Malformed);
      return error.what();
    }
    return "";
  };
  nlohmann::ordered_json document = report_json(sample_report());
  CHECK(refusal(document).empty());
  document["later_key"] = 1;
  CHECK(refusal(document).empty());  // version 1 may gain keys
  document["stages"][1]["perplexity"] = "many";
  CHECK_THAT(refusal(document), Contains("r.json: stages[1].perplexity must be a number"));
  document["stages"] = 4;
  CHECK_THAT(refusal(document), Contains("stages must be a list"));
  document["schema"] = "edgecompress.report/v2";
  CHECK_THAT(refusal(document), Contains("v2"));
  CHECK_THAT(refusal({{"a", 1}}), Contains("schema is missing"));
  CHECK_THAT(refusal(nlohmann::ordered_json::array()), Contains("an object"));
}

TEST_CASE("a comparison finds what grew, and its limits", "[report]") {
  const Report first = sample_report();
  Report second = sample_report();
  second.bytes_after = first.bytes_after / 2;
  second.stages.back().perplexity = 15.75 * 1.02;
  second.stages.back().top1_agreement = 0.765;
  second.tensors.front().relative_output_error = 0.05;
  CHECK(diff_reports(first, second, {}).passed());
  CHECK(diff_reports(first, first, {.perplexity_increase = 0.0, .size_increase = 0.0}).passed());
  const ReportDiff diff = diff_reports(
      first, second, {.perplexity_increase = 0.01, .size_increase = 0.0, .top1_decrease = 0.02});
  CHECK_FALSE(diff.passed());
  for (const DiffRow& row : diff.rows) CHECK(row.passed == (row.metric != "perplexity"));
  REQUIRE(diff.tensors.size() == 1);
  CHECK(*diff.tensors.front().error_second == 0.05);
  CHECK_THAT(diff_table(diff), Contains("+2.00%") && Contains("FAIL (limit 1.00%)"));
  CHECK_THAT(diff_markdown(diff), Contains("| size | 669.48 MiB | 334.74 MiB | -50.00% |"));
  CHECK(diff_json(diff)["passed"] == false);
}

TEST_CASE("perplexities of other tokens do not compare, and a limit on them fails", "[report]") {
  const Report first = sample_report();
  Report second = sample_report();
  second.evaluation->token_sha256 = "other";
  const ReportDiff diff = diff_reports(first, second, {.perplexity_increase = 0.5});
  CHECK_FALSE(diff.passed());
  CHECK_THAT(diff.notes.front(), Contains("not scored on the same tokens"));
}

}  // namespace
}  // namespace edgecompress
