#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "report/report.h"
#include "report/sample_report.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool fits_a_terminal(const std::vector<std::string>& lines) {
  return std::all_of(lines.begin(), lines.end(), [](const std::string& line) {
    return line.size() <= 100 &&
           std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
  });
}

TEST_CASE("the table shows stages, artifact and warnings", "[report]") {
  CHECK(report_table(sample_report()) ==
        R"(stage     parameters        size  ratio  sparsity  perplexity  change       KL  top-1
dense         1.24 B    2.30 GiB  1.00x      0.0%      12.500       -        -      -
pruned        1.04 B    1.94 GiB  1.19x      0.1%      15.000  +20.0%   0.2100  81.0%
artifact      1.04 B  669.48 MiB  3.52x      9.8%      15.750  +26.0%  5.0e-04  77.5%
artifact  genai-sparse, 669.48 MiB, run by ONNX Runtime 1.32.0
          1 of 1 products sparse (1 as 16x4); 0.300 bytes per weight of the decoder blocks
          against the compressed model: logit error 1.2e-05, mean 2.5e-06, KL 3.0e-10, top-1 99.9%
          prefill in one piece and token by token differ by 4.5e-06
          perplexity 15.700 at accuracy level 0, 15.750 as published
gate                         limit         found  verdict
perplexity_increase     <= +30.00%       +26.00%  pass
size_bytes           <= 476.84 MiB    669.48 MiB  FAIL
warning   R18: something is odd
)");
}

TEST_CASE("the table sums up the products of a sparse artifact", "[report]") {
  Report report = sample_report();
  report.artifact->products = {
      {.module = "a", .form = "16x4", .weights = 3000, .bytes = 900, .reason = "r"},
      {.module = "b", .form = "dense", .weights = 1000, .bytes = 600, .reason = "r"},
      {.module = "c", .form = "16x4", .weights = 500, .bytes = 100, .reason = "r"},
      {.module = "d", .form = "8x1", .weights = 500, .bytes = 150, .reason = "r"}};
  CHECK(report_table(report).find(
            "          3 of 4 products sparse (2 as 16x4, 1 as 8x1); 0.350 bytes per weight of the "
            "decoder blocks\n") != std::string::npos);
}

TEST_CASE("a table has no line over 100 columns and only ASCII", "[report]") {
  Report report = sample_report();
  report.stages[1].stage = "a stage with a very long n\xC3\xA4me and \x1B[31mcolour";
  report.stages[1].perplexity = 1.5e300;
  report.stages[1].kl_divergence_nats = std::nan("");
  report.stages[2].perplexity = INFINITY;
  report.stages[2].parameters = INT64_MAX;
  report.stages[2].size_bytes = 1;
  report.artifact->onnxruntime_version = std::string(300, 'v');
  report.artifact->max_logit_error = INFINITY;
  report.warnings = {
      "a warning of many words " + std::string(250, 'w') +
      " and after a long one, some more of them so that a line must break\nand \xE2\x82\xAC"};
  const std::vector<std::string> lines = lines_of(report_table(report));
  CHECK(fits_a_terminal(lines));
  CHECK(std::any_of(lines.begin(), lines.end(),
                    [](const std::string& line) { return line.size() > 90; }));
}

TEST_CASE("the columns of the table stand below each other", "[report]") {
  const std::vector<std::string> lines = lines_of(report_table(sample_report()));
  REQUIRE(lines.size() > 4);
  for (std::size_t i = 1; i < 4; ++i) CHECK(lines[i].size() == lines[0].size());
}

TEST_CASE("what was not measured is a dash", "[report]") {
  Report report;
  report.stages = {{.stage = "dense",
                    .parameters = 999,
                    .size_bytes = 1023,
                    .perplexity = {},
                    .kl_divergence_nats = {},
                    .top1_agreement = {}}};
  const std::vector<std::string> lines = lines_of(report_table(report));
  REQUIRE(lines.size() == 2);
  CHECK(lines[1] == "dense         999  1023 B  1.00x      0.0%           -       -   -      -");
}

TEST_CASE("an empty report is an empty table", "[report]") { CHECK(report_table({}).empty()); }

}  // namespace
}  // namespace edgecompress
