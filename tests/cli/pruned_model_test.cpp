#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "llama/model_folder.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "tests/models/mini-llama";

CommandRun must_run(const std::string& arguments, const TempDir& folder) {
  const CommandRun done = run_command(arguments, folder);
  INFO(arguments << "\n" << done.err);
  REQUIRE(done.exit_code == 0);
  return done;
}

double perplexity(const std::string& folder_flag, const TempDir& folder) {
  const CommandRun done = must_run("eval " + folder_flag +
                                       " --text calibration/evaluation.txt --window 128 --windows 3"
                                       " --json",
                                   folder);
  return nlohmann::json::parse(done.out).at("perplexity").get<double>();
}

TEST_CASE("a model of fewer blocks, each of its own widths and sparsity, goes all the way",
          "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  const std::string texts =
      " --calibration calibration/calibration.txt --samples 4 --sequence-length 128"
      " --text calibration/evaluation.txt --window 128 --windows 3 --json";
  const CommandRun pruned = must_run(
      "prune --model " + std::string(kModel) + " -o " + at +
          "/pruned --drop-layers 1 --ratio 20% --allocation per-layer --protect-last 1 --score "
          "output-error --repair dense-outputs --mask unstructured --mask-sparsity 30% "
          "--mask-method sparsegpt --mask-repair dense-outputs --mask-allocation outliers" +
          texts,
      folder);
  const nlohmann::json report = nlohmann::json::parse(pruned.out);
  const ModelFolder written = ModelFolder::open(at + "/pruned");
  const std::vector<BlockShape>& blocks = written.config().blocks;
  REQUIRE(blocks.size() == 3);
  CHECK_FALSE(written.config().is_uniform());
  CHECK(blocks.back().num_key_value_heads == 4);
  CHECK(blocks.back().intermediate_size == 768);

  std::vector<std::string> stages;
  for (const auto& stage : report.at("stages")) stages.push_back(stage.at("stage"));
  CHECK((stages == std::vector<std::string>{"dense", "shortened", "pruned", "masked"}));
  const auto parameters = [&](std::size_t stage) {
    return report.at("stages")[stage].at("parameters").get<std::int64_t>();
  };
  const ModelFolder dense = ModelFolder::open(fs::path(EDGECOMPRESS_SOURCE_DIR) / kModel);
  const std::int64_t block = linear_parameters(dense.config(), 0);
  CHECK(parameters(1) == parameters(0) - block - 2 * dense.config().hidden_size);
  CHECK(static_cast<double>(parameters(1) - parameters(2)) >= 0.2 * 3 * static_cast<double>(block));

  // The blocks' sparsities differ, and their mean is what was asked for.
  std::vector<double> targets;
  for (const auto& tensor : report.at("tensors")) {
    if (tensor.at("name").get<std::string>().find("gate_proj") == std::string::npos) continue;
    targets.push_back(tensor.at("sparsity_target").get<double>());
    CHECK(std::abs(tensor.at("sparsity").get<double>() - targets.back()) < 1e-3);
  }
  REQUIRE(targets.size() == 3);
  CHECK((targets[0] + targets[1] + targets[2]) / 3 == Approx(0.3));
  CHECK(targets[0] != targets[1]);

  // Read back, every consumer sees the same model: scored alike, quantized, exported, run.
  const double walked = report.at("stages")[3].at("perplexity").get<double>();
  CHECK(perplexity("--model " + at + "/pruned", folder) == Approx(walked).epsilon(1e-4));
  must_run("inspect " + at + "/pruned", folder);
  must_run("quantize --model " + at + "/pruned -o " + at + "/quantized --bits 8", folder);
  must_run("export --model " + at + "/quantized -o " + at + "/artifact", folder);
  CHECK(perplexity("--artifact " + at + "/artifact", folder) == Approx(walked).epsilon(0.02));
}

TEST_CASE("a block mask spread by loss and repaired by reconstruction loses less", "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  const std::string texts =
      " --calibration calibration/calibration.txt --samples 16 --sequence-length 256"
      " --text calibration/evaluation.txt --window 128 --windows 6 --json";
  const auto masked = [&](const std::string& name, const std::string& flags) {
    return nlohmann::json::parse(must_run("prune --model " + std::string(kModel) + " -o " + at +
                                              "/" + name + " --mask 16x1 --mask-sparsity 40% " +
                                              flags + texts,
                                          folder)
                                     .out);
  };
  const auto loss_of = [](const nlohmann::json& report) {
    const auto perplexity = [&](std::size_t stage) {
      return report.at("stages")[stage].at("perplexity").get<double>();
    };
    return std::log(perplexity(1) / perplexity(0));
  };
  const nlohmann::json plain = masked("plain", "--mask-method sparsegpt");
  const nlohmann::json spread = masked(
      "spread", "--mask-method sparsegpt --mask-repair least-squares --mask-allocation loss");
  const nlohmann::json trained =
      masked("trained",
             "--mask-method sparsegpt --mask-repair reconstruction --mask-repair-learning-rate "
             "0.001 --mask-allocation loss");
  CHECK(loss_of(spread) < 0.75 * loss_of(plain));
  CHECK(loss_of(trained) < loss_of(spread));

  double weights = 0;
  double zeros = 0;
  double least = 1;
  double most = 0;
  for (const auto& tensor : trained.at("tensors")) {
    if (!tensor.contains("sparsity_target")) continue;
    const auto shape = tensor.at("shape_after").get<std::vector<double>>();
    const double share = tensor.at("sparsity").get<double>();
    // a strip drops a whole number of columns; a weight may round to 0 besides
    CHECK(std::abs(share - tensor.at("sparsity_target").get<double>()) < 0.6 / shape[1] + 1e-4);
    weights += shape[0] * shape[1];
    zeros += shape[0] * shape[1] * share;
    least = std::min(least, share);
    most = std::max(most, share);
    CHECK(tensor.at("block_error_after").get<double>() <=
          tensor.at("block_error_before").get<double>());
    CHECK_FALSE(tensor.contains("relative_output_error"));
  }
  CHECK(zeros / weights == Approx(0.4).margin(0.002));
  CHECK(most > least + 0.2);
}

TEST_CASE("blocks are left out by what the model loses without them", "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  const std::string text =
      " --calibration calibration/calibration.txt --samples 4"
      " --sequence-length 128";
  const auto loss_without = [&](const std::string& flags) {
    const std::string name = at + "/" + std::to_string(std::hash<std::string>{}(flags));
    must_run("prune --model " + std::string(kModel) + " -o " + name + " " + flags, folder);
    return perplexity("--model " + name, folder);
  };
  const double chosen = loss_without("--drop-layers 1 --drop-score perplexity" + text);
  std::vector<double> all;
  for (int block = 0; block < 4; ++block) {
    all.push_back(loss_without("--drop-layer " + std::to_string(block)));
  }
  // another text judges here; on mini-llama the order is the same
  CHECK(chosen == Approx(*std::min_element(all.begin(), all.end())));
}

TEST_CASE("layers left out by name are the ones that are missing", "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  must_run(
      "prune --model " + std::string(kModel) + " -o " + at + "/short --drop-layer 2 --drop-layer 0",
      folder);
  const ModelFolder dense = ModelFolder::open(fs::path(EDGECOMPRESS_SOURCE_DIR) / kModel);
  const ModelFolder written = ModelFolder::open(at + "/short");
  REQUIRE(written.config().num_blocks() == 2);
  for (const std::int64_t block : {0, 1}) {
    for (const LinearKind kind : kLinearKinds) {
      const StoredMatrix kept = written.matrix(module_name({block, kind}));
      const StoredMatrix source = dense.matrix(module_name({2 * block + 1, kind}));
      const MatrixShape shape = matrix_shape(source);
      std::vector<float> a(static_cast<std::size_t>(shape.out_features * shape.in_features));
      std::vector<float> b(a.size());
      read_rows(kept, 0, shape.out_features, a);
      read_rows(source, 0, shape.out_features, b);
      CHECK((a == b));
    }
    CHECK(written.vector(input_norm_module(block) + ".weight") ==
          dense.vector(input_norm_module(2 * block + 1) + ".weight"));
  }
}

TEST_CASE("what cannot be left out or spread is refused before any work", "[cli]") {
  const TempDir folder;
  const std::string prune = "prune --model " + std::string(kModel) + " -o /tmp/never ";
  const std::string text = " --calibration calibration/calibration.txt";
  struct Case {
    std::string arguments;
    std::string words;
  };
  for (const Case& wrong :
       {Case{"--drop-layer 4", "decoder blocks 0 to 3"},
        Case{"--drop-layers 4" + text, "at most 3 can be left out"},
        Case{"--drop-layer 1 --drop-layer 1", "names a decoder block twice"},
        Case{"--drop-layers 1", "calibration text is needed"},
        Case{"--ratio 20% --allocation per-layer --score magnitude-l2",
             "calibration text is needed"},
        Case{"--query-heads 50% --allocation per-layer" + text, "give --ratio, --heads"},
        Case{"--channels 9% --query-heads 50% --allocation per-layer" + text,
             "leave --query-heads"},
        Case{"--prune-heads 0:1", "whole groups can go, for example"},
        Case{"--prune-heads 4:0,1", "the model has blocks 0 to 3"},
        Case{"--prune-heads zero:1", "--prune-heads: expected a decoder block and its heads"},
        Case{"--prune-heads 0:0,1 --heads 25%", "leave the shares away"},
        Case{"--ratio 80% --allocation per-layer --protect-first 2" + text, "out of reach"},
        Case{"--mask 2:4 --mask-allocation outliers" + text, "has one sparsity"},
        Case{"--mask 2:4 --mask-allocation loss" + text, "has one sparsity"},
        Case{"--mask 16x1 --mask-allocation loss", "calibration text is needed"},
        Case{"--drop-layers 1 --drop-score perplexity", "calibration text is needed"},
        Case{"--ratio 20% --channels 20%" + text, "leave --ratio"},
        Case{"--heads 5%" + text, "nearest to 0 of them"}}) {
    const CommandRun done = run_command(prune + wrong.arguments, folder);
    CAPTURE(wrong.arguments, done.err);
    CHECK(done.exit_code != 0);
    CHECK(done.exit_code != 70);
    CHECK(done.err.find(wrong.words) != std::string::npos);
  }
}

}  // namespace
}  // namespace edgecompress
