#include <filesystem>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "cli/command_run.h"
#include "llama/model_folder.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "tests/models/mini-llama";

std::string small_recipe(const std::string& steps) {
  return "schema: edgecompress.recipe/v1\nname: test\n"
         "calibration: { text: calibration.txt, samples: 4, sequence_length: 128 }\n"
         "steps:\n" +
         steps + "evaluate: { text: evaluation.txt, window: 128, max_windows: 3 }\n";
}

constexpr const char* kAllSteps =
    "  - { id: cut, prune: { score: output-error, ratio: 25% } }\n"
    "  - { id: mask, mask: { method: sparsegpt, pattern: \"2:4\", targets: [\"*.mlp.*\"] } }\n"
    "  - { id: quant, quantize: { method: gptq, weights: { bits: 4, group_size: 32 } } }\n"
    "  - { id: artifact, export: { format: genai } }\n";

/// A folder with a recipe and the two texts beside it.
void write_recipe(const TempDir& folder, const std::string& steps) {
  folder.write("test.ec.yaml", small_recipe(steps));
  for (const char* name : {"calibration.txt", "evaluation.txt"}) {
    fs::copy(fs::path(EDGECOMPRESS_SOURCE_DIR) / "calibration" / name, folder.path() / name,
             fs::copy_options::overwrite_existing);
  }
}

std::map<std::string, std::string> folder_bytes(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files[fs::relative(entry.path(), folder).string()] = file_text(entry.path());
  }
  return files;
}

/// What two equal runs must share: all but the report's environment, the page that shows it, and
/// what hashes them.
std::map<std::string, std::string> comparable(const fs::path& folder) {
  std::map<std::string, std::string> files = folder_bytes(folder);
  nlohmann::ordered_json report = nlohmann::ordered_json::parse(files.at("report.json"));
  report.erase("environment");
  files["report.json"] = report.dump();
  files.erase("edgecompress.manifest.json");
  files.erase("report.html");
  return files;
}

TEST_CASE("a run gives the same bytes with any number of threads, and twice", "[cli][property]") {
  const TempDir folder;
  write_recipe(folder, kAllSteps);
  const auto run = [&](const std::string& name, const std::string& threads) {
    const CommandRun done =
        run_command("run " + (folder.path() / "test.ec.yaml").string() + " --model " + kModel +
                        " -o " + (folder.path() / name).string() +
                        " --keep-checkpoint --skip-speed-test --threads " + threads,
                    folder);
    INFO(done.err);
    REQUIRE(done.exit_code == 0);
    return comparable(folder.path() / name);
  };
  const auto one = run("one", "1");
  REQUIRE(one.count("model.onnx.data") == 1);
  REQUIRE(one.count("checkpoint/config.json") == 1);
  for (const char* threads : {"1", "2", "3"}) {
    const auto other = run(std::string("again-") + threads, threads);
    for (const auto& [name, bytes] : one) {
      CAPTURE(threads, name);
      CHECK((other.at(name) == bytes));
    }
    CHECK(other.size() == one.size());
  }
}

// The artifact check of the run compares ONNX Runtime with the model in memory: scales that were
// not folded into the norms or into v and up would be refused there.
TEST_CASE("awq over a mask gives an artifact that computes the same, on any number of threads",
          "[cli][property]") {
  const TempDir folder;
  write_recipe(
      folder,
      "  - { id: mask, mask: { method: wanda, pattern: per-row, sparsity: 20% } }\n"
      "  - { id: quant, quantize: { method: awq, weights: { bits: 4, group_size: 32 } } }\n"
      "  - { id: artifact, export: { format: genai } }\n");
  const auto run = [&](const std::string& threads) {
    const CommandRun done =
        run_command("run " + (folder.path() / "test.ec.yaml").string() + " --model " + kModel +
                        " -o " + (folder.path() / threads).string() +
                        " --keep-checkpoint --skip-speed-test --threads " + threads,
                    folder);
    INFO(done.err);
    REQUIRE(done.exit_code == 0);
    return comparable(folder.path() / threads);
  };
  const auto one = run("1");
  CHECK((run("2") == one));
  double largest_exponent = 0;
  const nlohmann::json report = nlohmann::json::parse(one.at("report.json"));
  for (const auto& tensor : report.at("tensors")) {
    largest_exponent = std::max(largest_exponent, tensor.value("input_scale_exponent", 0.0));
  }
  CHECK(largest_exponent > 0);
}

TEST_CASE("the report counts what lies in the written files", "[cli]") {
  const TempDir folder;
  write_recipe(folder, kAllSteps);
  const fs::path out = folder.path() / "out";
  const CommandRun done =
      run_command("run " + (folder.path() / "test.ec.yaml").string() + " --model " + kModel +
                      " -o " + out.string() + " --keep-checkpoint --json",
                  folder);
  INFO(done.err);
  REQUIRE(done.exit_code == 0);
  const nlohmann::json report = nlohmann::json::parse(done.out);
  CHECK(report == nlohmann::json::parse(file_text(out / "report.json")));

  std::vector<std::string> stages;
  for (const auto& stage : report.at("stages")) stages.push_back(stage.at("stage"));
  CHECK((stages == std::vector<std::string>{"dense", "pruned", "masked", "quantized", "artifact"}));

  const ModelFolder written = ModelFolder::open(out / "checkpoint");
  CHECK(written.config().blocks.front().num_key_value_heads == 3);  // a quarter of four
  std::int64_t masked = 0;
  for (const auto& tensor : report.at("tensors")) {
    const std::string name = tensor.at("name");
    const StoredMatrix matrix = written.matrix(name);
    const MatrixShape shape = matrix_shape(matrix);
    std::vector<float> values(static_cast<std::size_t>(shape.out_features * shape.in_features));
    read_rows(matrix, 0, shape.out_features, values);
    const auto zeros = std::count(values.begin(), values.end(), 0.0F);
    CHECK(tensor.at("sparsity").get<double>() ==
          static_cast<double>(zeros) / static_cast<double>(values.size()));
    CHECK((tensor.at("shape_after").get<std::vector<std::int64_t>>() ==
           std::vector<std::int64_t>{shape.out_features, shape.in_features}));
    if (name.find(".mlp.") == std::string::npos) continue;
    ++masked;
    for (std::size_t i = 0; i < values.size(); i += 4) {
      REQUIRE(std::count(&values[i], &values[i] + 4, 0.0F) >= 2);
    }
  }
  CHECK(masked == 12);

  for (const auto& tensor : report.at("tensors")) {
    if (tensor.at("name").get<std::string>().find(".layers.") == std::string::npos) continue;
    CHECK(tensor.at("damping_rung") == 0);
    CHECK(tensor.at("relative_output_error").get<double>() < tensor.at("relative_weight_error"));
  }

  // Every file is listed in the manifest, with its size.
  const auto manifest = nlohmann::json::parse(file_text(out / "edgecompress.manifest.json"));
  for (const auto& [name, bytes] : folder_bytes(out)) {
    if (name == "edgecompress.manifest.json") continue;
    CAPTURE(name);
    REQUIRE(manifest.at("files").contains(name));
    CHECK(manifest.at("files").at(name).at("bytes") == bytes.size());
  }
}

TEST_CASE("prune, quantize and export one after the other give the bytes of one run", "[cli]") {
  const TempDir folder;
  write_recipe(
      folder,
      "  - { id: cut, prune: { score: magnitude-l2, ratio: 25% } }\n"
      "  - { id: quant, quantize: { method: rtn, weights: { bits: 4, group_size: 32 } } }\n"
      "  - { id: artifact, export: { format: genai } }\n");
  const std::string at = folder.path().string();
  const auto must = [&](const std::string& arguments) {
    const CommandRun done = run_command(arguments, folder);
    INFO(arguments << "\n" << done.err);
    REQUIRE(done.exit_code == 0);
  };
  must("run " + at + "/test.ec.yaml --model " + kModel + " -o " + at + "/whole --skip-speed-test");
  must("prune --model " + std::string(kModel) + " -o " + at +
       "/pruned --ratio 25% --score magnitude-l2");
  must("quantize --model " + at + "/pruned -o " + at + "/quantized --group-size 32");
  must("export --model " + at + "/quantized -o " + at + "/artifact");
  CHECK((file_text(at + "/whole/model.onnx.data") == file_text(at + "/artifact/model.onnx.data")));
  CHECK(fs::file_size(at + "/whole/model.onnx.data") > 1'000'000);
}

/// The committed model with one more added token, whose id the model does not have.
fs::path model_with_added_token(const TempDir& folder, const char* option) {
  const fs::path target = folder.path() / "model";
  fs::copy(fs::path(EDGECOMPRESS_SOURCE_DIR) / kModel, target);
  auto tokenizer = nlohmann::ordered_json::parse(file_text(target / "tokenizer.json"));
  nlohmann::ordered_json token{{"id", 2048},      {"content", "<own>"}, {"single_word", false},
                               {"lstrip", false}, {"rstrip", false},    {"normalized", false},
                               {"special", false}};
  token[option] = true;
  tokenizer["added_tokens"].push_back(token);
  fs::remove(target / "tokenizer.json");
  folder.write("model/tokenizer.json", tokenizer.dump());
  return target;
}

std::vector<std::string> warnings_of(const CommandRun& done) {
  INFO(done.err);
  REQUIRE(done.exit_code == 0);
  return nlohmann::json::parse(done.out).at("warnings");
}

TEST_CASE("export warns with an example where onnxruntime-genai's tokenizer differs", "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  const auto export_it = [&](const std::string& model, const std::string& more) {
    return warnings_of(run_command(
        "export --model " + model + " -o " + at + "/out --overwrite --skip-check --json " + more,
        folder));
  };
  CHECK(export_it(kModel, "").empty());
  const std::string changed = model_with_added_token(folder, "lstrip").string();
  CHECK(export_it(changed, "--format onnx").empty());
  const std::vector<std::string> warnings = export_it(changed, "");
  REQUIRE(warnings.size() == 1);
  CHECK(warnings.front().starts_with("X6: onnxruntime-genai's own tokenizer gives other ids: "));
  // "a", the token without the space before it, " a"
  CHECK(warnings.front().find("for example \"a <own> a\" is 64 2048 ") != std::string::npos);
}

TEST_CASE("a tokenizer that does not fit its model is a warning", "[cli]") {
  const TempDir folder;
  const fs::path model = model_with_added_token(folder, "special");
  folder.write("model/tokenizer.model",
               "\x0a\x03"
               "abc\x0a\x01"
               "d");
  const std::vector<std::string> warnings = warnings_of(run_command(
      "quantize --model " + model.string() + " -o " + folder.path().string() +
          "/out --bits 8 --text calibration/evaluation.txt --window 64 --windows 1 --json",
      folder));
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0].starts_with(
      "T16: tokenizer.json has ids up to 2048, the model's vocabulary ends"));
  CHECK(warnings[1].starts_with("T18: tokenizer.model has 2 pieces, tokenizer.json "));
}

TEST_CASE("standard ONNX is exported and scored like genai's form", "[cli]") {
  const TempDir folder;
  const std::string at = folder.path().string();
  const std::string eval = " --text calibration/evaluation.txt --window 128 --windows 2 --json";
  REQUIRE(run_command("quantize --model " + std::string(kModel) + " -o " + at +
                          "/q --bits 8 --group-size 64",
                      folder)
              .exit_code == 0);
  const auto perplexity = [&](const std::string& arguments) {
    const CommandRun done = run_command("eval " + arguments + eval, folder);
    INFO(done.err);
    REQUIRE(done.exit_code == 0);
    return nlohmann::json::parse(done.out).at("perplexity").get<double>();
  };
  const double model = perplexity("--model " + at + "/q");
  for (const std::string format : {"genai", "onnx"}) {
    const CommandRun done = run_command(
        "export --model " + at + "/q -o " + at + "/" + format + " --format " + format, folder);
    INFO(done.err);
    REQUIRE(done.exit_code == 0);
    // ONNX Runtime rounds activations to 8 bits (accuracy level 4); exactness is checked by export
    // itself
    CHECK(std::abs(perplexity("--artifact " + at + "/" + format) / model - 1) < 0.01);
  }
}

}  // namespace
}  // namespace edgecompress
