#include "report/gate.h"

#include <cmath>
#include <limits>

#include "report/report.h"
#include "report/sample_report.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

TEST_CASE("a limit itself passes, what lies beyond fails", "[report]") {
  for (const GateMetric metric :
       {GateMetric::PerplexityIncrease, GateMetric::SizeBytes, GateMetric::KlDivergence}) {
    CAPTURE(gate_name(metric));
    CHECK(judge(Gate{metric, 2.0}, 2.0).passed);
    CHECK(judge(Gate{metric, 2.0}, 1.5).passed);
    CHECK_FALSE(judge(Gate{metric, 2.0}, 2.0001).passed);
  }
  for (const GateMetric metric :
       {GateMetric::Sparsity, GateMetric::Top1Agreement, GateMetric::Speedup}) {
    CAPTURE(gate_name(metric));
    CHECK(judge(Gate{metric, 0.5}, 0.5).passed);
    CHECK(judge(Gate{metric, 0.5}, 0.6).passed);
    CHECK_FALSE(judge(Gate{metric, 0.5}, 0.4999).passed);
  }
}

TEST_CASE("what was not measured or is no number fails", "[report]") {
  for (const GateMetric metric : {GateMetric::PerplexityIncrease, GateMetric::Sparsity}) {
    CHECK_FALSE(judge(Gate{metric, 1.0}, std::nullopt).passed);
    CHECK_FALSE(judge(Gate{metric, 1.0}, std::nan("")).passed);
  }
  CHECK_FALSE(
      judge(Gate{GateMetric::KlDivergence, 1.0}, std::numeric_limits<double>::infinity()).passed);
}

TEST_CASE("gates look at the last stage that has their metric", "[report]") {
  Report report = sample_report();
  CHECK(*gate_value(report, GateMetric::PerplexityIncrease) == 15.75 / 12.5 - 1);
  CHECK(*gate_value(report, GateMetric::SizeBytes) == 702'000'000);
  CHECK(*gate_value(report, GateMetric::Sparsity) == 0.0975);
  CHECK(*gate_value(report, GateMetric::Speedup) == 33.5 / 11.5);
  report.stages.back().kl_divergence_nats.reset();  // the artifact is not compared with dense
  report.stages.back().top1_agreement.reset();
  CHECK(*gate_value(report, GateMetric::KlDivergence) == 0.21);
  CHECK(*gate_value(report, GateMetric::Top1Agreement) == 0.81);
  report.stages.front().perplexity.reset();
  report.environment.dense_decode_tokens_per_second.reset();
  CHECK_FALSE(gate_value(report, GateMetric::PerplexityIncrease));
  CHECK_FALSE(gate_value(report, GateMetric::Speedup));
}

TEST_CASE("the gate table says what was not measured", "[report]") {
  CHECK(gate_table({judge(Gate{GateMetric::Top1Agreement, 0.9}, std::nullopt)}) ==
        "gate                         limit         found  verdict\n"
        "top1_agreement           >= 90.00%  not measured  FAIL\n");
  CHECK(gate_table({}).empty());
}

}  // namespace
}  // namespace edgecompress
