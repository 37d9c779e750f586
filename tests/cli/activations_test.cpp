// 8-bit activations through the programs: what a folder says about them, what eval computes with,
// and artifacts that compute the same.
#include <cmath>
#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "llama/model_folder.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using nlohmann::json;

const std::string kModel = " --model tests/models/mini-llama ";
const std::string kText = std::string(EDGECOMPRESS_SOURCE_DIR) + "/calibration/evaluation.txt";
const std::string kCalibration =
    std::string(EDGECOMPRESS_SOURCE_DIR) + "/calibration/calibration.txt";
const std::string kPerChannel = " --bits 8 --group-size channel ";
const std::string kWindows = " --text " + kText + " --window 128 --windows 3 ";

json output_of(const std::string& arguments, const TempDir& folder) {
  const CommandRun run = run_command(arguments + " --json", folder);
  INFO(arguments << "\n" << run.err);
  REQUIRE(run.exit_code == 0);
  return json::parse(run.out);
}

double perplexity(const std::string& arguments, const TempDir& folder) {
  return output_of("eval " + arguments + kWindows, folder).at("perplexity");
}

/// Quantizes mini-llama; returns where.
std::string quantized(const TempDir& folder, const std::string& name, const std::string& flags) {
  std::string out = (folder.path() / name).string();
  output_of("quantize" + kModel + "-o " + out + flags, folder);
  return out;
}

void write_recipe(const TempDir& folder, const std::string& quantize, const std::string& exported) {
  for (const std::string& text : {kCalibration, kText}) {
    fs::copy(text, folder.path() / fs::path(text).filename());
  }
  folder.write("r.ec.yaml",
               "schema: edgecompress.recipe/v1\nname: r\n"
               "calibration: { text: calibration.txt, samples: 4, sequence_length: 128 }\n"
               "steps:\n"
               "  - { id: quant, quantize: { " +
                   quantize +
                   " } }\n"
                   "  - { id: artifact, export: { " +
                   exported +
                   " } }\n"
                   "evaluate: { text: evaluation.txt, window: 128, max_windows: 3 }\n");
}

TEST_CASE("a folder says how its layers round, and eval computes with it", "[cli]") {
  const TempDir folder;
  const std::string bits = GENERATE(as<std::string>(), " --bits 4 --group-size 32 ", kPerChannel);
  CAPTURE(bits);
  const std::string plain = quantized(folder, "plain", bits);
  const json report = output_of("quantize" + kModel + "-o " + (folder.path() / "rounded").string() +
                                    bits + "--activations int8-per-token" + kWindows,
                                folder);
  const std::string rounded = (folder.path() / "rounded").string();
  const json config = json::parse(file_text(rounded + "/config.json"));
  std::size_t rounding = 0;
  for (const auto& [name, group] : config.at("quantization_config").at("config_groups").items()) {
    const bool of_blocks = std::string(group.at("targets").at(0)).starts_with("re:");
    CHECK(group.at("input_activations").is_null() != of_blocks);
    if (!of_blocks) continue;
    ++rounding;
    CHECK(group.at("input_activations").at("strategy") == "token");
    CHECK(group.at("input_activations").at("dynamic") == true);
  }
  CHECK(rounding > 0);
  for (const json& tensor : report.at("tensors")) {
    const bool in_block = std::string(tensor.at("name")).starts_with("model.layers.");
    CHECK(tensor.value("activations", "") == (in_block ? "int8-per-token" : ""));
  }
  const double with = perplexity("--model " + rounded, folder);
  CHECK(with == report.at("stages").back().at("perplexity"));
  const double without = perplexity("--model " + plain, folder);
  CHECK(with != without);
  CHECK(perplexity("--model " + rounded + " --activations none", folder) == without);
  CHECK(perplexity("--model " + plain + " --activations int8-per-token", folder) == with);
  CHECK(output_of("eval --model " + rounded + kWindows, folder).at("activations") ==
        "int8-per-token");
}

TEST_CASE("artifacts of every int8 style compute what the model in memory does", "[cli]") {
  const TempDir folder;
  const std::string format = GENERATE(as<std::string>(), "onnx", "genai");
  const std::string style = GENERATE(as<std::string>(), "auto", "dynamic", "dynamic-per-token");
  CAPTURE(format, style);
  write_recipe(
      folder, "method: rtn, weights: { bits: 8, group_size: channel }, activations: int8-per-token",
      "format: " + format + ", int8_style: " + style);
  const std::string out = (folder.path() / "out").string();
  const std::string recipe = (folder.path() / "r.ec.yaml").string() + kModel;
  const json plan = output_of("plan " + recipe + "--skip-speed-test", folder);
  const json report =
      output_of("run " + recipe + "-o " + out + " --keep-checkpoint --skip-speed-test", folder);
  CHECK(plan.at("bytes_after") == report.at("totals").at("bytes_after"));
  const std::string rounding = style == "dynamic" ? "int8-per-tensor" : "int8-per-token";
  CHECK(report.at("artifact").at("activations") == rounding);
  const double in_memory =
      perplexity("--model " + out + "/checkpoint --activations " + rounding, folder);
  const double artifact = perplexity("--artifact " + out, folder);
  // a code flips with the last bit of an input, and this text is short
  CHECK(artifact == Approx(in_memory).epsilon(0.02));
  if (rounding == "int8-per-token") {
    // flips cost less than rounding itself does; with other codes the artifact would lose more
    const double rounding_cost = output_of("eval --model " + out + "/checkpoint --against " + out +
                                               "/checkpoint --activations none" + kWindows,
                                           folder)
                                     .at("kl_divergence");
    CHECK(rounding_cost > 0);
    CHECK(report.at("artifact").at("kl_divergence_nats") < rounding_cost);
  }
  CHECK(artifact != Approx(perplexity("--model " + out + "/checkpoint --activations none", folder))
                        .epsilon(1e-7));
  CHECK_THAT(file_text(out + "/model.onnx"), Contains("MatMulInteger"));
  const std::string settings = file_text(out + "/genai_config.json");
  CHECK((settings.find("session.x64quantprecision") != std::string::npos) == (format == "genai"));
  const bool has_dynamic = style == "dynamic";
  CHECK(has_dynamic ==
        (file_text(out + "/model.onnx").find("DynamicQuantizeLinear") != std::string::npos));
}

TEST_CASE("MatMulNBits at accuracy level 4 computes what int8-per-block says", "[cli]") {
  const TempDir folder;
  const std::string model = quantized(folder, "int4", " --bits 4 --group-size 32 ");
  const std::string artifact = (folder.path() / "artifact").string();
  output_of("export --model " + model + " -o " + artifact, folder);
  const double per_block = perplexity("--model " + model + " --activations int8-per-block", folder);
  const double found = perplexity("--artifact " + artifact, folder);
  CHECK(found == Approx(per_block).epsilon(0.01));
  CHECK(per_block != perplexity("--model " + model, folder));
}

TEST_CASE("training rounds inputs as the artifact does", "[cli]") {
  struct Case {
    std::string quantize;
    std::string recover;  // beside the folder's own rounding
    std::string format;
    std::string rounding;
    std::string training;
    double largest_difference;  // of perplexities, relative: what flips of codes cost
  };
  const Case c =
      GENERATE(Case{" --bits 4 --group-size 32 ", " --activations int8-per-block", "genai",
                    "int8-per-block", "--scale-learning-rate 1e-2", 0.005},
               Case{kPerChannel + "--activations int8-per-token", "", "onnx", "int8-per-token",
                    // 8 bits lose too little for a divergence that could fall
                    "--loss cross-entropy --scale-learning-rate 3e-3", 0.01});
  CAPTURE(c.rounding);
  const TempDir folder;
  const std::string two_windows = " --text " + kText + " --window 128 --windows 2 ";
  // Enough for flips of codes, which differ by processor, to even out.
  const std::string many_windows = " --text " + kText + " --window 128 --windows 16 ";
  const std::string model = quantized(folder, "quantized", c.quantize);
  const auto recovered = [&](const std::string& name, const std::string& flags) {
    return output_of("recover --model " + model + " -o " + (folder.path() / name).string() +
                         " --training " + kText + " --epochs 1" + c.recover + flags,
                     folder);
  };
  const auto evaluated = [&](const std::string& arguments, const std::string& windows) -> double {
    return output_of("eval " + arguments + windows, folder).at("perplexity");
  };
  const auto artifact_of = [&](const std::string& source, const std::string& windows) {
    output_of("export --model " + source + " -o " + source + "-artifact --format " + c.format,
              folder);
    return evaluated("--artifact " + source + "-artifact", windows);
  };
  const std::string rounding = " --activations " + c.rounding;

  // The losses at the start, of the window that is trained on and of the one that judges.
  const json training = recovered("two",
                                  " --sequence-length 128 --samples 2 --held-out 50% "
                                  "--loss cross-entropy")
                            .at("training");
  CHECK(training.at("activations") == c.rounding);
  const double start = std::exp((training.at("curve").at(1).at("loss").get<double>() +
                                 training.at("held_out_loss_before").get<double>()) /
                                2);
  CHECK(start == Approx(evaluated("--model " + model + rounding, two_windows)).epsilon(1e-5));
  CHECK(start !=
        Approx(evaluated("--model " + model + " --activations none", two_windows)).epsilon(1e-5));
  CHECK(artifact_of(model, two_windows) == Approx(start).epsilon(c.largest_difference));

  const json report = recovered("trained",
                                " --sequence-length 64 --samples 12 --batch 4 "
                                "--teacher tests/models/mini-llama " +
                                    c.training + many_windows);
  REQUIRE(report.at("training").at("kept_step") > 0);
  const std::string trained = (folder.path() / "trained").string();
  const double expected = report.at("stages").back().at("perplexity");
  CHECK(expected == Approx(evaluated("--model " + trained + rounding, many_windows)).epsilon(1e-9));
  CHECK(artifact_of(trained, many_windows) == Approx(expected).epsilon(c.largest_difference));
}

TEST_CASE("blocks are trained with the rounding that is asked for", "[cli]") {
  const TempDir folder;
  const std::string model = quantized(folder, "quantized", " --bits 4 --group-size 32 ");
  const auto training_with = [&](const std::string& activations) {
    return output_of("recover --model " + model + " -o " + (folder.path() / activations).string() +
                         " --teacher tests/models/mini-llama --training " + kCalibration +
                         " --sequence-length 64 --samples 4 --phases blocks --block-epochs 1 "
                         "--block-learning-rate 1e-9 --block-code-learning-rate 1e-9 "
                         "--block-scale-learning-rate 1e-9 --activations " +
                         activations,
                     folder)
        .at("block_training");
  };
  const json plain = training_with("none");
  const json rounded = training_with("int8-per-block");
  CHECK_FALSE(plain.contains("activations"));
  CHECK(rounded.at("activations") == "int8-per-block");
  // At next to no rate both runs have the same weights, so that every block is comparable.
  for (std::size_t block = 0; block < plain.at("blocks").size(); ++block) {
    // rounding what a layer reads adds an error to that of its weights
    const auto loss = [&](const json& training) -> double {
      return training.at("blocks").at(block).at("held_out_loss_before");
    };
    CHECK(loss(rounded) > loss(plain));
  }
}

TEST_CASE("a rounding that no integer product has is not followed, and that is said", "[cli]") {
  const TempDir folder;
  const std::string model =
      quantized(folder, "w4a8", " --bits 4 --group-size 32 --activations int8-per-token");
  const json report =
      output_of("export --model " + model + " -o " + (folder.path() / "artifact").string(), folder);
  CHECK_THAT(report.at("warnings").dump(), Contains("X-A8: "));
  CHECK_FALSE(report.at("artifact").contains("activations"));
}

TEST_CASE("smoothing moves ranges and the artifact still computes the same", "[cli]") {
  const TempDir folder;
  write_recipe(folder,
               "method: smoothquant, weights: { bits: 8, group_size: channel }, activations: "
               "int8-per-token",
               "format: onnx");
  const auto run = [&](const std::string& threads) {
    const std::string out = (folder.path() / threads).string();
    json report = output_of("run " + (folder.path() / "r.ec.yaml").string() + kModel + "-o " + out +
                                " --keep-checkpoint --skip-speed-test --threads " + threads,
                            folder);
    return std::pair(std::move(report), file_text(out + "/model.onnx.data"));
  };
  const auto [report, bytes] = run("1");
  double largest_exponent = 0;
  for (const json& tensor : report.at("tensors")) {
    largest_exponent = std::max(largest_exponent, tensor.value("input_scale_exponent", 0.0));
  }
  CHECK(largest_exponent > 0);
  CHECK((run("2").second == bytes));
}

TEST_CASE("what does not go together with 8-bit activations is refused", "[cli]") {
  const TempDir folder;
  const auto refused = [&](const std::string& arguments, const std::string& code, int exit_code) {
    const CommandRun run = run_command(arguments, folder);
    INFO(arguments << "\n" << run.err);
    CHECK(run.exit_code == exit_code);
    CHECK_THAT(run.err, Contains("error[" + code + "]"));
  };
  const std::string out = " -o " + (folder.path() / "out").string();
  refused("quantize" + kModel + out + " --method smoothquant --calibration " + kCalibration,
          "U-SMOOTH", 2);
  const std::string grouped = quantized(folder, "grouped", " --bits 8 --group-size 32 ");
  refused("export --model " + grouped + out + " --int8-style dynamic", "X-INT8", 69);
  refused("export" + kModel + out + " --int8-style dynamic-per-token", "X-INT8", 69);
  const std::string row = quantized(folder, "row", kPerChannel);
  refused("export --model " + row + out + " --format onnx-sparse --int8-style dynamic", "X-INT8",
          69);
  folder.write("r.ec.yaml",
               "schema: edgecompress.recipe/v1\nname: r\ncalibration: { text: c.txt }\nsteps:\n  - "
               "{ id: q, quantize: { method: smoothquant } }\n");
  refused("plan " + (folder.path() / "r.ec.yaml").string() + kModel, "R17", 2);
}

}  // namespace
}  // namespace edgecompress
