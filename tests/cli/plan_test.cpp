#include <filesystem>

#include <nlohmann/json.hpp>

#include "cli/changed_model.h"
#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::int64_t kMiB = 1 << 20;
const std::string kModel = " --model tests/models/mini-llama ";

json output_of(const std::string& arguments, const TempDir& folder) {
  const CommandRun run = run_command(arguments, folder);
  INFO(arguments << "\n" << run.err);
  REQUIRE(run.exit_code == 0);
  return json::parse(run.out);
}

std::int64_t folder_bytes(const fs::path& folder, const std::string& extension) {
  std::int64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == extension)
      bytes += static_cast<std::int64_t>(entry.file_size());
  }
  return bytes;
}

/// Cuts, masks and quantizes on mixed grids; another export format and other grids by --set.
TempDir& write_recipe(TempDir& folder) {
  folder.write("r.ec.yaml",
               "schema: edgecompress.recipe/v1\nname: r\nsteps:\n"
               "  - { id: cut, prune: { score: magnitude-l2, ratio: 20% } }\n"
               "  - { id: mask, mask: { method: magnitude, pattern: \"2:4\" } }\n"
               "  - id: quant\n"
               "    quantize:\n"
               "      method: rtn\n"
               "      weights: { bits: 4, group_size: 32 }\n"
               "      rules: [{ match: \"*.1.mlp.*\", weights: { bits: 8, symmetric: false } }]\n"
               "  - { id: artifact, export: { format: genai } }\n");
  return folder;
}

TEST_CASE("a plan's sizes are those of the files, to the byte", "[cli]") {
  TempDir folder;
  const std::string recipe = (write_recipe(folder).path() / "r.ec.yaml").string();
  int number = 0;
  for (const std::string set : {"", "--set steps.artifact.export.format=onnx",
                                "--set steps.quant.quantize.weights.symmetric=false --set "
                                "'steps.quant.quantize.embedding={skip: true}'"}) {
    CAPTURE(set);
    const fs::path out = folder.path() / ("out" + std::to_string(number++));
    const json plan =
        output_of("plan " + recipe + kModel + "--skip-speed-test --json " + set, folder);
    const json report = output_of("run " + recipe + kModel +
                                      "--skip-speed-test --keep-checkpoint "
                                      "--json -o " +
                                      out.string() + " " + set,
                                  folder);
    CHECK(plan.at("bytes_after") == report.at("totals").at("bytes_after"));
    CHECK(plan.at("parameters_after") == report.at("totals").at("parameters_after"));
    CHECK(plan.at("artifact").at("data_bytes") == fs::file_size(out / "model.onnx.data"));
    CHECK(plan.at("artifact").at("graph_bytes") == fs::file_size(out / "model.onnx"));
    const json& stages = report.at("stages");
    CHECK(plan.at("checkpoint_bytes") == stages.at(stages.size() - 2).at("size_bytes"));
    for (std::size_t i = 0; i < plan.at("tensors").size(); ++i) {
      const json& planned = plan.at("tensors").at(i);
      const json& written = report.at("tensors").at(i);
      REQUIRE(planned.at("name") == written.at("name"));
      CHECK(planned.at("shape_after") == written.at("shape_after"));
      CHECK(planned.at("bytes_after") == written.at("bytes_after"));
    }
    const auto resident = report.at("environment").at("peak_rss_bytes").get<std::int64_t>();
    CHECK(static_cast<double>(resident) <=
          1.05 * plan.at("peak_memory_bytes").get<double>() + 50 * kMiB);
    CHECK(folder_bytes(out / "checkpoint", ".safetensors") <= plan.at("peak_disk_bytes"));
  }
}

TEST_CASE("a head beside the embedding is counted once only where both have the same values",
          "[cli]") {
  TempDir folder;
  const std::string recipe = (write_recipe(folder).path() / "r.ec.yaml").string();
  ChangedModel model;
  model.untie();
  std::vector<std::uintmax_t> sizes;
  for (const float added : {0.0F, 1.0F}) {
    CAPTURE(added);
    model.tensor("lm_head.weight").values[0] += added;
    const std::string both =
        recipe + " --model " + model.write().string() +
        " --skip-speed-test --json --set 'steps.quant.quantize.head={skip: true}'"
        " --set 'steps.quant.quantize.embedding={skip: true}'";
    const fs::path out = folder.path() / ("untied" + std::to_string(sizes.size()));
    const json plan = output_of("plan --skip-time " + both, folder);
    output_of("run -o " + out.string() + " " + both, folder);
    sizes.push_back(fs::file_size(out / "model.onnx.data"));
    CHECK(plan.at("artifact").at("data_bytes") == sizes.back());
    CHECK(plan.at("artifact").at("graph_bytes") == fs::file_size(out / "model.onnx"));
  }
  CHECK(sizes.at(0) < sizes.at(1));
}

TEST_CASE("--dry-run says the size and writes nothing", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const std::string quantize = "quantize" + kModel + "--bits 8 -o " + out + " --json";
  const json plan = output_of(quantize + " --dry-run", folder);
  CHECK_FALSE(fs::exists(out));
  const json report = output_of(quantize, folder);
  CHECK(plan.at("bytes_after") == report.at("totals").at("bytes_after"));

  const std::string artifact = (folder.path() / "artifact").string();
  const std::string exports = "export --model " + out + " -o " + artifact + " --json --skip-check";
  const json export_plan = output_of(exports + " --dry-run", folder);
  CHECK_FALSE(fs::exists(artifact));
  CHECK(export_plan.at("bytes_after") == output_of(exports, folder).at("totals").at("bytes_after"));
}

TEST_CASE("a plan counts what training needs", "[cli]") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const std::string quantize = "quantize" + kModel + "-o " + out +
                               " --json --training calibration/calibration.txt --sequence-length 64"
                               " --qat always --qat-phases ";
  const auto planned = [&](const std::string& phases) {
    return output_of(quantize + phases + " --dry-run", folder).at("memory").at("training_bytes");
  };
  const double scales = planned("end-to-end").get<double>();
  CHECK(scales > 0);
  CHECK(planned("blocks").get<double>() > scales);
  CHECK(planned("both") == planned("blocks"));
  // each layer's graph keeps a rounded copy of what it reads
  CHECK(planned("blocks --qat-activations int8-per-token") > planned("blocks"));
  CHECK(planned("blocks --activations int8-per-token") > planned("blocks"));
  CHECK(planned("blocks --activations int8-per-token --qat-activations none") == planned("blocks"));
  CHECK(output_of("quantize" + kModel + "-o " + out + " --json --dry-run", folder)
            .at("memory")
            .at("training_bytes") == 0);
}

TEST_CASE("a published shape is planned without a model", "[cli]") {
  const TempDir folder;
  const std::string plan = "plan recipes/quickstart.ec.yaml --json --shape ";
  const json seven = output_of(plan + "llama-2-7b", folder);
  CHECK(seven.at("parameters_before") == 6738415616);  // Llama 2 paper: 6.7 B
  CHECK(seven.at("bytes_before") == 2 * 6738415616);
  CHECK(seven.at("tensors").size() == 32 * 7 + 2);
  CHECK(output_of(plan + "llama-3.2-1b --skip-time", folder).at("parameters_before") == 1235814400);
  CHECK(run_command(plan + "llama-9", folder).exit_code == 2);
  CHECK(run_command("plan recipes/quickstart.ec.yaml", folder).exit_code == 2);
}

TEST_CASE("Llama-2-7B has the sizes of docs/cli.md", "[cli]") {
  struct Row {
    const char* ratio;
    int bits;
    int group_size;
    std::int64_t bytes;
  };
  TempDir folder;
  const std::string recipe =
      folder
          .write("r.ec.yaml",
                 "schema: edgecompress.recipe/v1\nname: r\nsteps:\n"
                 "  - { id: cut, prune: { score: magnitude-l2, ratio: 30% } }\n"
                 "  - { id: q, quantize: { method: rtn, weights: { bits: 8, group_size: 128 } } }\n"
                 "  - { id: artifact, export: { format: genai } }\n")
          .string();
  for (const Row& row : {Row{"30%", 8, 128, 4'947'460'428}, Row{"30%", 4, 32, 3'099'869'040},
                         Row{"30%", 4, 128, 2'682'535'974}, Row{"20%", 4, 128, 3'034'857'627}}) {
    CAPTURE(row.ratio, row.bits, row.group_size);
    const json plan = output_of(
        "plan " + recipe + " --shape llama-2-7b --skip-time --json" +
            " --set steps.cut.prune.ratio=" + row.ratio +
            " --set steps.q.quantize.weights.bits=" + std::to_string(row.bits) +
            " --set steps.q.quantize.weights.group_size=" + std::to_string(row.group_size),
        folder);
    CHECK(plan.at("bytes_after") == row.bytes);
  }
}

TEST_CASE("a model that is only rounded is not held as floats, block by block", "[cli]") {
  TempDir folder;
  const auto peak = [&](const std::string& steps) {
    const fs::path recipe =
        folder.write("r.ec.yaml", "schema: edgecompress.recipe/v1\nname: r\nsteps:\n" + steps);
    return output_of("plan " + recipe.string() + " --shape llama-2-7b --skip-time --json", folder)
        .at("peak_memory_bytes")
        .get<double>();
  };
  const std::string rounds = "  - { id: q, quantize: { method: rtn, weights: { bits: 4 } } }\n";
  CHECK(peak(rounds) < 1.5 * 1024 * kMiB);
  CHECK(peak("  - { id: m, mask: { method: magnitude, pattern: \"2:4\" } }\n" + rounds) >
        3.0 * 1024 * kMiB);
}

TEST_CASE("a plan's time is measured here and now, and only when it is asked for", "[cli]") {
  TempDir folder;
  const std::string plan = "plan " + (write_recipe(folder).path() / "r.ec.yaml").string() + kModel;
  const json time = output_of(plan + "--json", folder).at("time");
  CHECK(time.at("seconds") > 0);
  CHECK(time.at("least_seconds") < time.at("seconds"));
  CHECK(time.at("most_seconds") > time.at("seconds"));
  double sum = 0;
  for (const json& part : time.at("parts")) sum += part.at("seconds").get<double>();
  CHECK(std::abs(sum - time.at("seconds").get<double>()) <= 1e-9 * sum);
  CHECK_FALSE(output_of(plan + "--json --skip-time", folder).contains("time"));
  CHECK_THAT(run_command(plan, folder).out, Contains("estimated (") && Contains("weights/s"));
}

TEST_CASE("the estimate counts what a recipe trains and what it surveys", "[cli]") {
  const TempDir folder;
  folder.write("t.txt", std::string(40000, 'a'));
  // FLOPs: seconds times the speed, which is stated with two digits
  const auto work_of = [&](const std::string& part, const std::string& steps) {
    folder.write("r.ec.yaml",
                 "schema: edgecompress.recipe/v1\nname: r\n"
                 "calibration: { text: t.txt, samples: 64, sequence_length: 256 }\n"
                 "steps:\n" +
                     steps);
    const json plan =
        output_of("plan " + (folder.path() / "r.ec.yaml").string() + kModel + "--json", folder);
    for (const json& row : plan.at("time").at("parts")) {
      if (row.at("name") != part) continue;
      return row.at("seconds").get<double>() * std::stod(row.at("measured").get<std::string>());
    }
    return 0.0;
  };
  constexpr double kTwoDigits = 0.11;  // of a ratio of two such speeds
  const auto training = [&](const std::string& keys) {
    return work_of("training", "  - { id: r, recover: { " + keys + " } }\n");
  };
  // a step is three passes; the teacher's is one, end to end in each epoch
  const double once = training("epochs: 1");
  CHECK(once > 0);
  CHECK(training("phases: blocks, block_epochs: 100") ==
        Approx(301.0 / 4 * once).epsilon(kTwoDigits));
  CHECK(training("phases: both, epochs: 100, block_epochs: 100") ==
        Approx(701.0 / 4 * once).epsilon(kTwoDigits));
  const auto calibration = [&](const std::string& keys) {
    return work_of("calibration", "  - { id: p, prune: { ratio: 20%, " + keys + " } }\n");
  };
  const double activation = calibration("score: activation, repair: none");  // two passes
  CHECK(activation > 0);
  CHECK(calibration("score: taylor, repair: none") ==
        Approx(6.0 / 2 * activation).epsilon(kTwoDigits));
  CHECK(calibration("score: activation, repair: reconstruction, repair_epochs: 100") >
        (1 - kTwoDigits) * 303 / 2 * activation);
}

TEST_CASE("only where it decides shapes does the text make sizes uncertain", "[cli]") {
  TempDir folder;
  const auto warnings = [&](const std::string& step) {
    folder.write("r.ec.yaml",
                 "schema: edgecompress.recipe/v1\nname: r\n"
                 "calibration: { text: t.txt, samples: 2, sequence_length: 64 }\n"
                 "steps:\n  - " +
                     step + "\n");
    folder.write("t.txt", std::string(4000, 'a'));
    return output_of(
               "plan " + (folder.path() / "r.ec.yaml").string() + kModel + "--skip-time --json",
               folder)
        .at("warnings");
  };
  CHECK(warnings("{ id: m, mask: { method: magnitude, pattern: per-row, sparsity: 50%, "
                 "allocation: outliers } }")
            .empty());
  CHECK(warnings("{ id: d, drop_layers: { count: 1 } }").empty());
  CHECK(warnings("{ id: p, prune: { score: output-error, ratio: 20%, "
                 "allocation: per-layer } }")
            .size() == 1);
}

TEST_CASE("a cut by bytes leaves no more bytes than it says", "[cli]") {
  const TempDir folder;
  const auto left = [&](const std::string& flags) {
    const CommandRun run = run_command(
        "prune --model tests/models/mini-llama -o out --score "
        "magnitude-l2 --dry-run --json " +
            flags,
        folder);
    REQUIRE(run.exit_code == 0);
    const nlohmann::json plan = nlohmann::json::parse(run.out);
    return plan.at("bytes_after").get<double>() / plan.at("bytes_before").get<double>();
  };
  CHECK(left("--ratio 20% --target bytes") <= 0.8);
  CHECK(left("--ratio 20% --target bytes") > 0.77);
  CHECK(left("--ratio 20%") > 0.8);  // of the blocks' parameters, so fewer of all bytes
}

}  // namespace
}  // namespace edgecompress
