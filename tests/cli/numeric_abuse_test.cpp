#include <cmath>
#include <filesystem>
#include <limits>

#include <nlohmann/json.hpp>

#include "cli/changed_model.h"
#include "cli/command_run.h"
#include "support/catch.h"

// Models and texts whose numbers go wrong. Each run ends in a finite output, every number of the
// report finite, or in a refusal that names what is wrong.

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kHidden = 256;
const std::string kOrdinary =
    " --samples 2 --sequence-length 160";  // 320 tokens: more than columns
const std::string kFewTokens = " --samples 1 --sequence-length 64";  // 64 for 256 and 768 columns

std::string quantize(const fs::path& model, const fs::path& out, const std::string& flags) {
  return "quantize --model " + model.string() + " -o " + out.string() +
         " --calibration calibration/calibration.txt --asymmetric --group-size 32 --json " + flags;
}

/// Quantizes, and checks that what was written is finite. Returns the report.
json finite_report(const fs::path& model, const std::string& flags) {
  const TempDir folder;
  const fs::path out = folder.path() / "out";
  const CommandRun run = run_command(quantize(model, out, flags), folder);
  INFO(flags << "\n" << run.err);
  REQUIRE(run.exit_code == 0);
  json report = json::parse(run.out);
  CHECK(report.at("nonfinite") == false);
  // reads every scale, and refuses one that is not finite
  const CommandRun verified = run_command("verify " + out.string(), folder);
  INFO(verified.out << verified.err);
  CHECK(verified.exit_code == 0);
  return report;
}

json row_of(const json& report, const std::string& module) {
  for (const json& row : report.at("tensors")) {
    if (row.at("name") == module) return row;
  }
  FAIL("no row of " << module);
  return {};
}

/// Before and after of the layers whose inputs were gathered: the compensation must still help.
void check_errors(const json& report) {
  int counted = 0;
  for (const json& row : report.at("tensors")) {
    if (!row.contains("relative_output_error")) continue;
    CAPTURE(row.dump());
    ++counted;
    CHECK(row.at("relative_output_error").get<double>() <=
          row.at("relative_nearest_error").get<double>());
    CHECK(row.contains("damping_rung"));
    CHECK(row.at("clipped_share").get<double>() < 0.5);
  }
  CHECK(counted == 28);
}

TEST_CASE("fewer calibration tokens than columns", "[cli]") {
  const fs::path model = fs::path(EDGECOMPRESS_SOURCE_DIR) / "tests/models/mini-llama";
  check_errors(finite_report(model, "--method gptq" + kFewTokens));
  finite_report(model, "--method awq" + kFewTokens);
}

TEST_CASE("an input that is always 0, and an all-zero row", "[cli]") {
  ChangedModel model;
  model.tensor("model.layers.1.input_layernorm.weight").values[7] = 0;  // reads 0 at every token
  auto& q = model.tensor("model.layers.1.self_attn.q_proj.weight").values;
  std::fill_n(q.begin() + 5 * kHidden, kHidden, 0.0F);
  auto& down = model.tensor("model.layers.2.mlp.down_proj.weight").values;
  std::fill_n(down.begin(), 768, 0.0F);
  const fs::path folder = model.write();
  for (const std::string method : {"gptq", "awq", "hqq", "rtn"}) {
    const json report = finite_report(folder, "--method " + method + kOrdinary);
    // a row of zeros stays one: its codes are the zero point
    CHECK(row_of(report, "model.layers.1.self_attn.q_proj").at("sparsity").get<double>() >=
          1.0 / kHidden);
    if (method == "gptq") check_errors(report);
  }
}

TEST_CASE("a weight that is 10000 times the others", "[cli]") {
  ChangedModel model;
  auto& up = model.tensor("model.layers.1.mlp.up_proj.weight").values;
  double squares = 0;
  for (const float value : up) squares += static_cast<double>(value) * value;
  up[3 * kHidden + 9] =
      1e4F * static_cast<float>(std::sqrt(squares / static_cast<double>(up.size())));
  const fs::path folder = model.write();
  for (const std::string method : {"gptq", "awq", "hqq", "rtn"}) {
    const json report = finite_report(folder, "--method " + method + kOrdinary);
    CHECK(row_of(report, "model.layers.1.mlp.up_proj").contains("relative_weight_error"));
  }
}

TEST_CASE("activations beyond the largest half", "[cli]") {
  ChangedModel model;
  for (const char* const name : {"gate_proj", "up_proj"}) {
    for (float& value :
         model.tensor(std::string("model.layers.1.mlp.") + name + ".weight").values) {
      value *= 3000;  // silu(gate) * up grows 9 million times
    }
  }
  const fs::path folder = model.write();
  check_errors(finite_report(folder, "--method gptq" + kOrdinary));
  finite_report(folder, "--method awq" + kOrdinary);
}

TEST_CASE("activations beyond the largest float are refused", "[cli]") {
  ChangedModel model;
  // two blocks in a row: the hidden states grow about 1e11 times in each square they are taken
  for (const char* const name : {"gate_proj", "up_proj", "down_proj"}) {
    for (float& value :
         model.tensor(std::string("model.layers.1.mlp.") + name + ".weight").values) {
      value = value < 0 ? -60000.0F : 60000.0F;
    }
  }
  for (float& value : model.tensor("model.layers.1.post_attention_layernorm.weight").values) {
    value = 60000.0F;
  }
  const fs::path folder = model.write();
  const TempDir out;
  const CommandRun run =
      run_command(quantize(folder, out.path() / "out", "--method gptq" + kOrdinary), out);
  INFO(run.err);
  CHECK(run.exit_code == 76);
  CHECK_THAT(run.err, Contains("error[F20]") && Contains("decoder block"));
  CHECK_FALSE(fs::exists(out.path() / "out"));
}

TEST_CASE("a weight that is not a number is refused, its tensor named", "[cli]") {
  ChangedModel model;
  model.tensor("model.layers.2.self_attn.v_proj.weight").values[2 * kHidden + 3] =
      std::numeric_limits<float>::quiet_NaN();
  const fs::path folder = model.write();
  for (const std::string method : {"gptq", "awq", "hqq", "rtn"}) {
    CAPTURE(method);
    const TempDir out;
    const CommandRun run =
        run_command(quantize(folder, out.path() / "out", "--method " + method + kOrdinary), out);
    CHECK(run.exit_code == 76);
    CHECK_THAT(run.err, Contains("error[N1]") && Contains("model.layers.2.self_attn.v_proj") &&
                            Contains("[2, 3]"));
    CHECK_FALSE(fs::exists(out.path() / "out"));
  }
}

}  // namespace
}  // namespace edgecompress
