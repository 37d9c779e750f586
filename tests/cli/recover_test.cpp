#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "llama/model_folder.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const std::string kDense = "tests/models/mini-llama";
const std::string kWindows =
    " --training calibration/calibration.txt --sequence-length 64 --samples 12";
const std::string kTraining =
    kWindows + " --batch 4 --epochs 1 --learning-rate 1e-4 --scale-learning-rate 1e-2";

/// Runs `recover` and returns its report.
Json recovered(const TempDir& folder, const std::string& model, const std::string& output,
               const std::string& flags, const std::string& training = kTraining) {
  const CommandRun done = run_command(
      "recover --model " + model + " -o " + output + training + " --json " + flags, folder);
  INFO(done.err);
  REQUIRE(done.exit_code == 0);
  return Json::parse(done.out);
}

std::string quantized(const TempDir& folder, const std::string& flags) {
  const std::string output = (folder.path() / "quantized").string();
  const CommandRun done =
      run_command("quantize --model " + kDense + " -o " + output + " " + flags, folder);
  INFO(done.err);
  REQUIRE(done.exit_code == 0);
  return output;
}

std::vector<float> values(const ModelFolder& model, const std::string& module) {
  const StoredMatrix matrix = model.matrix(module);
  const MatrixShape shape = matrix_shape(matrix);
  std::vector<float> all(static_cast<std::size_t>(shape.out_features * shape.in_features));
  read_rows(matrix, 0, shape.out_features, all);
  return all;
}

std::vector<std::int8_t> codes(const ModelFolder& model, const std::string& module) {
  const StoredMatrix matrix = model.matrix(module);
  const auto& stored = std::get<StoredQuantizedMatrix>(matrix);
  const QuantizedMatrix all = read_quantized_rows(stored, 0, stored.shape.out_features);
  return {all.codes().begin(), all.codes().end()};
}

TEST_CASE("recovered scales have lower held-out loss, their codes and the tables unchanged",
          "[cli]") {
  const TempDir folder;
  const std::string model = quantized(folder, "--group-size 64 --asymmetric");
  const std::string output = (folder.path() / "out").string();
  const Json report = recovered(
      folder, model, output,
      "--teacher " + kDense + " --text calibration/evaluation.txt --window 64 --windows 4");
  const Json& training = report.at("training");
  CHECK(training.at("trained") == "scales");
  CHECK(training.at("loss") == "divergence");
  CHECK(training.at("training_windows") == 11);
  CHECK(training.at("held_out_windows") == 1);
  CHECK(training.at("steps_done") == 3);
  CHECK(training.at("kept_step") == 3);
  CHECK(training.at("held_out_loss_after") < training.at("held_out_loss_before"));
  std::vector<std::string> stages;
  for (const Json& stage : report.at("stages")) stages.push_back(stage.at("stage"));
  CHECK(stages == std::vector<std::string>{"dense", "compressed", "recovered"});
  CHECK(report.at("stages")[2].at("kl_divergence_nats") <
        report.at("stages")[1].at("kl_divergence_nats"));

  const ModelFolder before = ModelFolder::open(model);
  const ModelFolder after = ModelFolder::open(output);
  for (const Json& tensor : report.at("tensors")) {
    const std::string module = tensor.at("name");
    CAPTURE(module);
    CHECK(codes(after, module) == codes(before, module));
    const bool is_table = module.find("layers") == std::string::npos;
    CHECK((values(after, module) == values(before, module)) == is_table);
  }
  CHECK(after.config().tie_word_embeddings);

  const CommandRun scored =
      run_command("eval --model " + output +
                      " --text calibration/evaluation.txt --window 64 --windows 4 --json",
                  folder);
  CHECK(Json::parse(scored.out).at("perplexity") == report.at("stages")[2].at("perplexity"));
}

TEST_CASE("recover writes the same bytes on any number of threads", "[cli][property]") {
  const TempDir folder;
  const std::string model = quantized(folder, "--group-size 64");
  std::map<std::string, std::string> first;
  for (const std::string threads : {"1", "3"}) {
    const std::string output = (folder.path() / ("out" + threads)).string();
    Json report =
        recovered(folder, model, output,
                  "--train weights --zeros free --teacher " + kDense + " --threads " + threads);
    report.erase("environment");
    std::map<std::string, std::string> files{{"report", report.dump()}};
    for (const fs::directory_entry& entry : fs::directory_iterator(output)) {
      if (entry.path().extension() == ".safetensors") {
        files[entry.path().filename().string()] = file_text(entry.path());
      }
    }
    CHECK(files.size() == 7);  // the report, the tables, four blocks, the norm
    if (first.empty()) first = files;
    for (const auto& [name, bytes] : first) {
      CAPTURE(threads, name);
      CHECK((files.at(name) == bytes));
    }
  }
}

TEST_CASE("a mask, a cut's shapes and the artifact survive recovery", "[cli]") {
  const TempDir folder;
  const std::string model = (folder.path() / "pruned").string();
  const std::string output = (folder.path() / "out").string();
  REQUIRE(run_command("prune --model " + kDense + " -o " + model +
                          " --ratio 25% --score magnitude-l2 --mask 2:4",
                      folder)
              .exit_code == 0);
  const Json report = recovered(folder, model, output, "");
  CHECK(report.at("training").at("trained") == "weights");
  CHECK(report.at("training").at("loss") == "cross-entropy");
  CHECK(report.at("training").at("held_out_loss_after") <
        report.at("training").at("held_out_loss_before"));
  const ModelFolder before = ModelFolder::open(model);
  const ModelFolder after = ModelFolder::open(output);
  CHECK(after.config().blocks == before.config().blocks);
  CHECK(after.config().dtype == DType::F16);
  std::int64_t moved = 0;
  for (const Json& tensor : report.at("tensors")) {
    const std::vector<float> start = values(before, tensor.at("name"));
    const std::vector<float> trained = values(after, tensor.at("name"));
    REQUIRE(start.size() == trained.size());
    for (std::size_t i = 0; i < start.size(); ++i) {
      REQUIRE((start[i] != 0 || trained[i] == 0));
      moved += start[i] != trained[i] ? 1 : 0;
    }
  }
  CHECK(moved > 100'000);
  const CommandRun exported =
      run_command("export --model " + output + " -o " + output + "-onnx", folder);  // checks logits
  INFO(exported.err);
  CHECK(exported.exit_code == 0);
}

const std::string kBlocks =
    kWindows + " --phases blocks --block-batch 4 --block-epochs 2 --zeros free --teacher " + kDense;

TEST_CASE("blocks trained one by one make the model better, on the same grids", "[cli]") {
  const TempDir folder;
  const std::string model =
      quantized(folder, "--group-size channel --asymmetric --embedding-bits none --head-bits none");
  const std::string output = (folder.path() / "out").string();
  const Json report = recovered(
      folder, model, output,
      "--block-code-learning-rate 0.005 --text calibration/evaluation.txt --windows 3", kBlocks);
  CHECK_FALSE(report.contains("training"));
  const Json& training = report.at("block_training");
  CHECK(training.at("training_windows") == 11);
  CHECK(training.at("held_out_windows") == 1);
  CHECK(training.at("kept") == true);
  CHECK(training.at("perplexity_after") < training.at("perplexity_before"));
  REQUIRE(training.at("blocks").size() == 4);
  for (const Json& block : training.at("blocks")) {
    CAPTURE(block.at("block"));
    CHECK(block.at("steps_planned") == 6);
    CHECK(block.at("kept_step") > 0);
    CHECK(block.at("held_out_loss_after") < block.at("held_out_loss_before"));
  }
  const Json& stages = report.at("stages");
  REQUIRE(stages.size() == 3);
  CHECK(stages[2].at("kl_divergence_nats") <
        0.9 * stages[1].at("kl_divergence_nats").get<double>());
  const ModelFolder before = ModelFolder::open(model);
  const ModelFolder after = ModelFolder::open(output);
  const std::string module = "model.layers.2.mlp.up_proj";
  CHECK(std::get<StoredQuantizedMatrix>(after.matrix(module)).scheme ==
        std::get<StoredQuantizedMatrix>(before.matrix(module)).scheme);
  CHECK(codes(after, module) != codes(before, module));
  CHECK_FALSE(fs::exists(fs::path(output) / "trained-blocks"));
  const CommandRun exported =
      run_command("export --model " + output + " -o " + output + "-onnx", folder);  // checks logits
  INFO(exported.err);
  CHECK(exported.exit_code == 0);
}

TEST_CASE("blocks that training makes worse stay as they were", "[cli]") {
  const TempDir folder;
  const std::string model = quantized(folder, "--group-size 64 --asymmetric");
  const std::string output = (folder.path() / "out").string();
  const Json report =
      recovered(folder, model, output,
                "--block-code-learning-rate 1 --block-scale-learning-rate 0.5", kBlocks);
  CHECK(report.at("block_training").at("kept") == false);
  for (const Json& block : report.at("block_training").at("blocks")) {
    CHECK(block.at("kept_step") == 0);
  }
  CHECK(report.at("warnings").dump().find("left as they were") != std::string::npos);
  std::int64_t files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(model)) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    CAPTURE(entry.path());
    CHECK((file_text(fs::path(output) / entry.path().filename()) == file_text(entry.path())));
  }
  CHECK(files == 6);
}

TEST_CASE(
    "a mask's zeros survive the training of blocks, and both phases give the same bytes on any "
    "number of threads",
    "[cli][property]") {
  const TempDir folder;
  const std::string model = (folder.path() / "masked").string();
  REQUIRE(run_command("prune --model " + kDense + " -o " + model +
                          " --ratio 25% --score magnitude-l2 --mask 2:4",
                      folder)
              .exit_code == 0);
  std::map<std::string, std::string> first;
  for (const std::string threads : {"1", "3"}) {
    const std::string output = (folder.path() / ("out" + threads)).string();
    Json report = recovered(
        folder, model, output,
        "--phases both --block-batch 4 --block-epochs 2 --block-learning-rate 3e-4 --teacher " +
            kDense + " --threads " + threads);
    CHECK(report.at("block_training").at("kept") == true);
    CHECK(report.at("training").at("kept_step") > 0);
    report.erase("environment");
    std::map<std::string, std::string> files{{"report", report.dump()}};
    for (const fs::directory_entry& entry : fs::directory_iterator(output)) {
      if (entry.path().extension() != ".safetensors") continue;
      files[entry.path().filename().string()] = file_text(entry.path());
    }
    CHECK(files.size() == 7);
    if (first.empty()) first = files;
    for (const auto& [name, bytes] : first) {
      CAPTURE(threads, name);
      CHECK((files.at(name) == bytes));
    }
  }
  const ModelFolder before = ModelFolder::open(model);
  const ModelFolder after = ModelFolder::open(folder.path() / "out1");
  std::int64_t zeros = 0;
  for (const std::string module :
       {"model.layers.0.self_attn.q_proj", "model.layers.3.mlp.up_proj"}) {
    const std::vector<float> start = values(before, module);
    const std::vector<float> trained = values(after, module);
    REQUIRE(start.size() == trained.size());
    CHECK(start != trained);
    for (std::size_t i = 0; i < start.size(); ++i) {
      if (start[i] != 0) continue;
      ++zeros;
      REQUIRE(trained[i] == 0);
    }
  }
  CHECK(zeros > 1000);
}

TEST_CASE("a killed training goes on where it stood, with the same bytes", "[cli]") {
  const TempDir folder;
  const std::string model = quantized(folder, "--group-size 64");
  const auto run = [&](const std::string& output) {
    return run_command("recover --model " + model + " -o " + (folder.path() / output).string() +
                           kTraining +
                           " --phases both --block-epochs 1 --train weights --zeros free"
                           " --teacher " +
                           kDense,
                       folder);
  };
  REQUIRE(run("whole").exit_code == 0);
  const auto run_killed = [&](const std::string& place) {
    ::setenv("EDGECOMPRESS_KILL_AT", place.c_str(), 1);
    const CommandRun killed = run("out");
    ::unsetenv("EDGECOMPRESS_KILL_AT");
    REQUIRE(killed.exit_code == 128 + SIGKILL);
    return killed.err;
  };
  run_killed("journal-after:2");
  const std::string behind_block = run_killed("journal-after:4");  // two blocks, two steps
  CHECK(behind_block.find("had finished training of decoder block 2 of 4") != std::string::npos);
  CHECK(behind_block.find("train_block_1") == std::string::npos);
  const CommandRun resumed = run("out");
  INFO(resumed.err);
  REQUIRE(resumed.exit_code == 0);
  CHECK(resumed.err.find("had finished training step 2 of 3") != std::string::npos);
  CHECK(resumed.err.find("train_block") == std::string::npos);
  std::int64_t files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder.path() / "whole")) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    CAPTURE(name);
    CHECK((file_text(folder.path() / "out" / name) == file_text(entry.path())));
  }
  CHECK(files == 6);
  const auto report_of = [&](const std::string& output) {
    Json report = Json::parse(file_text(folder.path() / output / "report.json"));
    report.erase("environment");
    return report;
  };
  CHECK(report_of("out") == report_of("whole"));
}

TEST_CASE("qat auto trains when rounding costs more than the gate, and else changes nothing",
          "[cli]") {
  const TempDir folder;
  const auto run = [&](const std::string& name, const std::string& flags) {
    const std::string output = (folder.path() / name).string();
    const CommandRun done = run_command(
        "quantize --model " + kDense + " -o " + output + " --sequence-length 64 --json " + flags,
        folder);
    INFO(done.err);
    REQUIRE(done.exit_code == 0);
    return Json::parse(done.out);
  };
  // A short text of its own, so that three epochs are few steps.
  const std::string text =
      file_text(std::string(EDGECOMPRESS_SOURCE_DIR) + "/calibration/calibration.txt");
  const std::string training =
      " --qat auto --training " + folder.write("text.txt", text.substr(0, 6000)).string();

  run("plain", "--bits 8");
  const Json untrained = run("fine", "--bits 8" + training);
  CHECK(untrained.at("training").at("gate") == 0.01);
  CHECK(untrained.at("training").at("perplexity_increase") < 0.01);
  CHECK(untrained.at("training").at("steps_planned") == 0);
  CHECK(untrained.at("stages").back().at("stage") == "quantized");
  std::int64_t files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder.path() / "plain")) {
    const std::string name = entry.path().filename().string();
    if (name == "report.json" || name == "edgecompress.manifest.json") continue;
    ++files;
    CAPTURE(name);
    CHECK((file_text(folder.path() / "fine" / name) == file_text(entry.path())));
  }
  CHECK(files >= 7);

  const Json trained = run("coarse", "--bits 4 --group-size channel" + training +
                                         " --text calibration/evaluation.txt --windows 3");
  CHECK(trained.at("training").at("perplexity_increase") > 0.01);
  CHECK(trained.at("training").at("kept_step") > 0);
  const Json& stages = trained.at("stages");
  CHECK(stages.back().at("stage") == "recovered");
  CHECK(stages[2].at("kl_divergence_nats") < stages[1].at("kl_divergence_nats"));
  CHECK_FALSE(trained.at("tensors")[1].contains("relative_weight_error"));
  CHECK_FALSE(fs::exists(folder.path() / "coarse" / "untrained"));
}

/// The report of a recipe of these steps, whose text.txt are the first bytes of the calibration
/// text.
Json report_of(const std::string& steps, std::size_t text_bytes) {
  const TempDir folder;
  const std::string source = EDGECOMPRESS_SOURCE_DIR "/calibration/";
  folder.write("text.txt", file_text(source + "calibration.txt").substr(0, text_bytes));
  folder.write("test.ec.yaml", "schema: edgecompress.recipe/v1\nname: test\nsteps:\n" + steps);
  const CommandRun done = run_command(
      "run " + (folder.path() / "test.ec.yaml").string() + " --model " + kDense + " -o " +
          (folder.path() / "out").string() + " --keep-checkpoint --skip-speed-test --json",
      folder);
  INFO(done.err);
  REQUIRE(done.exit_code == 0);
  return Json::parse(done.out);
}

TEST_CASE("a recipe that recovers exports what was trained", "[cli]") {
  const Json report = report_of(
      "  - { id: cut, prune: { score: magnitude-l2, ratio: 25% } }\n"
      "  - { id: mask, mask: { method: magnitude, pattern: \"2:4\" } }\n"
      "  - { id: quant, quantize: { method: rtn, weights: { group_size: 32 } } }\n"
      "  - { id: train, recover: { text: text.txt, sequence_length: 64, epochs: 1, "
      "scale_learning_rate: 1% } }\n"
      "  - { id: artifact, export: { format: genai } }\n"
      "evaluate: { text: text.txt, window: 64, max_windows: 3 }\n",
      6000);
  std::vector<std::string> stages;
  for (const Json& stage : report.at("stages")) stages.push_back(stage.at("stage"));
  CHECK(stages == std::vector<std::string>{"dense", "pruned", "masked", "quantized", "recovered",
                                           "artifact"});
  // The artifact at accuracy level 0 computes the trained model, not the one before.
  const double recovered = report.at("stages")[4].at("perplexity");
  const double quantized = report.at("stages")[3].at("perplexity");
  CHECK(std::abs(report.at("artifact").at("perplexity_exact").get<double>() / recovered - 1) <
        1e-4);
  CHECK(recovered < 0.99 * quantized);
  CHECK(report.at("totals").at("sparsity").get<double>() >= 0.5);
}

/// The share of zeros that the report's tensors of decoder blocks have together.
double block_sparsity(const Json& report) {
  double zeros = 0;
  double weights = 0;
  for (const Json& tensor : report.at("tensors")) {
    if (tensor.at("name").get<std::string>().rfind("model.layers.", 0) != 0) continue;
    const double count =
        tensor.at("shape_after")[0].get<double>() * tensor.at("shape_after")[1].get<double>();
    zeros += tensor.at("sparsity").get<double>() * count;
    weights += count;
  }
  return zeros / weights;
}

TEST_CASE("zeros that come of rounding may go in training, and are counted behind it", "[cli]") {
  const Json report = report_of(
      "  - { id: quant, quantize: { method: rtn, weights: { group_size: 64 } } }\n"
      "  - { id: train, recover: { text: text.txt, samples: 8, sequence_length: 64, "
      "phases: blocks, block_epochs: 2 } }\n"
      "evaluate: { text: text.txt, window: 64, max_windows: 2 }\n",
      3000);
  const Json& stages = report.at("stages");
  REQUIRE(stages.back().at("stage") == "recovered");
  CHECK(stages.back().at("sparsity") != stages[stages.size() - 2].at("sparsity"));
  CHECK(std::abs(stages.back().at("sparsity").get<double>() - block_sparsity(report)) < 1e-9);
  CHECK(report.at("totals").at("sparsity") == stages.back().at("sparsity"));
}

TEST_CASE("what cannot be recovered is refused by name", "[cli]") {
  const TempDir folder;
  const std::string start =
      "recover --training calibration/calibration.txt -o " + (folder.path() / "out").string();
  for (const auto& [flags, code, exit_code] :
       {std::tuple{" --model " + kDense + " --train scales", "T-SCALES", 2},
        {" --model " + kDense + " --loss kl", "T-TEACHER", 2},
        {" --model " + kDense + " --phases blocks", "T-TEACHER", 2},
        {" --model " + kDense + " --phases layers", "U-ARGUMENT", 2},
        {" --model " + kDense + " --held-out 1", "U-SHARE", 2},
        {" --model " + kDense + " --samples 1", "F24", 65},
        {" --model " + kDense + " --sequence-length 513", "E-WINDOW", 2},
        {" --model " + kDense + " --train all", "U-ARGUMENT", 2}}) {
    CAPTURE(flags);
    const CommandRun done = run_command(start + flags, folder);
    CHECK(done.exit_code == exit_code);
    CHECK(done.err.find(std::string("error[") + code + "]") != std::string::npos);
    CHECK_FALSE(fs::exists(folder.path() / "out"));
  }
}

}  // namespace
}  // namespace edgecompress
