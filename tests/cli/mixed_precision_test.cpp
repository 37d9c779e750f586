#include <filesystem>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "cli/changed_model.h"
#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
using nlohmann::json;
namespace fs = std::filesystem;

const std::string kModel = " --model tests/models/mini-llama ";
const std::string kText =
    " --calibration calibration/calibration.txt --samples 4 --sequence-length 128 ";

json output_of(const std::string& arguments, const TempDir& folder) {
  const CommandRun run = run_command(arguments, folder);
  INFO(arguments << "\n" << run.err);
  REQUIRE(run.exit_code == 0);
  return json::parse(run.out);
}

struct ChosenGrid {
  int bits;
  int group_size;
  friend auto operator<=>(const ChosenGrid&, const ChosenGrid&) = default;
};

/// Of the decoder blocks' layers, by module.
std::map<std::string, ChosenGrid> grids_of(const json& report) {
  std::map<std::string, ChosenGrid> grids;
  for (const json& row : report.at("tensors")) {
    const std::string name = row.at("name");
    if (!name.starts_with("model.layers.")) continue;
    grids[name] = {.bits = row.at("bits"), .group_size = row.at("group_size")};
  }
  return grids;
}

/// What `export` would make of a model folder.
std::int64_t artifact_bytes(const fs::path& model, const TempDir& folder) {
  return output_of("export --dry-run --json -o x --model " + model.string(), folder)
      .at("bytes_after");
}

TEST_CASE("a size target is kept, used, and loses less than one grid of that size", "[cli]") {
  const TempDir folder;
  const std::string common =
      kModel +
      "--calibration calibration/calibration.txt --samples 8 --sequence-length 256 "
      "--text calibration/evaluation.txt --window 256 --windows 16 "
      "--method gptq --asymmetric --json ";
  const fs::path uniform_folder = folder.path() / "uniform";
  const json uniform =
      output_of("quantize -o " + uniform_folder.string() + common + "--group-size 64", folder);
  const std::int64_t bytes = artifact_bytes(uniform_folder, folder);
  const fs::path mixed_folder = folder.path() / "mixed";
  const json mixed = output_of(
      "quantize -o " + mixed_folder.string() + common + "--target-size " + std::to_string(bytes),
      folder);
  const std::int64_t found = artifact_bytes(mixed_folder, folder);
  CHECK(found <= bytes);
  CHECK(found > bytes - bytes / 50);
  const auto divergence = [](const json& report) {
    return report.at("stages").back().at("kl_divergence_nats").get<double>();
  };
  CHECK(divergence(mixed) < divergence(uniform));

  const std::map<std::string, ChosenGrid> grids = grids_of(mixed);
  std::set<ChosenGrid> different;
  for (const auto& [name, grid] : grids) different.insert(grid);
  CHECK(different.size() >= 2);
  for (int block = 0; block < 4; ++block) {
    const std::string prefix = "model.layers." + std::to_string(block) + ".";
    CHECK(grids.at(prefix + "self_attn.q_proj") == grids.at(prefix + "self_attn.k_proj"));
    CHECK(grids.at(prefix + "self_attn.q_proj") == grids.at(prefix + "self_attn.v_proj"));
    CHECK(grids.at(prefix + "mlp.gate_proj") == grids.at(prefix + "mlp.up_proj"));
  }
}

TEST_CASE("a target of bits counts scales and zero points of the linear layers", "[cli]") {
  const TempDir folder;
  const json report = output_of("quantize -o " + (folder.path() / "out").string() + kModel + kText +
                                    "--method rtn --asymmetric --target-bpw 5 --json",
                                folder);
  double bits = 0;
  double weights = 0;
  for (const json& row : report.at("tensors")) {
    if (!row.at("name").get<std::string>().starts_with("model.layers.")) continue;
    const double size =
        row.at("shape_after")[0].get<double>() * row.at("shape_after")[1].get<double>();
    // a code a weight; a float and a code a group
    const double code = row.at("bits");
    bits += size * (code + (32 + code) / row.at("group_size").get<double>());
    weights += size;
  }
  CHECK(bits / weights <= 5);
  CHECK(bits / weights > 4.9);
}

TEST_CASE("a target out of reach is refused with the smallest size, which can be reached",
          "[cli]") {
  const TempDir folder;
  const std::string arguments = "quantize -o " + (folder.path() / "out").string() + kModel + kText +
                                "--method rtn --json --target-size ";
  const CommandRun refused = run_command(arguments + "1MB", folder);
  CHECK(refused.exit_code == 69);
  CHECK_THAT(refused.err, Contains("error[U-SIZE]"));
  CHECK_FALSE(fs::exists(folder.path() / "out"));
  const std::string words = "groups of 128 reach is ";
  const std::size_t at = refused.err.find(words);
  REQUIRE(at != std::string::npos);
  const std::int64_t smallest = std::stoll(refused.err.substr(at + words.size()));
  CHECK(run_command(arguments + std::to_string(smallest - 1), folder).exit_code == 69);
  const json report = output_of(arguments + std::to_string(smallest), folder);
  CHECK(artifact_bytes(folder.path() / "out", folder) == smallest);
  for (const auto& [name, grid] : grids_of(report)) CHECK(grid == ChosenGrid{4, 128});

  const CommandRun bits = run_command(
      "quantize -o " + (folder.path() / "bits").string() + kModel + kText + "--target-bpw 4.1",
      folder);
  CHECK(bits.exit_code == 69);
  CHECK_THAT(bits.err, Contains("the fewest bits a weight"));
  const CommandRun no_text = run_command(
      "quantize -o " + (folder.path() / "bits").string() + kModel + "--target-bpw 5", folder);
  CHECK(no_text.exit_code == 2);
  CHECK_THAT(no_text.err, Contains("error[R19]"));
  const CommandRun both =
      run_command("quantize -o x" + kModel + kText + "--target-bpw 5 --group-size 64", folder);
  CHECK(both.exit_code == 2);
}

TEST_CASE("a plan says which grids are measured, and which the cheap rule gives", "[cli]") {
  const TempDir folder;
  const std::string dry = "quantize -o x --dry-run --json" + kModel;
  const json measured = output_of(dry + kText + "--target-size 3MB", folder);
  int counted = 0;
  for (const json& row : measured.at("tensors"))
    counted += row.at("stored_as") == "measured" ? 1 : 0;
  CHECK(counted == 28);
  CHECK_THAT(measured.at("warnings").dump(), Contains("measured on the calibration text"));

  const json outer = output_of(dry + "--precision outer-8bit --group-size 32", folder);
  for (const json& row : outer.at("tensors")) {
    const std::string name = row.at("name");
    const bool is_outer = name == "model.layers.0.mlp.down_proj" ||
                          name == "model.layers.3.mlp.down_proj";  // an eighth of 4, rounded up
    const bool is_table = name == "model.embed_tokens";
    CAPTURE(name);
    CHECK(
        row.at("stored_as").get<std::string>().starts_with(is_outer || is_table ? "int8" : "int4"));
  }
}

TEST_CASE("a lock freezes the grids that a run chose", "[cli]") {
  const TempDir folder;
  for (const char* const name : {"calibration.txt", "evaluation.txt"}) {
    fs::copy(fs::path(EDGECOMPRESS_SOURCE_DIR) / "calibration" / name, folder.path() / name);
  }
  const std::string recipe =
      folder
          .write("r.ec.yaml",
                 "schema: edgecompress.recipe/v1\nname: r\n"
                 "calibration: { text: calibration.txt, samples: 4, sequence_length: 128 }\n"
                 "steps:\n"
                 "  - id: quant\n"
                 "    quantize:\n"
                 "      method: gptq\n"
                 "      target_size: 2700KB\n"
                 "      weights: { symmetric: false }\n"
                 "      rules: [{ match: \"*.0.mlp.down_proj\", weights: { bits: 8 } }]\n")
          .string();
  const fs::path first = folder.path() / "first";
  const json report = output_of("run " + recipe + kModel + "--json -o " + first.string(), folder);
  const fs::path lock = folder.path() / "r.lock.yaml";
  const std::string lock_command = "recipe lock " + recipe + kModel + "-o " + lock.string() +
                                   " --report " + (first / "report.json").string();
  const CommandRun locked = run_command(lock_command, folder);
  INFO(locked.err);
  REQUIRE(locked.exit_code == 0);
  CHECK_THAT(file_text(lock), !Contains("target_size") && Contains("model.layers.3.mlp.up_proj"));
  const fs::path second = folder.path() / "second";
  const json again =
      output_of("run " + lock.string() + kModel + "--json -o " + second.string(), folder);
  CHECK(grids_of(again) == grids_of(report));
  CHECK(grids_of(again).at("model.layers.0.mlp.down_proj").bits == 8);
  CHECK(file_text(first / "model.safetensors") == file_text(second / "model.safetensors"));

  const CommandRun other =
      run_command(lock_command + " --set steps.quant.quantize.target_size=3MB", folder);
  CHECK(other.exit_code == 75);
  CHECK_THAT(other.err, Contains("error[L2]"));
}

TEST_CASE("a head of its own is rounded by GPTQ when asked, a tied one is refused", "[cli]") {
  const TempDir folder;
  ChangedModel untied;
  untied.untie();
  const std::string flags = kText + "--method gptq --head-bits 4 --head-rounding gptq --json";
  const json report = output_of("quantize -o " + (folder.path() / "out").string() + " --model " +
                                    untied.write().string() + flags,
                                folder);
  const json& head = report.at("tensors").back();
  CHECK(head.at("name") == "lm_head");
  CHECK(head.at("bits") == 4);
  CHECK(head.at("relative_output_error").get<double>() <
        0.8 * head.at("relative_nearest_error").get<double>());
  CHECK(head.contains("damping_rung"));

  const CommandRun tied =
      run_command("quantize -o " + (folder.path() / "tied").string() + kModel + flags, folder);
  CHECK(tied.exit_code == 69);
  CHECK_THAT(tied.err, Contains("error[U-HEAD]"));
  const CommandRun without =
      run_command("quantize -o x" + kModel + "--method rtn --head-rounding gptq", folder);
  CHECK(without.exit_code == 2);
  CHECK_THAT(without.err, Contains("error[U-HEAD]") && Contains("inputs that gptq, awq"));
  // smoothquant gathers them too: what is refused then is the tied head
  const CommandRun smooth = run_command(
      "quantize -o x" + kModel + kText +
          "--method smoothquant --activations int8-per-token --head-rounding gptq --dry-run",
      folder);
  CHECK(smooth.exit_code == 69);
}

TEST_CASE("calibration reads JSON lines of texts and of token ids", "[cli]") {
  const TempDir folder;
  std::string ids;
  for (int line = 0; line < 6; ++line) {
    ids += "{\"input_ids\": [";
    for (int i = 0; i < 40 + 20 * line; ++i) {
      ids += (i == 0 ? "" : ",") + std::to_string((i * 31 + line * 7) % 2000);
    }
    ids += "]}\n";
  }
  const std::string quantize =
      "quantize" + kModel + "--method gptq --samples 4 --sequence-length 96 --json ";
  const auto file = folder.write("ids.jsonl", ids);
  const json report = output_of(
      quantize + "--calibration " + file.string() + " -o " + (folder.path() / "ids").string(),
      folder);
  CHECK(report.at("tensors").at(1).contains("relative_output_error"));

  const auto damaged = folder.write("bad.jsonl", ids + "{\"input_ids\": [5, 2048]}\n");
  const CommandRun refused = run_command(
      quantize + "--calibration " + damaged.string() + " -o " + (folder.path() / "bad").string(),
      folder);
  CHECK(refused.exit_code == 65);
  CHECK_THAT(refused.err, Contains("error[F26]") && Contains("bad.jsonl line 7") &&
                              Contains("from 0 to 2047, found 2048"));

  std::string texts;
  for (int line = 0; line < 40; ++line) {
    texts += json{{"text", "Line " + std::to_string(line) + " says that rivers run to the sea."}}
                 .dump() +
             "\n";
  }
  const auto text_file = folder.write("t.jsonl", texts);
  output_of(
      quantize + "--calibration " + text_file.string() + " -o " + (folder.path() / "text").string(),
      folder);
  const CommandRun few =
      run_command("quantize" + kModel + "--method gptq --samples 4000 --calibration " +
                      text_file.string() + " -o " + (folder.path() / "few").string(),
                  folder);
  CHECK(few.exit_code == 65);
  CHECK_THAT(few.err, Contains("error[F24]"));
  const CommandRun evaluated =
      run_command(quantize + "--calibration " + file.string() + " --text " + text_file.string() +
                      " -o " + (folder.path() / "eval").string(),
                  folder);
  CHECK(evaluated.exit_code == 2);
  CHECK_THAT(evaluated.err, Contains("error[R19]") && Contains("plain text"));
}

}  // namespace
}  // namespace edgecompress
