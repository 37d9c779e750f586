#include "report/html_report.h"

#include <algorithm>
#include <regex>

#include "report/html_text.h"
#include "report/sample_report.h"
#include "report/svg_charts.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;

/// Two decoder blocks of seven matrices, an embedding, and hostile texts.
Report page_report() {
  Report report = sample_report();
  report.tensors.clear();
  double error = 0.001;
  for (const char* block : {"0", "1"}) {
    for (const char* name : {"self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate",
                             "mlp.up", "mlp.down"}) {
      TensorReport tensor = sample_report().tensors.front();
      tensor.name = std::string("model.layers.") + block + "." + name + "_proj";
      tensor.relative_output_error = error;
      tensor.sparsity = 10 * error;
      tensor.bits = *block == '0' ? 4 : 8;
      error += 0.003;
      report.tensors.push_back(tensor);
    }
  }
  report.model_name = "<script>alert(1)</script>";
  report.recipe = "name: \"</pre><img src=x onerror=alert(2)>\"\n";
  report.warnings = {"\x1B[31m\" onload='x' \xE2\x80\xAE](javascript:x) | a"};
  return report;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_CASE("the page has no script and asks nothing of the network", "[report]") {
  const std::string page = html_report(page_report());
  CHECK_THAT(page, Contains("default-src 'none'"));
  for (const char* part : {"<script", "<img", "http:", "https:", "url(", "@import", "src=\"",
                           "href=\"", "<link", "<iframe"}) {
    CAPTURE(part);
    CHECK(count_of(page, part) == 0);
  }
}

TEST_CASE("every text of a report is escaped in the page and in Markdown", "[report]") {
  const std::string page = html_report(page_report());
  CHECK_THAT(page, Contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
  CHECK_THAT(page, Contains("&lt;/pre&gt;&lt;img src=x"));
  CHECK_THAT(page, Contains("\\u001b[31m&quot; onload=&#39;x&#39; \\u202e"));
  CHECK(page.find('\x1B') == page.npos);
  const std::string markdown = markdown_report(page_report());
  CHECK_THAT(markdown, Contains("&lt;script\\>alert\\(1\\)"));
  CHECK_THAT(markdown, Contains("\\]\\(javascript:x\\) \\| a |"));
}

TEST_CASE("tags of the page and its pictures are balanced", "[report]") {
  const std::string page = html_report(page_report());
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z0-9]+)([^>]*)>");
  for (std::sregex_iterator it(page.begin(), page.end(), tag), end; it != end; ++it) {
    const std::string name = (*it)[2];
    const std::string rest = (*it)[3];
    CHECK(rest.find(" on") == rest.npos);  // no event is listened to
    if (name == "meta" || name == "br" || rest.ends_with("/")) continue;
    if ((*it)[1].length() == 0) {
      open.push_back(name);
      continue;
    }
    REQUIRE(!open.empty());
    REQUIRE(open.back() == name);
    open.pop_back();
  }
  CHECK(open.empty());
  CHECK(count_of(page, "<svg") >= 5);
}

TEST_CASE("the heat maps have a cell for every matrix, with its number", "[report]") {
  const std::string page = html_report(page_report());
  CHECK(count_of(page, "<title>layer 0, ") == 3 * 7);  // bits, sparsity, error
  CHECK_THAT(page, Contains("<title>layer 1, down: 8</title>"));
  CHECK_THAT(page, Contains("<title>layer 1, down: 40.0%</title>"));
  CHECK_THAT(page, Contains("<title>layer 0, q: 0.001</title>"));
}

TEST_CASE("equal reports give equal pages, and a small one", "[report]") {
  const std::string page = html_report(page_report());
  CHECK(page == html_report(page_report()));
  CHECK(page.size() < 100'000);
  Report empty;
  CHECK_NOTHROW(html_report(empty));
  CHECK_NOTHROW(markdown_report(empty));
}

TEST_CASE("a report of a thousand blocks stays below two megabytes", "[report]") {
  Report report = page_report();
  const TensorReport tensor = report.tensors.front();
  report.tensors.clear();
  for (int block = 0; block < 1000; ++block) {
    report.tensors.push_back(tensor);
    report.tensors.back().name = "model.layers." + std::to_string(block) + ".mlp.down_proj";
  }
  CHECK(html_report(report).size() < 2'000'000);
}

TEST_CASE("gates and fallbacks are said in words", "[report]") {
  const std::string page = html_report(page_report());
  CHECK_THAT(page, Contains("<td class=\"fail\">FAIL</td>") && Contains("<td>pass</td>"));
  CHECK_THAT(page, Contains("rtn instead of gptq") && Contains("damping raised 1 times"));
  const std::string markdown = markdown_report(page_report());
  CHECK_THAT(markdown, Contains("| size\\_bytes | at most 476.84 MiB | 669.48 MiB | FAIL |"));
}

TEST_CASE("wrong UTF-8 and hidden characters are shown as escapes", "[report]") {
  CHECK(html_escaped("a\xFF"
                     "b") == "a\\u00ffb");
  CHECK(html_escaped("\xE2\x80\x8B") == "\\u200b");
  CHECK(html_escaped("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80") ==
        "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
  CHECK(html_escaped("\xE2\x82") == "\\u00e2\\u0082");
  CHECK(markdown_escaped("a\nb") == "a b");
}

TEST_CASE("axes have round numbers, and blocks are counted in whole ones", "[report]") {
  const std::string svg = layer_lines_svg(
      {{.name = "q", .values = {0.00694, 0.0031, {}, 0.004, 0.002, 0.001}}}, "error");
  for (const char* tick : {">0<", ">0.001<", ">0.006<", ">5<"}) {
    CAPTURE(tick);
    CHECK(svg.find(tick) != std::string::npos);
  }
  CHECK(svg.find(">0.00694<") == std::string::npos);
  CHECK(svg.find(">2.5<") == std::string::npos);
}

TEST_CASE("a column that says nothing is left out of the page", "[report]") {
  Report report = sample_report();
  CHECK(html_report(report).find("<th>KL (nats)</th>") != std::string::npos);
  for (StageReport& stage : report.stages) stage.kl_divergence_nats.reset();
  const std::string page = html_report(report);
  CHECK(page.find("<th>KL (nats)</th>") == std::string::npos);
  CHECK(page.find("<th>perplexity</th>") != std::string::npos);
}

}  // namespace
}  // namespace edgecompress
